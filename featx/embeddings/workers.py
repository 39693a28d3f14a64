"""Decoding in worker processes: a picture that kills its decoder costs itself and nothing else."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache

from joblib.externals.loky import ProcessPoolExecutor

from featx.errors import ReadError
from featx.images.contents import Content, digest, read
from featx.images.decode import Pixels, decode, enough_px, preprocessor
from featx.specs import Decoding, Preprocessing

CHUNK = 8  # images a task
TASKS_AHEAD = 2  # of each worker: what bounds the memory
IDLE_S = 30  # after which a worker that nobody feeds ends
STORE_SETTINGS = ("AWS_", "AZURE_", "FSSPEC_", "GCS_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
DIED = "worker died while decoding it"

Place = str | Content  # a uri, or what it would lead to
Todo = Sequence[tuple[str, Place]]  # (digest, place)


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
                return "changed while it was being read"
            image = decode(content, self.decoding, enough_px(self.sizes))
            return tuple(preprocessor(size)(image) for size in self.sizes)
        except FileNotFoundError:
            return "was removed while it was being read"
        except ReadError as error:
            return str(error)
        except (MemoryError, ValueError) as error:  # of resizing: a strip one pixel wide and a hundred million long
            return f"cannot be brought to size: {type(error).__name__} {error}".rstrip()

    def chunk(self, todo: Todo) -> list[tuple[Pixels, ...] | str]:
        """Return what `decoded` does for each of a few images."""
        return [self.decoded(*one) for one in todo]


Decoded = tuple[str, tuple[Pixels, ...] | str]  # digest, pixels or the reason why there are none


def decoded(todo: Iterable[tuple[str, Place]], decoder: Decoder, workers: int) -> Iterator[Decoded]:
    """Yield each image's pixels, or why there are none, in the order of `todo`; at most a few chunks wait."""
    pool = _shared_pool(workers, _store_settings())
    waiting: deque[tuple[Todo, Future[list[tuple[Pixels, ...] | str]]]] = deque()
    try:
        for chunk in _chunks(todo):
            waiting.append((chunk, pool.submit(decoder.chunk, chunk)))
            if len(waiting) > TASKS_AHEAD * workers:
                yield from _first(waiting, pool, decoder)
        while waiting:
            yield from _first(waiting, pool, decoder)
    finally:
        for _, future in waiting:
            future.cancel()


@cache
def _shared_pool(workers: int, settings: frozenset[tuple[str, str]]) -> "_Pool":
    """Return this process's workers: to start them takes longer than to decode some hundred images.

    Workers know the environment that they were started in, so other settings of an object store mean other workers.
    """
    return _Pool(workers)


def _store_settings() -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in os.environ.items() if name.upper().startswith(STORE_SETTINGS))


def _chunks(todo: Iterable[tuple[str, Place]]) -> Iterator[Todo]:
    chunk: list[tuple[str, Place]] = []
    for one in todo:
        chunk.append(one)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _first(
    waiting: "deque[tuple[Todo, Future[list[tuple[Pixels, ...] | str]]]]", pool: "_Pool", decoder: Decoder
) -> Iterator[Decoded]:
    """Yield the images of the chunk that waits longest; where a worker died over some chunk, do it one by one."""
    chunk, future = waiting.popleft()
    try:
        results = future.result()
    except BrokenProcessPool:
        # Nobody knows which of the unfinished chunks did it: all are done again, this one image by image.
        pool.restart()
        for at, (other, old) in enumerate(waiting):
            if not old.done() or old.exception() is not None:
                waiting[at] = (other, pool.submit(decoder.chunk, other))
        results = _one_by_one(chunk, decoder)
    yield from zip([name for name, _ in chunk], results, strict=True)


def _one_by_one(chunk: Todo, decoder: Decoder) -> list[tuple[Pixels, ...] | str]:
    """Decode a chunk's images by a worker that has only one of them at a time."""
    lonely = _Pool(1)
    try:
        return [_alone(one, lonely, decoder) for one in chunk]
    finally:
        lonely.stop()


def _alone(one: tuple[str, Place], lonely: "_Pool", decoder: Decoder) -> tuple[Pixels, ...] | str:
    """Decode one image, and once more by a new worker where one dies: the image before may have hurt it."""
    for _ in range(2):
        try:
            return lonely.submit(decoder.chunk, [one]).result()[0]
        except BrokenProcessPool:
            lonely.restart()
    return DIED


class _Pool:
    """Worker processes that are started when first needed, and end with their parent.

    loky starts them without running the caller's main module again, so scripts need no ``__main__`` guard.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._start()

    def _start(self) -> None:
        self._pool = ProcessPoolExecutor(
            self._workers, timeout=IDLE_S, initializer=_end_with_parent, initargs=(os.getpid(),)
        )

    def submit(
        self, call: Callable[[Todo], list[tuple[Pixels, ...] | str]], todo: Todo
    ) -> Future[list[tuple[Pixels, ...] | str]]:
        """Hand out a chunk."""
        try:
            found: Future[list[tuple[Pixels, ...] | str]] = self._pool.submit(call, todo)
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

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
