"""Extraction by Dask workers: the driver decides how, workers embed shards and publish them, and no vector travels.

A shard is a list of images. One that is done costs nothing, so what a lost worker leaves is done again by another one.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featx.embeddings.engine import MOST_WORKERS, PassStatistics, Runner, Times
from featx.embeddings.fill import Plan, fill
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import check_space
from featx.embeddings.workers import Place
from featx.errors import ClusterError, ReadError
from featx.images.sources import read
from featx.parallel.dask_client import (
    LOOK_S,
    addresses,
    asked,
    connected,
    finished,
    may_have_children,
    most_on_a_host,
    result,
)
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import EmbeddingRequest, Precision
from featx.specs.extraction import ClusterSpec, EngineSpec, Runtime
from featx.storage.places import CachePlace
from featx.storage.store import EmbeddingStore, missing
from featx.study.embedding_lock import LockedEmbedding
from featx.study.folders import store_path

FEWEST = 64  # images of a shard; what handing it out costs is little beside them
SHARDS_EACH = 4  # of each worker, where there are not many images: the last ones end about together
AHEAD = 2  # shards that are handed out for each worker
STOPPED = "featx-stopped-"
RUNTIMES: dict[str, Runtime] = {
    "torch": "torch",
    "torch.compile": "compile",
    "onnxruntime": "onnx",
    "openvino": "openvino",
}  # as a runner's provenance calls them

Shard = tuple[tuple[str, Place], ...]  # (digest, place)


@dataclass(frozen=True)
class WorkerContext:
    """A network as all workers are to run it.

    Attributes
    ----------
    runtime, rows
        What runs it, and images in a batch; None while no worker has found out.
    """

    requests: tuple[EmbeddingRequest, ...]
    locked: tuple[LockedEmbedding, ...]
    runtime: Runtime | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Assignment:
    """What is the same for all shards.

    Attributes
    ----------
    name
        Unlike that of any other extraction.
    cache
        Where the stores lie, absolute.
    threads
        That torch uses on a CPU in one call, as in the driver's process: sums of other parts round differently.
    """

    name: str
    cache: CachePlace
    threads: int
    engine: EngineSpec
    stations: tuple[WorkerContext, ...]


@dataclass(frozen=True)
class ShardResult:
    """What a worker says of a shard.

    Attributes
    ----------
    worker
        Machine and process.
    n_embedded, failed
        Images that have all their vectors, and digest → why one lacks some.
    """

    worker: str
    n_embedded: int
    failed: dict[str, str]
    times: Times


# What the driver does


def check_cluster(cluster: ClusterSpec | None) -> None:
    """Check that a scheduler answers and its workers have this featx, before any work; of one to be started, nothing.

    Raises
    ------
    ClusterError, MissingExtraError
        as `featx.parallel.dask_client.connected` says.
    """
    if cluster is not None and cluster.scheduler is not None:
        with connected(cluster):
            pass


def fill_by(
    cluster: ClusterSpec,
    plans: Sequence[Plan],
    uris: Mapping[str, Place],
    chooser: RuntimeSelector,
    progress: ProgressCallback,
) -> PassStatistics:
    """Do what `featx.embeddings.fill.fill` does, by workers; the vectors are the same ones.

    Raises
    ------
    ClusterError
        workers do not answer, do not see the cache or the images, or die again and again.
    """
    wanted = frozenset().union(*(plan.missing(uris) for plan in plans))
    todo = {digest: uri for digest, uri in uris.items() if digest in wanted}
    if not todo:
        return PassStatistics()
    check_space([store for plan in plans for store in plan.stores], wanted, chooser.cache, progress)
    with connected(cluster) as client:
        _check_sight(client, chooser.cache, next(iter(todo.items())))
        start = time.perf_counter()
        assignment = _settled(client, plans, todo, chooser)
        passed = PassStatistics(times=Times(build_s=time.perf_counter() - start))
        start = time.perf_counter()
        _hand_out(client, assignment, todo, passed, progress)
        passed.times.wall_s = time.perf_counter() - start
    return passed


def _settled(client: Any, plans: Sequence[Plan], todo: Mapping[str, Place], chooser: RuntimeSelector) -> Assignment:
    """Have one worker find out by which runtime and in which batches each network runs there."""
    import torch

    share = max(1, min(MOST_WORKERS, os.cpu_count() or 1) // most_on_a_host(client))
    engine = chooser.engine.model_copy(update={"workers": chooser.engine.workers or share})
    stations = tuple(WorkerContext(plan.group.requests, plan.locked, rows=plan.rows) for plan in plans)
    asks = Assignment(uuid.uuid4().hex, chooser.cache.absolute(), torch.get_num_threads(), engine, stations)
    sample = {digest: todo[digest] for digest in sorted(todo)[: chooser.sample]}
    counts = [len(plan.missing(todo)) for plan in plans]
    found = result(client.submit(settle, asks, sample, counts, pure=False))
    return replace(asks, stations=found)


def _check_sight(client: Any, cache: CachePlace, first: tuple[str, Place]) -> None:
    """Check that all workers can write where this process can, and read what it can.

    Raises
    ------
    ClusterError
        one cannot; says which, and what.
    """
    with _probe(cache) as probe:
        _look_around(client, probe, first)


@contextmanager
def _probe(cache: CachePlace) -> Iterator[Path | None]:
    """Yield a new file in a cache's folder; None where the cache lies behind a URL, which says for itself who may."""
    folder = cache.absolute().folder
    if folder is None:
        yield None
        return
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{uuid.uuid4().hex}"
    probe.touch()
    try:
        yield probe
    finally:
        for file in folder.glob(f"{probe.name}*"):
            file.unlink(missing_ok=True)


