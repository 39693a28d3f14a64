"""Files to fixed-shape batches of pixels: read and decoded by threads, in order, with a bounded queue."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featx.errors import ReadError
from featx.images.decode import Pixels, decode
from featx.images.digests import digest, read_bytes

WORKERS = 4
AHEAD = 64  # images decoded before they are asked for


@dataclass(frozen=True)
class Batch:
    """Images of one pass through a network.

    Attributes
    ----------
    digests
        b of them.
    pixels
        (rows, h, w, 3) uint8 with rows ≥ b; what is over is padding.
    """

    digests: tuple[str, ...]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Failure:
    """An image that could not be brought to pixels, and why."""

    digest: str
    reason: str


Todo = Sequence[tuple[str, str]]  # (digest, uri)


def decoded(todo: Todo, fit: Callable[[Image.Image], Pixels]) -> Iterator[tuple[str, Pixels] | Failure]:
    """Yield each image's pixels, or why there are none, in the order of `todo`."""

    def one(expected: str, uri: str) -> tuple[str, Pixels] | Failure:
        try:
            data = read_bytes(uri)
            if digest(data) != expected:
                return Failure(expected, "changed while it was being read")
            return expected, fit(decode(data))
        except FileNotFoundError:
            return Failure(expected, "was removed while it was being read")
        except ReadError as error:
            return Failure(expected, str(error))

    waiting: deque[Future[tuple[str, Pixels] | Failure]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for expected, uri in todo:
                waiting.append(pool.submit(one, expected, uri))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def finite(
    digests: Sequence[str], columns: Sequence[NDArray[np.float32]], failed: Callable[[Failure], None]
) -> tuple[tuple[str, ...], list[NDArray[np.float32]]]:
    """Leave out images with a value that is not finite in any of the columns; they go to `failed`."""
    good = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in columns])
    for at in np.flatnonzero(~good).tolist():
        failed(Failure(digests[at], "the network gives values that are not finite"))
    return tuple(text for text, fine in zip(digests, good, strict=True) if fine), [x[good] for x in columns]


def batched(
    images: Iterable[tuple[str, Pixels] | Failure], rows: int, failed: Callable[[Failure], None]
) -> Iterator[Batch]:
    """Group images into batches of `rows`, the last one padded with black; failures go to `failed`."""
    digests: list[str] = []
    pixels: list[Pixels] = []

    def batch() -> Batch:
        padding = [np.zeros_like(pixels[0])] * (rows - len(pixels))
        return Batch(tuple(digests), np.stack([*pixels, *padding]))

    for image in images:
        if isinstance(image, Failure):
            failed(image)
            continue
        digests.append(image[0])
        pixels.append(image[1])
        if len(digests) == rows:
            yield batch()
            digests.clear()
            pixels.clear()
    if digests:
        yield batch()
