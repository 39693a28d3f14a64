"""A recipe's networks, one pass over the images that their stores lack."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

import numpy as np

from featx.embeddings.engine import Lane, Passed, Rows, Runner, run
from featx.embeddings.store import EmbeddingStore
from featx.progress import Watch
from featx.specs import EmbeddingRequest, EngineSpec
from featx.workspace import LockedEmbedding, Study

if TYPE_CHECKING:
    from featx.networks.features import Resolved

SEGMENT_ROWS = 1024
SEGMENT_S = 30.0  # what a killed extraction loses at most


@dataclass(frozen=True)
class NetworkGroup:
    """Requests that one network fills; it is built when it is first needed, and once."""

    requests: tuple[EmbeddingRequest, ...]

    @cached_property
    def resolved(self) -> "Resolved":
        """The network, and what each request means with it."""
        from featx.networks.features import resolve

        return resolve(self.requests)

    def runner(self, engine: EngineSpec) -> Runner:
        """Return the network ready to run."""
        from featx.embeddings.runtimes import made_ready

        return made_ready(self.resolved.network, engine, self.resolved.specs[0].preprocessing.size_px)

    def locked(self, study: Study) -> list[LockedEmbedding]:
        """Return what each request resolves to: as noted at the last extraction while that holds, else anew."""
        known = {one.request: one for one in study.locked if one.holds}
        if all(request in known for request in self.requests):
            return [known[request] for request in self.requests]
        found = self.resolved
        return [
            LockedEmbedding(request=request, spec=spec, n_features=d, weights_file=found.weights_file)
            for request, spec, d in zip(self.requests, found.specs, found.n_features, strict=True)
        ]


def network_groups(requests: Sequence[EmbeddingRequest]) -> list[NetworkGroup]:
    """Return the requests by network, in the order of their first ones."""
    groups: dict[EmbeddingRequest, list[EmbeddingRequest]] = {}
    for request in requests:
        groups.setdefault(request.network_key, []).append(request)
    return [NetworkGroup(tuple(group)) for group in groups.values()]


@dataclass(frozen=True)
class Plan:
    """A network, what its requests resolve to, and their stores, in one order."""

    group: NetworkGroup
    locked: tuple[LockedEmbedding, ...]
    stores: tuple[EmbeddingStore, ...]

    @classmethod
    def of(cls, group: NetworkGroup, study: Study) -> Self:
        """Look up what a group's requests mean, and open their stores."""
        locked = tuple(group.locked(study))
        stores = tuple(EmbeddingStore(study.store_path(one.spec), one.spec, one.n_features) for one in locked)
        return cls(group, locked, stores)

    def missing(self, digests: Mapping[str, str]) -> frozenset[str]:
        """Return the digests that one of the stores lacks."""
        return frozenset(digest for store in self.stores for digest in store.missing(digests))


class SegmentWriter:
    """Gathers rows and publishes them in all stores, segment by segment; the last one when the block ends.

    Parameters
    ----------
    stores
        One for each column of the rows.

    Attributes
    ----------
    provenance
        Kept with each segment; known once the network is ready.
    """

    def __init__(self, stores: Sequence[EmbeddingStore]) -> None:
        self.stores = stores
        self.provenance: dict[str, str] = {}
        self._digests: list[str] = []
        self._columns: list[Rows] = []
        self._published = time.perf_counter()

    def add(self, digests: Sequence[str], columns: Rows) -> None:
        """Take the rows of one batch."""
        self._digests += digests
        self._columns.append(columns)
        if len(self._digests) >= SEGMENT_ROWS or time.perf_counter() - self._published > SEGMENT_S:
            self.publish()

    def publish(self) -> None:
        """Make a segment of what was gathered; each store leaves out what it has."""
        if self._digests:
            for store, rows in zip(self.stores, zip(*self._columns, strict=True), strict=True):
                store.add(self._digests, np.concatenate(rows), self.provenance)
        self._digests, self._columns = [], []
        self._published = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.publish()  # after Ctrl-C as well: what is done is kept


def fill(plans: Sequence[Plan], uris: Mapping[str, str], engine: EngineSpec, watch: Watch) -> Passed:
    """Send each image through the networks whose stores lack it, all in one pass.

    Parameters
    ----------
    uris
        Digest → where the image is.

    Returns
    -------
    Passed
        each digest that a store lacked is in ``embedded`` or in ``failed``.
    """
    with ExitStack() as writers:
        lanes = [_lane(plan, writers.enter_context(SegmentWriter(plan.stores)), uris, engine) for plan in plans]
        wanted = frozenset().union(*(lane.wanted for lane in lanes))
        todo = [(digest, uri) for digest, uri in uris.items() if digest in wanted]
        return run(lanes, todo, plans[0].locked[0].spec.decoding, engine, watch)


def _lane(plan: Plan, writer: SegmentWriter, uris: Mapping[str, str], engine: EngineSpec) -> Lane:
    def ready() -> Runner:
        runner = plan.group.runner(engine)
        writer.provenance = runner.provenance | {"featx": version("featx")}
        return runner

    return Lane(plan.locked[0].spec.preprocessing, plan.missing(uris), ready, writer.add)
