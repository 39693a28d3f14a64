"""Embedding requests, grouped by the network that computes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from featx.errors import DataError
from featx.specs.embedding import EmbeddingRequest, EmbeddingSpec, Precision

if TYPE_CHECKING:
    from featx.embeddings.runtimes import PortableNetwork
    from featx.networks.features import BuiltBackbone, ResolvedNetwork


@dataclass(frozen=True)
class NetworkGroup:
    """Embedding requests that one network computes; the network is built once, when it is first needed.

    Attributes
    ----------
    requests
        Requests that differ in tap, pool and join only.
    built
        The network, if it is already built.
    """

    requests: tuple[EmbeddingRequest, ...]
    built: "BuiltBackbone | None" = None

    @cached_property
    def resolved(self) -> "ResolvedNetwork":
        """The network, with the spec and the number of features of each request in fp32."""
        from featx.networks.features import resolve_network

        return resolve_network(self.requests, self.built)

    @property
    def weights_note(self) -> str:
        """Note about the user's own weights: what was not loaded; empty if all was, or the network is not built."""
        return self.resolved.weights_note if "resolved" in vars(self) else ""

    @cached_property
    def portable(self) -> "PortableNetwork":
        """The network in a form that any runtime can run."""
        from featx.embeddings.runtimes import PortableNetwork

        return PortableNetwork(self.resolved.network, self.resolved.specs[0].preprocessing.canvas_px)

    def specs(self, precision: Precision) -> list[EmbeddingSpec]:
        """Return the spec of each request in a precision."""
        return [spec.model_copy(update={"precision": precision}) for spec in self.resolved.specs]


def network_groups(
    requests: Sequence[EmbeddingRequest], networks: "Mapping[EmbeddingRequest, BuiltBackbone] | None" = None
) -> list[NetworkGroup]:
    """Return the requests grouped by network, in the order of each network's first request.

    Parameters
    ----------
    requests
        Embedding requests in any order.
    networks
        Networks that are already built, by `EmbeddingRequest.network_key`.

    Raises
    ------
    DataError
        an embedding is vectors that were made elsewhere, which no network computes.
    """
    if external_requests := [request for request in requests if request.vectors is not None]:
        raise DataError(
            f"embedding {external_requests[0].name!r} holds vectors that were made elsewhere; featx has no network "
            "that computes them for other images: give these vectors with 'featx predict --vectors FILE', or choose "
            "runs on networks with 'featx predict --run NAME'"
        )
    groups: dict[EmbeddingRequest, list[EmbeddingRequest]] = {}
    for request in requests:
        groups.setdefault(request.network_key, []).append(request)
    return [NetworkGroup(tuple(group), (networks or {}).get(key)) for key, group in groups.items()]
