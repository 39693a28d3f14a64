"""Decoded images to batches of one fixed shape, and network outputs to rows that are finite."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.workers import Decoded


@dataclass(frozen=True)
class Batch:
    """Images of one pass through the networks.

    Attributes
    ----------
    digests
        b of them.
    pixels
        For each size (rows, h, w, 3) uint8 with rows ≥ b; what is over is padding.
    """

    digests: tuple[str, ...]
    pixels: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Failure:
    """An image that could not be brought to a vector, and why."""

    digest: str
    reason: str


def finite(
    digests: Sequence[str], columns: Sequence[NDArray[np.float32]], failed: Callable[[Failure], None]
) -> tuple[tuple[str, ...], list[NDArray[np.float32]]]:
    """Leave out images with a value that is not finite in any of the columns; they go to `failed`."""
    good = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in columns])
    for at in np.flatnonzero(~good).tolist():
        failed(Failure(digests[at], "the network gives values that are not finite"))
    return tuple(text for text, fine in zip(digests, good, strict=True) if fine), [x[good] for x in columns]


def batched(images: Iterable[Decoded], rows: int, failed: Callable[[Failure], None]) -> Iterator[Batch]:
    """Group images into batches of `rows`, the last one padded with black; failures go to `failed`."""
    digests: list[str] = []
    pixels: list[tuple[NDArray[np.uint8], ...]] = []

    def batch() -> Batch:
        black = tuple(map(np.zeros_like, pixels[0]))
        padded = [*pixels, *[black] * (rows - len(pixels))]
        return Batch(tuple(digests), tuple(map(np.stack, zip(*padded, strict=True))))

    for digest, found in images:
        if isinstance(found, str):
            failed(Failure(digest, found))
            continue
        digests.append(digest)
        pixels.append(found)
        if len(digests) == rows:
            yield batch()
            digests.clear()
            pixels.clear()
    if digests:
        yield batch()
