"""A recipe's networks, one pass over the images that their stores lack."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Self

import numpy as np

from featx.embeddings.drift import Drift, PrecisionAudit
from featx.embeddings.engine import Lane, PassStatistics, Rows, Runner, run
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import check_space
from featx.embeddings.workers import Place
from featx.progress import ProgressCallback
from featx.specs.embedding import EmbeddingRequest
from featx.storage.store import EmbeddingStore, missing
from featx.study.embedding_lock import LockedEmbedding
from featx.study.folders import store_path

SEGMENT_BYTES = 256 << 20  # of float32, in all stores: what is gathered in memory
SEGMENT_S = 30.0  # of work that is gathered: with `EngineSpec.segment_rows` what a killed extraction loses at most


@dataclass(frozen=True)
class Plan:
    """A network, what its requests resolve to, and their stores, in one order; all in one precision and batch shape."""

    group: NetworkGroup
    locked: tuple[LockedEmbedding, ...]
    stores: tuple[EmbeddingStore, ...]

    @property
    def rows(self) -> int | None:
        """Images in each batch of what is stored already."""
        return next((store.device_rows for store in self.stores if store.device_rows is not None), None)

    def missing(self, digests: Iterable[str]) -> frozenset[str]:
        """Return the digests that one of the stores lacks."""
        return missing(self.stores, digests)

    def parted(self) -> list[Self]:
        """Return one plan for each precision and batch shape: what is stored may have been made in several."""
        parts: dict[tuple[str, int | None], list[int]] = {}
        for at, (one, store) in enumerate(zip(self.locked, self.stores, strict=True)):
            parts.setdefault((str(one.spec.precision), store.device_rows), []).append(at)
        for precision, rows in list(parts):
            older = next((key for key in parts if key[0] == precision and key[1] is not None), None)
            if rows is None and older is not None:
                parts[older] += parts.pop((precision, None))
        if len(parts) == 1:
            return [self]
        return [
            type(self)(
                NetworkGroup(tuple(self.group.requests[at] for at in which)),
                tuple(self.locked[at] for at in which),
                tuple(self.stores[at] for at in which),
            )
            for which in parts.values()
        ]


def plans_for(
    groups: Sequence[NetworkGroup], chooser: RuntimeSelector, noted: Sequence[LockedEmbedding] = ()
) -> list[Plan]:
    """Return what is to be filled for some networks: as `noted` before while its reason holds, else anew."""
    known = {one.request: one for one in noted if one.holds and one.reason == chooser.reason(one.request)}
    return [part for group in groups for part in _plan(group, chooser, known).parted()]


def _plan(group: NetworkGroup, chooser: RuntimeSelector, known: Mapping[EmbeddingRequest, LockedEmbedding]) -> Plan:
    locked = [known[request] for request in group.requests if request in known]
    if len(locked) < len(group.requests):
        chosen = chooser.precision(group) if not locked else PrecisionAudit(locked[0].spec.precision, _drift(locked[0]))
        found = group.resolved
        drift = None if chosen.drift is None or chosen.precision == "fp32" else chosen.drift.model_dump()
        asked = zip(group.requests, group.specs(chosen.precision), found.n_features, strict=True)
        locked = [
            known[request]
            if request in known
            else LockedEmbedding(
                request=request,
                spec=spec,
                n_features=d,
                weights_file=found.weights_file,
                drift=drift,
                reason=chooser.reason(request),
            )
            for request, spec, d in asked
        ]
    stores = tuple(EmbeddingStore(store_path(chooser.cache, one.spec), one.spec, one.n_features) for one in locked)
    return Plan(group, tuple(locked), stores)


def _drift(locked: LockedEmbedding) -> Drift | None:
    return None if locked.drift is None else Drift.model_validate(locked.drift)


class SegmentWriter:
    """Gathers rows and publishes them in all stores, segment by segment; the last one when the block ends.

    Parameters
    ----------
    stores
        One for each column of the rows.
    most_rows
        Of a segment; fewer where they are wide.

    Attributes
    ----------
    provenance, device_rows
        Kept with the segments and with the store; known once the network is ready.
    """

    def __init__(self, stores: Sequence[EmbeddingStore], most_rows: int) -> None:
        self.stores = stores
        self.provenance: dict[str, Any] = {}
        self.device_rows = 0
        self._digests: list[str] = []
        self._columns: list[Rows] = []
        self._published = time.perf_counter()
        row_bytes = 4 * sum(store.n_features for store in stores)
        self._most = min(most_rows, max(1, SEGMENT_BYTES // row_bytes))

    def add(self, digests: Sequence[str], columns: Rows) -> None:
        """Take the rows of one batch."""
        self._digests += digests
        self._columns.append(columns)
        if len(self._digests) >= self._most or time.perf_counter() - self._published > SEGMENT_S:
            self.publish()

    def publish(self) -> None:
        """Make a segment of what was gathered; each store leaves out what it has."""
        if self._digests:
            for store, rows in zip(self.stores, zip(*self._columns, strict=True), strict=True):
                store.add(self._digests, np.concatenate(rows), self.device_rows, self.provenance)
        self._digests, self._columns = [], []
        self._published = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.publish()  # after Ctrl-C as well: what is done is kept


def fill(
    plans: Sequence[Plan], uris: Mapping[str, Place], chooser: RuntimeSelector, progress: ProgressCallback
) -> PassStatistics:
    """Send each image through the networks whose stores lack it, all in one pass.

    Parameters
    ----------
    uris
        Digest → where the image is, or itself.
    chooser
        Says in which runtime.

    Returns
    -------
    Passed
        each digest that a store lacked is in ``embedded`` or in ``failed``.

    Raises
    ------
    StoreError
        the disk does not hold what is to be written.
    """
    with ExitStack() as writers:
        lanes = [_lane(plan, writers, uris, chooser) for plan in plans]
        wanted = frozenset().union(*(lane.wanted for lane in lanes))
        todo = [(digest, uri) for digest, uri in uris.items() if digest in wanted]
        check_space([store for plan in plans for store in plan.stores], wanted, chooser.cache, progress)
        return run(lanes, todo, plans[0].locked[0].spec.decoding, chooser.engine, progress)


def _lane(plan: Plan, writers: ExitStack, uris: Mapping[str, Place], chooser: RuntimeSelector) -> Lane:
    writer = writers.enter_context(SegmentWriter(plan.stores, chooser.engine.segment_rows))
    lacking = plan.missing(uris)

    def ready() -> Runner:
        first = plan.locked[0]
        runner = chooser.runner(plan.group, first.spec.precision, plan.rows, len(lacking))
        writer.device_rows = runner.rows
        writer.provenance = {**runner.provenance, "featx": version("featx")}
        if first.drift is not None:
            writer.provenance["drift"] = first.drift
        return runner

    return Lane(plan.locked[0].spec.preprocessing, lacking, ready, writer.add)
