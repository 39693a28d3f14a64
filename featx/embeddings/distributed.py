"""Extraction by Dask workers: the driver fixes how networks run, and workers embed shards and publish them.

A shard is a list of images. Vectors are never sent: a worker publishes them in the cache. A finished shard costs
nothing when it is repeated, so the shards of a lost worker are given to another one.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from featx.embeddings.engine import MAX_DEFAULT_WORKERS, PassStatistics, StageTimes
from featx.embeddings.fill import NetworkPlan
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import check_space
from featx.embeddings.worker_tasks import (
    STOP_EVENT_PREFIX,
    Assignment,
    Shard,
    ShardResult,
    WorkerContext,
    check_access,
    choose_runtimes,
    embed_shard,
    read_error,
)
from featx.embeddings.workers import ImageSource
from featx.errors import ClusterError
from featx.parallel.dask_client import (
    call_on_all_workers,
    connect_client,
    iterate_completed,
    max_workers_per_host,
    task_result,
    worker_addresses,
)
from featx.progress import ProgressCallback
from featx.specs.extraction import ClusterSpec
from featx.storage.places import CachePlace

# Images of a shard; sending a shard costs little beside embedding this many.
MIN_SHARD_IMAGES = 64
# Shards of each worker where there are few images, so that all workers finish at about the same time.
SHARDS_PER_WORKER = 4
# Shards that are submitted ahead for each worker.
MAX_PENDING_PER_WORKER = 2


def check_cluster(cluster: ClusterSpec | None) -> None:
    """Check that a running scheduler answers and that its workers have this version of featx, before any work.

    A cluster that is still to be started on this machine is not checked.

    Raises
    ------
    ClusterError, MissingExtraError
        the cluster cannot be used (`featx.parallel.dask_client.connect_client`).
    """
    if cluster is not None and cluster.scheduler is not None:
        with connect_client(cluster):
            pass


def fill_by_workers(
    cluster: ClusterSpec,
    plans: Sequence[NetworkPlan],
    uris: Mapping[str, ImageSource],
    selector: RuntimeSelector,
    progress: ProgressCallback,
) -> PassStatistics:
    """Fill stores as `featx.embeddings.fill.fill` does, by Dask workers; the vectors are the same.

    Raises
    ------
    ClusterError
        workers do not answer, cannot access the cache or the images, or die repeatedly.
    """
    missing_digests = frozenset().union(*(plan.missing(uris) for plan in plans))
    missing_uris = {digest: uri for digest, uri in uris.items() if digest in missing_digests}
    if not missing_uris:
        return PassStatistics()
    check_space([store for plan in plans for store in plan.stores], missing_digests, selector.cache, progress)
    with connect_client(cluster) as client:
        _check_workers(client, selector.cache, next(iter(missing_uris.values())))
        start = time.perf_counter()
        assignment = _choose_by_one_worker(client, plans, missing_uris, selector)
        statistics = PassStatistics(times=StageTimes(build_s=time.perf_counter() - start))
        start = time.perf_counter()
        _embed_shards(client, assignment, missing_uris, statistics, progress)
        statistics.times.wall_s = time.perf_counter() - start
    return statistics


def _choose_by_one_worker(
    client: Any, plans: Sequence[NetworkPlan], missing_uris: Mapping[str, ImageSource], selector: RuntimeSelector
) -> Assignment:
    """Let one worker choose the runtime and the batch size of each network, for all workers."""
    import torch

    n_decoders = max(1, min(MAX_DEFAULT_WORKERS, os.cpu_count() or 1) // max_workers_per_host(client))
    engine = selector.engine.model_copy(update={"workers": selector.engine.workers or n_decoders})
    contexts = tuple(WorkerContext(plan.group.requests, plan.locked, rows=plan.rows) for plan in plans)
    cache = selector.cache.absolute()
    assignment = Assignment(uuid.uuid4().hex, cache, torch.get_num_threads(), engine, contexts)
    sample = {digest: missing_uris[digest] for digest in sorted(missing_uris)[: selector.sample]}
    counts = [len(plan.missing(missing_uris)) for plan in plans]
    runtime_contexts = task_result(client.submit(choose_runtimes, assignment, sample, counts, pure=False))
    return replace(assignment, contexts=runtime_contexts)


def _check_workers(client: Any, cache: CachePlace, place: ImageSource) -> None:
    """Check that all workers can write to the cache, and read one image if this process can.

    Raises
    ------
    ClusterError
        a worker cannot; the message names it and the folder or image.
    """
    uri = place if isinstance(place, str) and not read_error(place) else None
    with _probe_file(cache) as probe:
        for worker, problem in call_on_all_workers(client, check_access, probe, uri).items():
            if problem:
                raise ClusterError(f"worker {worker} {problem}; all workers need the same folders at the same paths")


@contextmanager
def _probe_file(cache: CachePlace) -> Iterator[Path | None]:
    """Yield a new file in a cache's folder; None for a cache behind a URL, whose server checks access itself."""
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


def _make_shards(
    missing_uris: Mapping[str, ImageSource], n_workers: int, rows: int, max_images: int
) -> Iterator[Shard]:
    """Yield shards of whole batches of `rows` images."""
    size = min(max_images, max(MIN_SHARD_IMAGES, len(missing_uris) // (SHARDS_PER_WORKER * n_workers)))
    size = max(1, size // rows) * rows
    images = tuple(missing_uris.items())
    yield from (images[start : start + size] for start in range(0, len(images), size))


def _embed_shards(
    client: Any,
    assignment: Assignment,
    missing_uris: Mapping[str, ImageSource],
    statistics: PassStatistics,
    progress: ProgressCallback,
) -> None:
    """Let the workers embed all images, and add up their results in `statistics`."""
    from distributed import Event

    n_workers = len(worker_addresses(client))
    rows = max(context.rows or 1 for context in assignment.contexts)
    shards = _make_shards(missing_uris, n_workers, rows, assignment.engine.segment_rows)
    tasks = (client.submit(embed_shard, assignment, shard, pure=False) for shard in shards)
    workers: dict[str, StageTimes] = {}
    n_done = 0
    progress("embed", 0, len(missing_uris))
    try:
        for future in iterate_completed(client, tasks, MAX_PENDING_PER_WORKER * n_workers):
            shard_result: ShardResult = task_result(future)
            statistics.failed |= shard_result.failed
            statistics.clipped |= shard_result.clipped
            for name in ("decode_s", "network_s", "write_s"):
                total_s = getattr(statistics.times, name) + getattr(shard_result.times, name)
                setattr(statistics.times, name, total_s)
            workers[shard_result.worker] = shard_result.times
            n_done += shard_result.n_embedded + len(shard_result.failed)
            n_failed = len(statistics.failed)
            note = f"{len(workers)} workers" + (f", {n_failed} unreadable" if n_failed else "")
            progress("embed", n_done, len(missing_uris), note)
    except BaseException:
        # Workers publish what they have embedded, and stop. The event cannot be set if the scheduler is gone.
        with suppress(Exception):
            Event(STOP_EVENT_PREFIX + assignment.name, client=client).set()
        raise
    statistics.embedded = missing_uris.keys() - statistics.failed.keys()
    statistics.times.workers = sum(times.workers for times in workers.values())
    statistics.times.threads = sum(times.threads for times in workers.values())
