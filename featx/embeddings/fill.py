"""Networks with the stores of their embeddings, and the pass that fills the stores."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Self

import numpy as np

from featx.embeddings.deviation import Deviation, PrecisionAudit
from featx.embeddings.engine import NetworkPass, PassStatistics, Rows, Runner, run
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.read import locked_store
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import check_space
from featx.embeddings.workers import ImageSource
from featx.progress import ProgressCallback
from featx.specs.embedding import EmbeddingRequest
from featx.storage.store import EmbeddingStore, missing_digests
from featx.study.embedding_lock import LockedEmbedding

# Bytes of float32 rows, over all stores, that are gathered in memory before they are published.
MAX_SEGMENT_BYTES = 256 << 20
# Seconds of work that are gathered; with `EngineSpec.segment_rows` this limits the loss of a killed extraction.
MAX_SEGMENT_S = 30.0


@dataclass(frozen=True)
class NetworkPlan:
    """A network with its resolved requests and their stores, all of one precision and batch size.

    Attributes
    ----------
    group
        The network and its requests.
    locked, stores
        Resolved embedding and store of each request, in the order of the group's requests.
    """

    group: NetworkGroup
    locked: tuple[LockedEmbedding, ...]
    stores: tuple[EmbeddingStore, ...]

    @property
    def rows(self) -> int | None:
        """Images per batch of the rows stored already, None where nothing is stored."""
        return next((store.device_rows for store in self.stores if store.device_rows is not None), None)

    def missing(self, digests: Iterable[str]) -> frozenset[str]:
        """Return the digests that at least one of the stores lacks."""
        return missing_digests(self.stores, digests)

    def split(self) -> list[Self]:
        """Return one plan for each precision and batch size: the stores may have been filled with several of them."""
        parts: dict[tuple[str, int | None], list[int]] = {}
        for number, (embedding, store) in enumerate(zip(self.locked, self.stores, strict=True)):
            parts.setdefault((str(embedding.spec.precision), store.device_rows), []).append(number)
        # An empty store takes the batch size of a filled one in the same precision.
        for precision, rows in list(parts):
            filled_key = next((key for key in parts if key[0] == precision and key[1] is not None), None)
            if rows is None and filled_key is not None:
                parts[filled_key] += parts.pop((precision, None))
        if len(parts) == 1:
            return [self]
        return [
            type(self)(
                NetworkGroup(tuple(self.group.requests[number] for number in numbers)),
                tuple(self.locked[number] for number in numbers),
                tuple(self.stores[number] for number in numbers),
            )
            for numbers in parts.values()
        ]


def plans_for(
    groups: Sequence[NetworkGroup], selector: RuntimeSelector, previous_embeddings: Sequence[LockedEmbedding] = ()
) -> list[NetworkPlan]:
    """Return the plans for some networks; valid resolutions of requests in `previous_embeddings` are kept."""
    valid_embeddings = {
        embedding.request: embedding
        for embedding in previous_embeddings
        if embedding.holds and embedding.reason == selector.reason(embedding.request)
    }
    return [part for group in groups for part in _make_plan(group, selector, valid_embeddings).split()]


def _make_plan(
    group: NetworkGroup, selector: RuntimeSelector, resolved_embeddings: Mapping[EmbeddingRequest, LockedEmbedding]
) -> NetworkPlan:
    locked_embeddings = [resolved_embeddings[request] for request in group.requests if request in resolved_embeddings]
    if len(locked_embeddings) < len(group.requests):
        audit = (
            PrecisionAudit(locked_embeddings[0].spec.precision, _deviation(locked_embeddings[0]))
            if locked_embeddings
            else selector.choose_precision(group)
        )
        deviation = None if audit.deviation is None or audit.precision == "fp32" else audit.deviation.model_dump()
        specs = zip(group.requests, group.specs(audit.precision), group.resolved.n_features, strict=True)
        locked_embeddings = [
            resolved_embeddings[request]
            if request in resolved_embeddings
            else LockedEmbedding(
                request=request,
                spec=spec,
                n_features=d,
                weights_file=group.resolved.weights_file,
                deviation=deviation,
                reason=selector.reason(request),
            )
            for request, spec, d in specs
        ]
    return NetworkPlan(
        group,
        tuple(locked_embeddings),
        tuple(locked_store(selector.cache, embedding) for embedding in locked_embeddings),
    )


def _deviation(embedding: LockedEmbedding) -> Deviation | None:
    return None if embedding.deviation is None else Deviation.model_validate(embedding.deviation)


class SegmentWriter:
    """A buffer of rows that publishes them in all stores, segment by segment, and the remainder when the block ends.

    Parameters
    ----------
    stores
        One store for each column of the rows.
    max_rows
        Largest number of rows in a segment; fewer where the rows are wide.

    Attributes
    ----------
    provenance, device_rows
        Device, runtime and precision, stored with each segment, and images per batch, stored with the store; set when
        the runner is built.
    """

    def __init__(self, stores: Sequence[EmbeddingStore], max_rows: int) -> None:
        self.stores = stores
        self.provenance: dict[str, Any] = {}
        self.device_rows = 0
        self._digests: list[str] = []
        self._columns: list[Rows] = []
        self._published = time.perf_counter()
        row_bytes = 4 * sum(store.n_features for store in stores)
        self._max_rows = min(max_rows, max(1, MAX_SEGMENT_BYTES // row_bytes))

    def add(self, digests: Sequence[str], columns: Rows) -> None:
        """Take the rows of one batch, and publish a segment where enough rows or time have gathered."""
        self._digests += digests
        self._columns.append(columns)
        if len(self._digests) >= self._max_rows or time.perf_counter() - self._published > MAX_SEGMENT_S:
            self.publish()

    def publish(self) -> None:
        """Publish the gathered rows as one segment; each store leaves out the rows that it has."""
        if self._digests:
            for store, rows in zip(self.stores, zip(*self._columns, strict=True), strict=True):
                store.add(self._digests, np.concatenate(rows), self.device_rows, self.provenance)
        self._digests, self._columns = [], []
        self._published = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Rows that were computed before an error or Ctrl-C are stored as well.
        self.publish()


def fill(
    plans: Sequence[NetworkPlan], uris: Mapping[str, ImageSource], selector: RuntimeSelector, progress: ProgressCallback
) -> PassStatistics:
    """Send each image through the networks whose stores lack it, all in one pass.

    Parameters
    ----------
    plans
        The networks and their stores.
    uris
        Digest → URI of the image, or its content.
    selector
        Chooses the runtime of each network.

    Returns
    -------
    PassStatistics
        each digest that a store lacked is in ``embedded`` or in ``failed``.

    Raises
    ------
    StoreError
        the disk has too little room for the vectors.
    """
    with ExitStack() as writers:
        network_passes = [_make_network_pass(plan, writers, uris, selector) for plan in plans]
        missing_digests = frozenset().union(*(network_pass.digests for network_pass in network_passes))
        missing_images = [(digest, uri) for digest, uri in uris.items() if digest in missing_digests]
        check_space([store for plan in plans for store in plan.stores], missing_digests, selector.cache, progress)
        return run(network_passes, missing_images, plans[0].locked[0].spec.decoding, selector.engine, progress)


def _make_network_pass(
    plan: NetworkPlan, writers: ExitStack, uris: Mapping[str, ImageSource], selector: RuntimeSelector
) -> NetworkPass:
    writer = writers.enter_context(SegmentWriter(plan.stores, selector.engine.segment_rows))
    missing_digests = plan.missing(uris)

    def build_runner() -> Runner:
        first_embedding = plan.locked[0]
        runner = selector.build_runner(plan.group, first_embedding.spec.precision, plan.rows, len(missing_digests))
        writer.device_rows = runner.rows
        writer.provenance = {**runner.provenance, "featx": version("featx")}
        if first_embedding.deviation is not None:
            writer.provenance["deviation"] = first_embedding.deviation
        return runner

    return NetworkPass(plan.locked[0].spec.preprocessing, missing_digests, build_runner, writer.add)
