"""Control of the number of threads that numerical libraries use in every fit and every prediction.

One fit or prediction uses one thread of BLAS and of OpenMP, independent of ``OMP_NUM_THREADS`` and similar variables.
So sums are added in one order, and a model does not depend on the environment. Independent fits run in parallel on the
available cores instead. For the matrices of heads this is also faster: the threads of BLAS would spend most of their
time waiting for each other, and more of it where another process uses a core.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import joblib
from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")
_cores: ContextVar[int | None] = ContextVar("cores", default=None)


def available_cores() -> int:
    """Return the number of cores that the calling thread may use, at least 1.

    Without a limit these are the cores of the process, after CPU affinity and the limits of its container.
    """
    limit = _cores.get()
    return max(1, joblib.cpu_count() if limit is None else limit)


@contextmanager
def cores_limited_to(n_cores: int) -> Iterator[None]:
    """Limit `available_cores` in this block, for a process that shares its machine with similar processes."""
    token = _cores.set(n_cores)
    try:
        yield
    finally:
        _cores.reset(token)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Limit BLAS and OpenMP to one thread in this block; also a decorator.

    Notes
    -----
    Blocks may overlap in several threads. The number of BLAS threads belongs to the process: the first block lowers it,
    the last one restores it. That of OpenMP belongs to the calling thread.
    """
    with _blas.limited():
        libraries = _libraries("openmp")
        before = [library.num_threads for library in libraries]
        for library in libraries:
            library.set_num_threads(1)
        try:
            yield
        finally:
            for library, n_threads in zip(libraries, before, strict=True):
                library.set_num_threads(n_threads)


def run_side_by_side(function: Callable[[T], R], items: Sequence[T], *, at_once: int | None = None) -> Iterator[R]:
    """Yield the result of a function for each item, in order; several items run at once, each `single_threaded`.

    Parameters
    ----------
    function
        Function of one item, whose result must not depend on other items. Inside it `available_cores` is the share of
        one item.
    items
        The items.
    at_once
        Maximum number of items that run at the same time; by default the number of available cores.
    """
    cores = available_cores()
    n_workers = max(1, min(cores, len(items), at_once or cores))

    def run(item: T) -> R:
        with cores_limited_to(cores // n_workers), single_threaded():
            return function(item)

    if n_workers == 1:
        yield from map(run, items)
        return
    with single_threaded(), ThreadPoolExecutor(n_workers) as executor:
        yield from executor.map(run, items)


class _BlasLimit:
    """A limit of one thread for each BLAS library of the process while at least one block needs it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_blocks = 0
        # Path of a library → the library and its number of threads before the limit.
        self._before: dict[str, tuple[Any, int]] = {}

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Limit all BLAS libraries to one thread during the block."""
        with self._lock:
            self._n_blocks += 1
            for library in _libraries("blas"):
                if library.filepath not in self._before:
                    self._before[library.filepath] = library, library.num_threads
                    _set_blas_threads(library, 1)
        try:
            yield
        finally:
            with self._lock:
                self._n_blocks -= 1
                if not self._n_blocks:
                    for library, n_threads in self._before.values():
                        _set_blas_threads(library, n_threads)
                    self._before.clear()


def _set_blas_threads(library: Any, n_threads: int) -> None:
    """Set the number of threads of a BLAS library, whichever thread set it before.

    Since version 3.8 threadpoolctl ignores all threads except the first one that set the number for OpenBLAS. Here a
    lock and a count of blocks prevent threads from disturbing each other.
    """
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(n_threads)
    if release is not None:
        release(force=True)


def _libraries(user_api: str) -> list[Any]:
    """Return the libraries of this process with one kind of threads, ``blas`` or ``openmp``."""
    return [library for library in _all_libraries(len(sys.modules)) if library.user_api == user_api]


@lru_cache(maxsize=1)
def _all_libraries(_n_modules: int) -> list[Any]:
    """Return all libraries with threads; the number of imported modules in the key renews the cached list."""
    return list(ThreadpoolController().lib_controllers)


_blas = _BlasLimit()
