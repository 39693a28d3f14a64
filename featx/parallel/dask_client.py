"""Connect to Dask workers or start some, check their version of featx, and run tasks on them.

All waiting has a time limit. Dask is imported when it is first needed (extra ``dask``).
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

# Maximum time in which a scheduler and its workers answer.
MAX_ANSWER_S = 10.0
# Maximum time in which local worker processes start.
MAX_START_S = 120.0
# Maximum time without any worker after all were lost.
MAX_WITHOUT_WORKERS_S = 120.0
MAX_WAIT_S = 2.0


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
def connect_client(spec: ClusterSpec) -> Iterator[Any]:
    """Lend a `distributed.Client` whose workers have this version of featx; local workers end with the block.

    Raises
    ------
    MissingExtraError
        dask is not installed.
    ClusterError
        the scheduler does not answer, it has no workers, or a worker has no featx or another version.
    """
    dask = _distributed()
    with ExitStack() as stack:
        stack.enter_context(_silence_client_logs())
        address, security = spec.scheduler, None
        if address is None:
            # This module imports Dask.
            from featx.parallel.local_workers import start_local_workers

            address, security = stack.enter_context(start_local_workers(spec.workers_local or 1))
        try:
            client = stack.enter_context(
                dask.Client(address, security=security, timeout=MAX_ANSWER_S, set_as_default=False)
            )
        # TimeoutError is an OSError.
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {address!r} within {MAX_ANSWER_S:.0f} s; "
                "start one ('dask scheduler'), or use '--workers-local N'"
            ) from error
        _check_workers(client, spec)
        yield client


@contextmanager
def _silence_client_logs() -> Iterator[None]:
    """Keep Dask's client from logging errors that are also raised."""
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("client", "utils")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_workers(client: Any, spec: ClusterSpec) -> None:
    """Check that there are workers, and that all have this version of featx."""
    n_workers, timeout_s = (1, MAX_ANSWER_S) if spec.scheduler else (spec.workers_local, MAX_START_S)
    try:
        client.wait_for_workers(n_workers, timeout=timeout_s)
    except TimeoutError as error:
        n_connected, address = len(worker_addresses(client)), client.scheduler.address
        raise ClusterError(
            f"{n_connected or 'no'} workers have connected to {address} within {timeout_s:.0f} s, "
            f"expected {n_workers} or more; start some: dask worker {address} --nthreads 1"
        ) from error
    expected = metadata.version("featx")
    for worker, version in call_on_all_workers(client, metadata.version, "featx").items():
        next_step = f"expected {expected}; pip install featx=={expected} there"
        if isinstance(version, metadata.PackageNotFoundError):
            raise ClusterError(f"worker {worker} has no featx, {next_step}")
        if isinstance(version, Exception):
            raise ClusterError(f"worker {worker} does not report its version of featx: {version!r}") from version
        if version != expected:
            raise ClusterError(f"worker {worker} has featx {version}, {next_step}")


def worker_addresses(client: Any) -> list[str]:
    """Return the addresses of all connected workers."""
    return list(client.scheduler_info(n_workers=-1)["workers"])


def max_workers_per_host(client: Any) -> int:
    """Return the largest number of workers on one machine, at least 1."""
    hosts = [worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    return max(map(hosts.count, hosts), default=1)


def call_on_all_workers(client: Any, call: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Return the result of a call in each worker, also in busy ones: address → result or the exception that it raised.

    Raises
    ------
    ClusterError
        a worker does not answer in time.
    """
    try:
        results: dict[str, Any] = client.sync(
            client._run, call, *args, on_error="return", callback_timeout=MAX_ANSWER_S
        )
    except TimeoutError as error:
        workers = ", ".join(worker_addresses(client))
        raise ClusterError(
            f"not all of the workers {workers} answer within {MAX_ANSWER_S:.0f} s; stop those that hang"
        ) from error
    return results


def iterate_completed(client: Any, tasks: Iterable[Any], ahead: int) -> Iterator[Any]:
    """Submit tasks and yield each future when it is done; the block cancels the remaining futures at its end.

    Parameters
    ----------
    client
        The Dask client.
    tasks
        Iterable that submits a task at each step and yields its future.
    ahead
        Maximum number of futures that are submitted and not done.

    Raises
    ------
    ClusterError
        all workers are lost and none comes back, or the scheduler is lost.
    """
    waiting: list[Any] = []
    source, last_contact_s = iter(tasks), time.monotonic()
    try:
        while True:
            while len(waiting) < ahead and (task := next(source, None)) is not None:
                waiting.append(task)
            if not waiting:
                return
            with client.as_current():
                completed = _wait_briefly(waiting)
            if completed or _has_workers(client):
                last_contact_s = time.monotonic()
            if time.monotonic() - last_contact_s > MAX_WITHOUT_WORKERS_S:
                raise ClusterError(
                    f"all workers are lost, and none came back within {MAX_WITHOUT_WORKERS_S:.0f} s; run again"
                )
            for task in completed:
                waiting.remove(task)
                yield task
    finally:
        client.cancel(waiting)


def _wait_briefly(waiting: list[Any]) -> list[Any]:
    """Return the futures that are done within `MAX_WAIT_S`."""
    try:
        results = _distributed().wait(waiting, timeout=MAX_WAIT_S, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return []
    except CancelledError as error:
        raise _lost_scheduler_error() from error
    return [task for task in waiting if task in results.done]


def _lost_scheduler_error() -> ClusterError:
    return ClusterError("the scheduler is gone; finished work is kept: run again")


def _has_workers(client: Any) -> bool:
    if client.status not in {"running", "connecting"}:
        raise _lost_scheduler_error()
    return bool(worker_addresses(client))


def task_result(future: Any) -> Any:
    """Return the result of a task.

    Raises
    ------
    ClusterError
        several workers died during the task, or the scheduler is lost.
    """
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers died over the same task, the last one {error.last_worker.address}; "
            "their logs say why (memory?); finished work is kept: run again"
        ) from error
    except CancelledError as error:
        raise _lost_scheduler_error() from error


def allow_child_processes() -> None:
    """Allow this worker process to start processes, which Dask's nannies forbid."""
    multiprocessing.current_process().daemon = False
    # The resource tracker of a killed process warns.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
