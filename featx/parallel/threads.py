"""How many threads numerical libraries use: decided here for every fit and every prediction.

One fit or prediction uses one thread of BLAS and of OpenMP, whatever ``OMP_NUM_THREADS`` and the like are set to. Sums
are then added in one order, and a model does not depend on the environment. Independent fits run side by side on the
available cores instead. On the matrices that heads are fitted on this is also faster: there the threads of BLAS spend
most of their time waiting for each other, and more of it where another process keeps a core busy.
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

    Without a limit these are the cores of the process, CPU affinity and the limits of a container counted.
    """
    limit = _cores.get()
    return max(1, joblib.cpu_count() if limit is None else limit)


@contextmanager
def cores_limited_to(n_cores: int) -> Iterator[None]:
    """Limit `available_cores` in this block, for a process that shares its machine with others of its kind."""
    token = _cores.set(n_cores)
    try:
        yield
    finally:
        _cores.reset(token)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread in this block; also a decorator.

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
    """Yield the result of a function for each item, in order, several at once, each `single_threaded`.

    Parameters
    ----------
    function
        Must not depend on which items run beside each other. Inside it `available_cores` is the share of one item.
    at_once
        Maximum number of items that run beside each other; the number of available cores by default.
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
    """Keeps each BLAS library of the process at one thread while at least one block asks for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_blocks = 0
        self._before: dict[str, tuple[Any, int]] = {}  # path of a library → the library and its number of threads

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Ask for it in one more block."""
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

    From version 3.8 on threadpoolctl ignores all threads but the first one that set the number of OpenBLAS. Here a lock
    and a count of blocks keep threads from disturbing each other.
    """
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(n_threads)
    if release is not None:
        release(force=True)


def _libraries(user_api: str) -> list[Any]:
    """Return the libraries of this process that have threads of a kind, ``blas`` or ``openmp``."""
    return [one for one in _all_libraries(len(sys.modules)) if one.user_api == user_api]


@lru_cache(maxsize=1)
def _all_libraries(_n_modules: int) -> list[Any]:
    """Return the libraries that have threads; imports, which may load more of them, make this look again."""
    return list(ThreadpoolController().lib_controllers)


_blas = _BlasLimit()
