"""Dask workers that share the work: found or started, and compared with this process before anything is handed out.

All that may hang is bounded in time. Dask is imported when it is first needed (extra ``dask``).
"""

import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from importlib import metadata
from typing import Any

from featx.errors import ClusterError, MissingExtraError
from featx.specs.extraction import ClusterSpec

ANSWER_S = 10.0  # in which a scheduler and its workers answer
START_S = 120.0  # in which processes that are started here are there
ALONE_S = 120.0  # that are waited for a worker once all are lost
LOOK_S = 2.0


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "a cluster needs dask, which is not installed; pip install \"featx[dask]\", or leave out '--scheduler' and "
            "'--workers-local'"
        ) from error
    return distributed


@contextmanager
def connected(spec: ClusterSpec) -> Iterator[Any]:
    """Lend a `distributed.Client` whose workers have this featx; processes that are started here end with the block.

    Raises
    ------
    MissingExtraError
        dask is not installed.
    ClusterError
        the scheduler does not answer, it has no workers, or one lacks featx or has another version of it.
    """
    dask = _distributed()
    with ExitStack() as closing:
        closing.enter_context(_errors_told_once())
        address, security = spec.scheduler, None
        if address is None:
            from featx.parallel.local_workers import started  # imports Dask

            address, security = closing.enter_context(started(spec.workers_local or 1))
        try:
            client = closing.enter_context(
                dask.Client(address, security=security, timeout=ANSWER_S, set_as_default=False)
            )
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise ClusterError(
                f"no Dask scheduler answers at {address!r} within {ANSWER_S:.0f} s; start one ('dask scheduler'), or "
                "say '--workers-local N'"
            ) from error
        _check(client, spec)
        yield client


@contextmanager
def _errors_told_once() -> Iterator[None]:
    """Keep Dask's client from logging what is raised as well."""
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("client", "utils")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check(client: Any, spec: ClusterSpec) -> None:
    """Check that there are workers, and that all have this featx."""
    wanted, patience = (1, ANSWER_S) if spec.scheduler else (spec.workers_local, START_S)
    try:
        client.wait_for_workers(wanted, timeout=patience)
    except TimeoutError as error:
        n_found, where = len(addresses(client)), client.scheduler.address
        raise ClusterError(
            f"{n_found or 'no'} workers have come to {where} within {patience:.0f} s, expected {wanted} or more; start "
            f"some: dask worker {where} --nthreads 1"
        ) from error
    ours = metadata.version("featx")
    for worker, found in asked(client, metadata.version, "featx").items():
        if isinstance(found, metadata.PackageNotFoundError):
            raise ClusterError(f"worker {worker} has no featx, expected {ours}; pip install featx=={ours} there")
        if isinstance(found, Exception):
            raise ClusterError(f"worker {worker} cannot say its version of featx: {found!r}") from found
        if found != ours:
            raise ClusterError(f"worker {worker} has featx {found}, expected {ours}; pip install featx=={ours} there")


def addresses(client: Any) -> list[str]:
    """Return the workers that are there."""
    return list(client.scheduler_info(n_workers=-1)["workers"])


def most_on_a_host(client: Any) -> int:
    """Return how many workers share the machine that has most of them."""
    hosts = [one["host"] for one in client.scheduler_info(n_workers=-1)["workers"].values()]
    return max(map(hosts.count, hosts), default=1)


def asked(client: Any, call: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Return what each worker answers, busy ones as well; in its place the exception that it raises.

    Raises
    ------
    ClusterError
        one does not answer in time.
    """
    try:
        found: dict[str, Any] = client.sync(client._run, call, *args, on_error="return", callback_timeout=ANSWER_S)
    except TimeoutError as error:
        raise ClusterError(
            f"not all of the workers {', '.join(addresses(client))} answer within {ANSWER_S:.0f} s; stop what hangs"
        ) from error
    return found


def finished(client: Any, tasks: Iterable[Any], ahead: int) -> Iterator[Any]:
    """Hand out tasks, a few ahead of the workers, and yield each future as it is done; the others end with the block.

    Parameters
    ----------
    tasks
        Submits each task as it is asked for, and yields its future.
    ahead
        Tasks that are handed out at once.

    Raises
    ------
    ClusterError
        all workers are lost and none comes back, or the scheduler is.
    """
    waiting: list[Any] = []
    source, seen = iter(tasks), time.monotonic()
    try:
        while True:
            while len(waiting) < ahead and (task := next(source, None)) is not None:
                waiting.append(task)
            if not waiting:
                return
            with client.as_current():
                done = _some_done(waiting)
            seen = time.monotonic() if done or _is_manned(client) else seen
            if time.monotonic() - seen > ALONE_S:
                raise ClusterError(f"all workers are lost, and none came back within {ALONE_S:.0f} s; run again")
            for task in done:
                waiting.remove(task)
                yield task
    finally:
        client.cancel(waiting)


def _some_done(waiting: list[Any]) -> list[Any]:
    try:
        found = _distributed().wait(waiting, timeout=LOOK_S, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return []
    except CancelledError as error:
        raise _gone() from error
    return [task for task in waiting if task in found.done]


def _gone() -> ClusterError:
    return ClusterError("the scheduler is gone; what was done is kept: run again")


def _is_manned(client: Any) -> bool:
    if client.status not in {"running", "connecting"}:
        raise _gone()
    return bool(addresses(client))


def result(future: Any) -> Any:
    """Return what came of a task.

    Raises
    ------
    ClusterError
        its workers died again and again, or the scheduler is gone.
    """
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers died over the same task, the last one {error.last_worker.address}; "
            "their logs say why (memory?); what was done is kept: run again"
        ) from error
    except CancelledError as error:
        raise _gone() from error


def may_have_children() -> None:
    """Let this worker process start others: Dask's nannies mark theirs as those that may not."""
    multiprocessing.current_process().daemon = False
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")  # of those that are killed