def _look_around(client: Any, probe: Path | None, first: tuple[str, Place]) -> None:
    uri = first[1] if isinstance(first[1], str) and not _problem_of(first[1]) else None
    for worker, problem in asked(client, look_around, probe, uri).items():
        if problem:
            raise ClusterError(f"worker {worker} {problem}; workers need the same folders under the same names")


def _shards(todo: Mapping[str, Place], n_workers: int, rows: int, most: int) -> Iterator[Shard]:
    """Cut images into shards of whole batches."""
    size = min(most, max(FEWEST, len(todo) // (SHARDS_EACH * n_workers)))
    size = max(1, size // rows) * rows
    images = tuple(todo.items())
    yield from (images[start : start + size] for start in range(0, len(images), size))


def _hand_out(
    client: Any, work: Assignment, todo: Mapping[str, Place], passed: PassStatistics, progress: ProgressCallback
) -> None:
    from distributed import Event

    n_workers = len(addresses(client))
    rows = max(station.rows or 1 for station in work.stations)
    shards = _shards(todo, n_workers, rows, work.engine.segment_rows)
    tasks = (client.submit(embed_shard, work, shard, pure=False) for shard in shards)
    seen: dict[str, tuple[int, int]] = {}
    n_done = 0
    progress("embed", 0, len(todo))
    try:
        for future in finished(client, tasks, AHEAD * n_workers):
            done: ShardResult = result(future)
            passed.failed |= done.failed
            for name in ("decode_s", "network_s", "write_s"):
                setattr(passed.times, name, getattr(passed.times, name) + getattr(done.times, name))
            seen[done.worker] = (done.times.workers, done.times.threads)
            n_done += done.n_embedded + len(done.failed)
            note = f"{len(seen)} workers" + (f", {len(passed.failed)} unreadable" if passed.failed else "")
            progress("embed", n_done, len(todo), note)
    except BaseException:
        with suppress(Exception):  # the scheduler may be what has gone
            Event(STOPPED + work.name, client=client).set()  # what is being embedded is published, and no more is
        raise
    passed.embedded = todo.keys() - passed.failed.keys()
    passed.times.workers = sum(workers for workers, _ in seen.values())
    passed.times.threads = sum(threads for _, threads in seen.values())


# What workers do


def look_around(probe: Path | None, uri: str | None) -> str:
    """Return what this worker cannot do: see the driver's file, write beside it, read an image; empty where it can."""
    if probe is not None and not probe.is_file():
        return f"does not see the cache {probe.parent}"
    try:
        if probe is not None:
            probe.with_name(f"{probe.name}-{me()}").touch()
    except OSError as error:
        return f"cannot write to the cache {error.filename} ({error.strerror})"
    problem = _problem_of(uri) if uri else ""
    return f"cannot read the image {uri} ({problem})" if problem else ""


def _problem_of(uri: str) -> str:
    try:
        read(uri)
    except FileNotFoundError:
        return "it is not there"
    except ReadError as error:
        return str(error)
    return ""


def me() -> str:
    """Return a name for this process among those of all machines."""
    return f"{socket.gethostname()}-{os.getpid()}"


def settle(work: Assignment, sample: Mapping[str, Place], counts: Sequence[int]) -> tuple[WorkerContext, ...]:
    """Return the networks with the runtimes and batches that this worker would choose.

    Parameters
    ----------
    sample
        Images to try on.
    counts
        Images that are to go through each network.
    """
    _prepare(work)
    chooser = RuntimeSelector(work.cache, work.engine, sample, no_progress)
    found = []
    for station, count in zip(work.stations, counts, strict=True):
        group = NetworkGroup(station.requests)
        _check_weights(group, station.locked)
        runner = chooser.runner(group, station.locked[0].spec.precision, station.rows, count)
        runtime = RUNTIMES[runner.provenance["runtime"].partition(" ")[0]]
        found.append(replace(station, runtime=runtime, rows=runner.rows))
    return tuple(found)


def _prepare(work: Assignment) -> None:
    import torch

    may_have_children()
    torch.set_num_threads(work.threads)


def _check_weights(group: NetworkGroup, locked: Sequence[LockedEmbedding]) -> None:
    for one, spec in zip(locked, group.specs(locked[0].spec.precision), strict=True):
        if one.spec != spec:
            raise ClusterError(
                f"on {me()} {one.request.name!r} has other weights or another layer than on the driver: "
                f"{spec.fingerprint()}, expected {one.spec.fingerprint()}; workers need the same weights' files"
            )


def embed_shard(work: Assignment, shard: Shard) -> ShardResult:
    """Embed what the stores lack of a shard, and publish it."""
    _prepare(work)
    with _TURN:  # a worker of several threads has one network all the same
        bench = _bench(work)
        for plan in bench.plans:
            for store in plan.stores:
                store.refresh()
        try:
            passed = fill(bench.plans, dict(shard), bench.chooser, _until_stopped(work.name))
        except _StoppedError:
            passed = PassStatistics()
    lacking = missing([store for plan in bench.plans for store in plan.stores], [digest for digest, _ in shard])
    return ShardResult(me(), len(shard) - len(lacking), passed.failed, passed.times)


class _StoppedError(Exception):
    """The driver wants no more."""


def _until_stopped(name: str) -> ProgressCallback:
    """Return a progress that ends the work once the driver has said so."""
    from distributed import Event, get_client

    looked = time.monotonic()

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal looked
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            if Event(STOPPED + name, client=get_client()).is_set():
                raise _StoppedError

    return progress


class _Bench(RuntimeSelector):
    """Runs networks as the driver says, each made ready once."""

    def __init__(self, work: Assignment) -> None:
        super().__init__(work.cache, work.engine, {}, no_progress)
        self._as_told = {NetworkGroup(station.requests): station for station in work.stations}
        self._runners: dict[NetworkGroup, Runner] = {}

    def runner(self, group: NetworkGroup, precision: Precision, rows: int | None, n_images: int) -> Runner:
        """See `RuntimeSelector`; neither the batch nor the number of images is looked at."""
        from featx.embeddings.runtimes import Execution

        if group not in self._runners:
            station = self._as_told[group]
            assert station.runtime is not None  # it is settled before shards are handed out
            _check_weights(group, station.locked)
            device = self.engine.device if isinstance(precision, str) else precision.device
            self._runners[group] = group.portable.ready(Execution(station.runtime, device, precision), station.rows)
        return self._runners[group]


@dataclass(frozen=True)
class _Kept:
    """What a worker process keeps from one shard to the next."""

    name: str
    chooser: _Bench
    plans: list[Plan] = field(default_factory=list)


_TURN = threading.Lock()
_KEPT: list[_Kept] = []


def _bench(work: Assignment) -> _Kept:
    if not _KEPT or _KEPT[0].name != work.name:
        _KEPT[:] = [_Kept(work.name, _Bench(work), [_plan(work.cache, station) for station in work.stations])]
    return _KEPT[0]


def _plan(cache: CachePlace, station: WorkerContext) -> Plan:
    stores = tuple(EmbeddingStore(store_path(cache, one.spec), one.spec, one.n_features) for one in station.locked)
    return Plan(NetworkGroup(station.requests), station.locked, stores)
