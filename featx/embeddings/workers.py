"""Decoding in worker processes: a picture that kills its decoder costs itself and nothing else."""

import os
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Self

from joblib.externals.loky import ProcessPoolExecutor

from featx.errors import ReadError
from featx.images.contents import Content, digest
from featx.images.decode import Pixels, decode
from featx.images.resizing import preprocessor, required_px
from featx.images.sources import read
from featx.specs.embedding import Decoding, Preprocessing

TASKS_AHEAD = 2  # of each worker: what bounds the memory
IDLE_S = 30  # after which workers that nobody feeds end
STORE_SETTINGS = ("AWS_", "AZURE_", "FSSPEC_", "GCS_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
DIED = "worker died while decoding it"
CHANGED = "changed while it was being read"
REMOVED = "was removed while it was being read"
TOO_LARGE = "cannot be brought to size"
# loky warns as it replaces a worker whose memory grew; made an error, that would end the thread that does it.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)

Place = str | Content  # a uri, or what it would lead to
Todo = Sequence[tuple[str, Place]]  # (digest, place)
Results = list[tuple[Pixels, ...] | str]  # pixels at each size, or why there are none


@dataclass(frozen=True)
class Decoder:
    """What becomes of an image in a worker: pixels at each of some sizes.

    Attributes
    ----------
    decoding
        The choices in decoding.
    sizes
        What the networks take.
    """

    decoding: Decoding
    sizes: tuple[Preprocessing, ...]

    def decoded(self, expected: str, place: Place) -> tuple[Pixels, ...] | str:
        """Return an image's pixels at each size, or why there are none."""
        try:
            content = read(place) if isinstance(place, str) else place
            if digest(content) != expected:
                return CHANGED
            image = decode(content, self.decoding, required_px(self.sizes))
            return tuple(preprocessor(size)(image) for size in self.sizes)
        except FileNotFoundError:
            return REMOVED
        except ReadError as error:
            return str(error)
        except (MemoryError, ValueError) as error:  # of resizing: a strip one pixel wide and a hundred million long
            return f"{TOO_LARGE}: {type(error).__name__} {error}".rstrip()

    def chunk(self, todo: Todo) -> tuple[Results, float]:
        """Return what `decoded` does for each of a few images, and the seconds that it took."""
        start = time.perf_counter()
        return [self.decoded(*one) for one in todo], time.perf_counter() - start


Decoded = tuple[str, tuple[Pixels, ...] | str, float]  # digest, pixels or why there are none, seconds
Chunk = tuple[Todo, Future[tuple[Results, float]]]


def decoded(todo: Iterable[tuple[str, Place]], decoder: Decoder, workers: int, chunk_size: int) -> Generator[Decoded]:
    """Yield each image's pixels, or why there are none, in the order of `todo`; at most a few chunks wait."""
    waiting: deque[Chunk] = deque()
    with _shared_pool(workers, _store_settings()).at_work() as pool:
        try:
            for chunk in _chunks(todo, chunk_size):
                waiting.append((chunk, pool.submit(decoder.chunk, chunk)))
                if len(waiting) > TASKS_AHEAD * workers:
                    yield from _first(waiting, pool, decoder)
            while waiting:
                yield from _first(waiting, pool, decoder)
        finally:
            for _, future in waiting:
                future.cancel()


@cache
def _shared_pool(workers: int, settings: int) -> "_Pool":
    """Return this process's workers: to start them takes longer than to decode some hundred images.

    Workers know the environment that they were started in, so other settings of an object store mean other workers.
    """
    return _Pool(workers)


def _store_settings() -> int:
    return hash(
        frozenset((name, value) for name, value in os.environ.items() if name.upper().startswith(STORE_SETTINGS))
    )


def _chunks(todo: Iterable[tuple[str, Place]], size: int) -> Iterator[Todo]:
    chunk: list[tuple[str, Place]] = []
    for one in todo:
        chunk.append(one)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _first(waiting: deque[Chunk], pool: "_Pool", decoder: Decoder) -> Iterator[Decoded]:
    """Yield the images of the chunk that waits longest; where a worker died over some chunk, do it one by one."""
    chunk, future = waiting.popleft()
    try:
        results, seconds = future.result()
    except BrokenProcessPool:
        # Nobody knows which of the unfinished chunks did it: all are done again, this one image by image.
        pool.restart()
        for at, (other, old) in enumerate(waiting):
            if not old.done() or old.exception() is not None:
                waiting[at] = (other, pool.submit(decoder.chunk, other))
        results, seconds = _one_by_one(chunk, decoder)
    each_s = seconds / len(chunk)
    yield from ((name, result, each_s) for (name, _), result in zip(chunk, results, strict=True))


def _one_by_one(chunk: Todo, decoder: Decoder) -> tuple[Results, float]:
    """Decode a chunk's images by a worker that has only one of them at a time; return the seconds as well."""
    lonely, start = _Pool(1), time.perf_counter()
    try:
        return [_alone(one, lonely, decoder) for one in chunk], time.perf_counter() - start
    finally:
        lonely.stop()


def _alone(one: tuple[str, Place], lonely: "_Pool", decoder: Decoder) -> tuple[Pixels, ...] | str:
    """Decode one image, and once more by a new worker where one dies: the image before may have hurt it."""
    for _ in range(2):
        try:
            return lonely.submit(decoder.chunk, [one]).result()[0][0]
        except BrokenProcessPool:
            lonely.restart()
    return DIED


class _Pool:
    """Worker processes that are started when first needed, and end with their parent.

    loky starts them without running the caller's main module again, so scripts need no ``__main__`` guard.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._users = 0
        self._changing = threading.RLock()
        self._rest = threading.Timer(IDLE_S, self._end)
        self._start()

    def _start(self) -> None:
        self._pool = ProcessPoolExecutor(self._workers, initializer=_end_with_parent, initargs=(os.getpid(),))

    @contextmanager
    def at_work(self) -> Iterator[Self]:
        """Keep the workers while the block runs and `IDLE_S` longer.

        loky's own timeout ends single workers, and may do so just when they are given something.
        """
        with self._changing:
            self._users += 1
            self._rest.cancel()
        try:
            yield self
        finally:
            with self._changing:
                self._users -= 1
                self._rest = threading.Timer(IDLE_S, self._end)
                self._rest.daemon = True
                self._rest.start()

    def _end(self) -> None:
        with self._changing:
            if not self._users:
                self.restart()  # new ones start when they are needed

    def submit(self, call: Callable[[Todo], tuple[Results, float]], todo: Todo) -> Future[tuple[Results, float]]:
        """Hand out a chunk."""
        try:
            found: Future[tuple[Results, float]] = self._pool.submit(call, todo)
        except BrokenProcessPool as error:
            found = Future()
            found.set_exception(error)
        return found

    def restart(self) -> None:
        """Replace workers of which one died."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """End the workers; what they were at is lost."""
        self._pool.shutdown(wait=True, kill_workers=True)


def _end_with_parent(parent: int) -> None:
    """Make a worker end soon after the process that started it, however that ended; its decoders keep quiet."""

    def progress() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=progress, daemon=True).start()
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
