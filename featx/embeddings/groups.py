"""Requests by the network that fills them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from featx.specs.embedding import EmbeddingRequest, EmbeddingSpec, Precision
from featx.storage.places import CachePlace
from featx.storage.store import EmbeddingStore
from featx.study.folders import store_path

if TYPE_CHECKING:
    from featx.embeddings.runtimes import Portable
    from featx.networks.features import Built, Resolved


@dataclass(frozen=True)
class NetworkGroup:
    """Requests that one network fills; it is built when it is first needed, and once.

    Attributes
    ----------
    requests
        They differ in tap, pool and join only.
    built
        The network, where it has been built already.
    """

    requests: tuple[EmbeddingRequest, ...]
    built: "Built | None" = None

    @cached_property
    def resolved(self) -> "Resolved":
        """The network, and what each request means with it in fp32."""
        from featx.networks.features import resolve

        return resolve(self.requests, self.built)

    @cached_property
    def portable(self) -> "Portable":
        """The network for any runtime."""
        from featx.embeddings.runtimes import Portable

        return Portable(self.resolved.network, self.resolved.specs[0].preprocessing.canvas_px)

    def specs(self, precision: Precision) -> list[EmbeddingSpec]:
        """Return what each request means in a precision."""
        return [spec.model_copy(update={"precision": precision}) for spec in self.resolved.specs]

    def stores(self, cache: CachePlace, precision: Precision) -> list[EmbeddingStore]:
        """Return the stores of its embeddings in a precision."""
        specs = zip(self.specs(precision), self.resolved.n_features, strict=True)
        return [EmbeddingStore(store_path(cache, spec), spec, d) for spec, d in specs]


def network_groups(
    requests: Sequence[EmbeddingRequest], networks: "Mapping[EmbeddingRequest, Built] | None" = None
) -> list[NetworkGroup]:
    """Return the requests by network, in the order of their first ones.

    Parameters
    ----------
    requests
        In any order.
    networks
        Networks that have been built already, by `EmbeddingRequest.network_key`.
    """
    groups: dict[EmbeddingRequest, list[EmbeddingRequest]] = {}
    for request in requests:
        groups.setdefault(request.network_key, []).append(request)
    return [NetworkGroup(tuple(group), (networks or {}).get(key)) for key, group in groups.items()]
