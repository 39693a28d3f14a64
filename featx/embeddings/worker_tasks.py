"""Tasks of a distributed extraction that Dask workers run."""

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featx.embeddings.engine import PassStatistics, Runner, StageTimes
from featx.embeddings.fill import NetworkPlan, fill
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.read import locked_store
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.workers import Clipped, ImageSource
from featx.errors import ClusterError, ReadError
from featx.images.sources import read_content
from featx.parallel.dask_client import MAX_WAIT_S, allow_child_processes
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import EmbeddingRequest, Precision
from featx.specs.extraction import EngineSpec, Runtime
from featx.storage.places import CachePlace
from featx.storage.store import missing_digests
from featx.study.embedding_lock import LockedEmbedding

STOP_EVENT_PREFIX = "featx-stopped-"


# Runtime by the name in a runner's provenance.
RUNTIME_BY_PROVENANCE: dict[str, Runtime] = {
    "torch": "torch",
    "torch.compile": "compile",
    "onnxruntime": "onnx",
    "openvino": "openvino",
}


Shard = tuple[tuple[str, ImageSource], ...]  # (digest, place) of each image


@dataclass(frozen=True)
class WorkerContext:
    """One network, and how all workers run it.

    Attributes
    ----------
    requests, locked
        The requests of the network, and what they are resolved to, in the same order.
    runtime, rows
        Runtime, and images per batch; None until a worker has chosen them.
    """

    requests: tuple[EmbeddingRequest, ...]
    locked: tuple[LockedEmbedding, ...]
    runtime: Runtime | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Assignment:
    """The settings that all shards of one extraction share.

    Attributes
    ----------
    name
        Unique name of the extraction.
    cache
        Place of the stores, with absolute paths.
    threads
        Threads that torch uses for one call on a CPU, as many as in the driver: with another number, sums are rounded
        differently.
    engine
        Settings of the extraction.
    contexts
        The networks.
    """

    name: str
    cache: CachePlace
    threads: int
    engine: EngineSpec
    contexts: tuple[WorkerContext, ...]


@dataclass(frozen=True)
class ShardResult:
    """The result of one shard.

    Attributes
    ----------
    worker
        Name of the worker's machine and process.
    n_embedded
        Number of images with a vector from each network.
    failed
        Digest → reason why an image lacks a vector.
    times
        Busy seconds of each stage.
    clipped
        Digest → extremes of an image with values outside ``decoding.value_range``.
    """

    worker: str
    n_embedded: int
    failed: dict[str, str]
    times: StageTimes
    clipped: Clipped


def check_access(probe: Path | None, uri: str | None) -> str:
    """Return a text if this worker cannot see the driver's file, write beside it, or read an image; else an empty one.

    Parameters
    ----------
    probe
        A file that the driver wrote into the cache's folder; None for a cache behind a URL.
    uri
        URI of an image that the driver can read; None where it can read none.
    """
    if probe is not None and not probe.is_file():
        return f"does not see the cache {probe.parent}"
    try:
        if probe is not None:
            probe.with_name(f"{probe.name}-{_process_name()}").touch()
    except OSError as error:
        return f"cannot write to the cache {error.filename} ({error.strerror})"
    problem = read_error(uri) if uri else ""
    return f"cannot read the image {uri} ({problem})" if problem else ""


def read_error(uri: str) -> str:
    """Return the reason why an image cannot be read, empty if it can."""
    try:
        read_content(uri)
    except FileNotFoundError:
        return "there is no such file"
    except ReadError as error:
        return str(error)
    return ""


def _process_name() -> str:
    """Return a name for this process that is unique among all machines."""
    return f"{socket.gethostname()}-{os.getpid()}"


def choose_runtimes(
    assignment: Assignment, sample: Mapping[str, ImageSource], counts: Sequence[int]
) -> tuple[WorkerContext, ...]:
    """Return the networks with the runtime and the batch size that suit this worker.

    Parameters
    ----------
    assignment
        The networks.
    sample
        Images to measure with.
    counts
        Number of images that each network will embed.
    """
    _set_up_process(assignment)
    selector = RuntimeSelector(assignment.cache, assignment.engine, sample, no_progress)
    contexts = []
    for context, count in zip(assignment.contexts, counts, strict=True):
        group = NetworkGroup(context.requests)
        _check_weights(group, context.locked)
        runner = selector.build_runner(group, context.locked[0].spec.precision, context.rows, count)
        runtime = RUNTIME_BY_PROVENANCE[runner.provenance["runtime"].partition(" ")[0]]
        contexts.append(replace(context, runtime=runtime, rows=runner.rows))
    return tuple(contexts)


