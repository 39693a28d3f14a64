"""Decoding in worker processes: an image that crashes its decoder is reported, and all others are decoded."""

import multiprocessing
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
from itertools import islice
from typing import Protocol, Self, TypeVar

from joblib.externals.loky import ProcessPoolExecutor

from featx.errors import ReadError
from featx.images.contents import Content, digest
from featx.images.decode import OUTSIDE_RANGE, decode
from featx.images.resizing import make_preprocessor, required_side_px
from featx.images.sources import read_content
from featx.images.value_ranges import Extremes, Pixels
from featx.specs.embedding import Decoding, Preprocessing

# Chunks that wait for each worker; bounds the memory.
CHUNKS_PER_WORKER = 2
# Seconds after which idle workers end.
IDLE_S = 30
STORE_VARIABLE_PREFIXES = ("AWS_", "AZURE_", "FSSPEC_", "GCS_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
WORKER_DIED = "worker died while decoding it"
CHANGED = "changed while it was being read"
REMOVED = "was removed while it was being read"
TOO_LARGE = "cannot be resized"
# loky warns when it replaces a worker whose memory grew. As an error, the warning would end the replacing thread.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)

ImageSource = str | Content  # a URI, or the content behind it
Images = Sequence[tuple[str, ImageSource]]  # (digest, place)
Clipped = dict[str, Extremes]  # by digest: the extremes of an image with values outside ``decoding.value_range``

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ChunkResult = tuple[Sequence[T | str], float, Clipped]  # results, or the reasons why there are none; seconds
Sizes = tuple[Pixels, ...]  # pixels at each size


class ChunkDecoder(Protocol[T_co]):
    """An object that workers use: it turns a few images into results."""

    def decode_chunk(self, images: Images) -> ChunkResult[T_co]:
        """Return the result of each image, or the reason why there is none; the seconds; the clipped images."""


def time_chunk(decode: Callable[[], Sequence[T | str]]) -> ChunkResult[T]:
    """Return the results of a chunk whose images are not clipped, and the seconds that they took."""
    start = time.perf_counter()
    return decode(), time.perf_counter() - start, {}


@dataclass(frozen=True)
class Decoder:
    """Decodes images to the pixels that networks take.

    Attributes
    ----------
    decoding
        Settings of decoding.
    sizes
        Preprocessing of each network.
    """

    decoding: Decoding
    sizes: tuple[Preprocessing, ...]

    def decode(
        self, expected_digest: str, place: ImageSource, clipped: Clipped | None = None
    ) -> tuple[Pixels, ...] | str:
        """Return an image's pixels at each size, or the reason why there are none.

        Parameters
        ----------
        expected_digest
            Digest that the content must have.
        place
            URI or content of the image.
        clipped
            Receives the extremes of the image if some of its values are clipped; None drops them.
        """
        try:
            content = read_content(place) if isinstance(place, str) else place
            if digest(content) != expected_digest:
                return CHANGED
            image = decode(content, self.decoding, required_side_px(self.sizes))
            if clipped is not None and OUTSIDE_RANGE in image.info:
                clipped[expected_digest] = image.info[OUTSIDE_RANGE]
            return tuple(make_preprocessor(size)(image) for size in self.sizes)
        except FileNotFoundError:
            return REMOVED
        except ReadError as error:
            return str(error)
        # Resizing fails for a strip that is one pixel wide and a hundred million pixels long.
        except (MemoryError, ValueError) as error:
            return f"{TOO_LARGE}: {type(error).__name__} {error}".rstrip()

    def decode_chunk(self, images: Images) -> ChunkResult[Sizes]:
        """Decode a few images; return their pixels or reasons, the seconds that they took, and the clipped images."""
        start = time.perf_counter()
        clipped: Clipped = {}
        return [self.decode(*image, clipped) for image in images], time.perf_counter() - start, clipped


Decoded = tuple[str, T | str, float]  # digest, result or reason, seconds
PendingChunk = tuple[Images, Future[ChunkResult[T]]]


def decode_images(
    images: Iterable[tuple[str, ImageSource]],
    decoder: ChunkDecoder[T],
    workers: int,
    chunk_size: int,
    clipped: Clipped | None = None,
) -> Generator[Decoded[T]]:
    """Yield the digest of each image with its result, or the reason why there is none, and the seconds it took.

    The order is that of `images`, which is read only a few chunks ahead. A daemonic process decodes by itself, and ends
    with an image that crashes its decoder.

    Parameters
    ----------
    images
        (digest, place) of each image.
    decoder
        What workers do with a chunk: a `Decoder`, whose results are pixels, or another one.
    workers
        Number of worker processes.
    chunk_size
        Images that a worker receives at a time.
    clipped
        Receives the extremes of the images whose values are clipped; None drops them.
    """
    clipped = {} if clipped is None else clipped
    if multiprocessing.current_process().daemon:
        # Python lets such a process, as a worker of 'multiprocessing.Pool', have no children.
        for chunk in _chunks(images, chunk_size):
            yield from _chunk_results(chunk, decoder.decode_chunk(chunk), clipped)
        return
    pending_chunks: deque[PendingChunk[T]] = deque()
    with _shared_pool(workers, _hash_store_settings()).in_use() as pool:
        try:
            for chunk in _chunks(images, chunk_size):
                pending_chunks.append((chunk, pool.submit(decoder.decode_chunk, chunk)))
                if len(pending_chunks) > CHUNKS_PER_WORKER * workers:
                    yield from _receive_chunk(pending_chunks, pool, decoder, clipped)
            while pending_chunks:
                yield from _receive_chunk(pending_chunks, pool, decoder, clipped)
        finally:
            for _, future in pending_chunks:
                future.cancel()


@cache
def _shared_pool(workers: int, store_settings: int) -> "_Pool":
    """Return this process's pool: starting workers takes longer than decoding some hundred images.

    Workers inherit the environment in which they are started, so each set of object store settings has its own pool.
    """
    return _Pool(workers)


if hasattr(os, "register_at_fork"):
    # The thread that hands out tasks does not survive a fork, nor are the workers children of the new process.
    os.register_at_fork(after_in_child=_shared_pool.cache_clear)


def _hash_store_settings() -> int:
    return hash(
        frozenset(
            (name, value) for name, value in os.environ.items() if name.upper().startswith(STORE_VARIABLE_PREFIXES)
        )
    )


def _chunks(encoded_images: Iterable[tuple[str, ImageSource]], size: int) -> Iterator[Images]:
    images = iter(encoded_images)
    while chunk := list(islice(images, size)):
        yield chunk


def _receive_chunk(
    pending_chunks: deque[PendingChunk[T]], pool: "_Pool", decoder: ChunkDecoder[T], clipped: Clipped
) -> Iterator[Decoded[T]]:
    """Yield the results of the oldest chunk; if a worker died, decode its images one by one."""
    chunk, future = pending_chunks.popleft()
    try:
        result = future.result()
    except BrokenProcessPool:
        # Which of the unfinished chunks killed the worker is unknown: all are submitted again, except for this one.
        pool.restart()
        for position, (later_chunk, later_future) in enumerate(pending_chunks):
            if not later_future.done() or later_future.exception() is not None:
                pending_chunks[position] = (later_chunk, pool.submit(decoder.decode_chunk, later_chunk))
        result = _decode_one_by_one(chunk, decoder)
    yield from _chunk_results(chunk, result, clipped)


def _chunk_results(chunk: Images, result: ChunkResult[T], clipped: Clipped) -> Iterator[Decoded[T]]:
    results, seconds, chunk_clipped = result
    clipped |= chunk_clipped
    image_s = seconds / len(chunk)
    yield from ((digest, image_result, image_s) for (digest, _), image_result in zip(chunk, results, strict=True))


def _decode_one_by_one(chunk: Images, decoder: ChunkDecoder[T]) -> ChunkResult[T]:
    """Decode a chunk in a single worker, one image at a time."""
    pool, start = _Pool(1), time.perf_counter()
    clipped: Clipped = {}
    try:
        results = [_decode_alone(image, pool, decoder, clipped) for image in chunk]
        return results, time.perf_counter() - start, clipped
    finally:
        pool.stop()


def _decode_alone(image: tuple[str, ImageSource], pool: "_Pool", decoder: ChunkDecoder[T], clipped: Clipped) -> T | str:
    """Decode one image, and again in a new worker if the first one dies: an earlier image may have damaged it."""
    for _ in range(2):
        try:
            future: Future[ChunkResult[T]] = pool.submit(decoder.decode_chunk, [image])
            results, _, image_clipped = future.result()
            clipped |= image_clipped
            return results[0]
        except BrokenProcessPool:
            pool.restart()
    return WORKER_DIED


class _Pool:
    """A pool of worker processes that start when they are first needed, and end with their parent.

    loky starts them without running the caller's main module again, so scripts need no ``__main__`` guard.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._n_users = 0
        self._lock = threading.RLock()
        self._idle_timer = threading.Timer(IDLE_S, self._stop_idle_workers)
        self._start()

    def _start(self) -> None:
        self._executor = ProcessPoolExecutor(self._workers, initializer=_end_with_parent, initargs=(os.getpid(),))

    @contextmanager
    def in_use(self) -> Iterator[Self]:
        """Keep the workers while the block runs, and `IDLE_S` longer.

        loky's own timeout ends single workers, possibly at the moment when they are given a task.
        """
        with self._lock:
            self._n_users += 1
            self._idle_timer.cancel()
        try:
            yield self
        finally:
            with self._lock:
                self._n_users -= 1
                self._idle_timer = threading.Timer(IDLE_S, self._stop_idle_workers)
                self._idle_timer.daemon = True
                self._idle_timer.start()

    def _stop_idle_workers(self) -> None:
        with self._lock:
            if not self._n_users:
                # The new executor starts its workers when it receives a task.
                self.restart()

    def submit(self, call: Callable[[Images], ChunkResult[T]], chunk: Images) -> Future[ChunkResult[T]]:
        """Submit a chunk; a broken pool is reported by the future."""
        try:
            future: Future[ChunkResult[T]] = self._executor.submit(call, chunk)
        except BrokenProcessPool as error:
            future = Future()
            future.set_exception(error)
        return future

    def restart(self) -> None:
        """Replace all workers."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """Kill the workers and drop their tasks."""
        self._executor.shutdown(wait=True, kill_workers=True)


def _end_with_parent(parent: int) -> None:
    """Make this worker exit soon after its parent process, and silence what decoders write to standard error."""

    def exit_after_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=exit_after_parent, daemon=True).start()
    with open(os.devnull, "w") as null_file:  # noqa: PTH123
        os.dup2(null_file.fileno(), sys.stderr.fileno())