def _set_up_process(assignment: Assignment) -> None:
    import torch

    allow_child_processes()
    torch.set_num_threads(assignment.threads)


def _check_weights(group: NetworkGroup, locked_embeddings: Sequence[LockedEmbedding]) -> None:
    for embedding, spec in zip(locked_embeddings, group.specs(locked_embeddings[0].spec.precision), strict=True):
        if embedding.spec != spec:
            raise ClusterError(
                f"{_process_name()} has other weights or another layer for {embedding.request.name!r} than the "
                f"driver: found {spec.fingerprint()}, expected {embedding.spec.fingerprint()}; all workers need the "
                "same weight files"
            )


def embed_shard(assignment: Assignment, shard: Shard) -> ShardResult:
    """Embed the images of a shard that the stores lack, and publish the vectors."""
    _set_up_process(assignment)
    # A worker with several threads runs one network at a time.
    with _WORKER_LOCK:
        state = _worker_state(assignment)
        stores = [store for plan in state.plans for store in plan.stores]
        for store in stores:
            store.refresh()
        try:
            statistics = fill(state.plans, dict(shard), state.selector, _progress_until_stopped(assignment.name))
        except _StoppedError:
            statistics = PassStatistics()
    n_missing = len(missing_digests(stores, [digest for digest, _ in shard]))
    n_embedded = len(shard) - n_missing
    return ShardResult(_process_name(), n_embedded, statistics.failed, statistics.times, statistics.clipped)


class _StoppedError(Exception):
    """The driver has stopped the extraction."""


def _progress_until_stopped(name: str) -> ProgressCallback:
    """Return a progress callback that raises `_StoppedError` once the driver has stopped the extraction."""
    from distributed import Event, get_client

    last_check = time.monotonic()

    def check_event(*_args: object, **_kwargs: object) -> None:
        nonlocal last_check
        if time.monotonic() - last_check > MAX_WAIT_S:
            last_check = time.monotonic()
            if Event(STOP_EVENT_PREFIX + name, client=get_client()).is_set():
                raise _StoppedError

    return check_event


class _AssignedRuntimes(RuntimeSelector):
    """Builds the runners of an assignment, each once."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment.cache, assignment.engine, {}, no_progress)
        self._contexts = {NetworkGroup(context.requests): context for context in assignment.contexts}
        self._runners: dict[NetworkGroup, Runner] = {}

    def build_runner(self, group: NetworkGroup, precision: Precision, rows: int | None, n_images: int) -> Runner:
        """Return the runner of a network in the assigned runtime and batch size; `rows` and `n_images` are ignored."""
        from featx.embeddings.runtimes import Execution

        if group not in self._runners:
            context = self._contexts[group]
            # The driver submits shards only after a worker has chosen the runtimes.
            assert context.runtime is not None
            _check_weights(group, context.locked)
            device = self.engine.device if isinstance(precision, str) else precision.device
            execution = Execution(context.runtime, device, precision)
            self._runners[group] = group.portable.build_runner(execution, context.rows)
        return self._runners[group]


@dataclass(frozen=True)
class _WorkerState:
    """The runners and stores that a worker process keeps between the shards of one extraction."""

    name: str
    selector: _AssignedRuntimes
    plans: list[NetworkPlan]


_WORKER_LOCK = threading.Lock()


_WORKER_STATES: list[_WorkerState] = []


def _worker_state(assignment: Assignment) -> _WorkerState:
    if not _WORKER_STATES or _WORKER_STATES[0].name != assignment.name:
        plans = [_make_plan(assignment.cache, context) for context in assignment.contexts]
        _WORKER_STATES[:] = [_WorkerState(assignment.name, _AssignedRuntimes(assignment), plans)]
    return _WORKER_STATES[0]


def _make_plan(cache: CachePlace, context: WorkerContext) -> NetworkPlan:
    stores = tuple(locked_store(cache, embedding) for embedding in context.locked)
    return NetworkPlan(NetworkGroup(context.requests), context.locked, stores)
