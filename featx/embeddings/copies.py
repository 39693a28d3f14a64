"""Copies among different files: candidates by hash and by embedding, confirmed pixel by pixel on small thumbnails.

Where images look alike (parts from one line, cells of one module, slices of one organ), hashes and embeddings of
different ones agree as well as those of copies. What all images have in common tells nothing, so it is taken out of
both thumbnails before they are compared; what is left of two copies still agrees, of two look-alikes it does not.
docs/adr/0020 has the measurements.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.images.decode import Pixels
from featx.images.hashes import dhash

NEIGHBOURS = 8  # of each image by hash, and as many by embedding, whose thumbnails are compared
COPIED = 0.993  # correlation of what is left of two thumbnails, from which on they are taken for copies
SAME_PIXELS = 0.9995  # of the whole thumbnails: only an encoder lies between them, whatever they have in common
FLAT = 1.0  # sd of grey levels below which there is nothing to correlate
MOST_CELLS = 1 << 23  # of a block of comparisons: what bounds the memory
MOST_PAIRS = 1 << 12  # that are confirmed at once

At = NDArray[np.intp]
Floats = NDArray[np.float32]
Values = NDArray[Any]  # one row an image
Closeness = Callable[[Values, Values], NDArray[Any]]  # (b, m) of some rows and others: larger is closer


@dataclass(frozen=True, eq=False)
class ThumbnailHashes:
    """How n images look, no two of the same content.

    Attributes
    ----------
    thumbnails
        (n, h, w) grey.
    x
        (n, d) embeddings, zeros where there is none; None where there are none at all.
    """

    thumbnails: Pixels
    x: Floats | None = None

    def copies(self, of: At, among: At) -> tuple[At, At, Floats]:
        """Return which images of one part have copies in another.

        Parameters
        ----------
        of, among
            Rows of the one and the other part.

        Returns
        -------
        tuple
            (p,) rows of `of`, (p,) rows of `among` and (p,) similarities of p pairs, each once; no row is its own copy.

        Notes
        -----
        Time O(n² d) by matrix products, memory O(n (d + h w)): no (n, n) matrix is held. Of an image with more than
        `NEIGHBOURS` copies in the other part the nearest ones are found.
        """
        found = [np.zeros((0, 2), dtype=np.intp)]
        if len(of) and len(among):
            # Among its own neighbours an image finds itself.
            n_neighbours = NEIGHBOURS + bool(np.isin(of, among).any())
            for values, closeness in self._ways:
                nearest = _nearest(values[of], values[among], closeness, n_neighbours)
                found += [np.column_stack([of[i], among[j]]) for i, j in nearest]
        pairs = np.unique(np.concatenate(found), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        alike = self.similarity(pairs[:, 0], pairs[:, 1])
        kept = alike >= COPIED
        return pairs[kept, 0], pairs[kept, 1], alike[kept]

    @cached_property
    def _ways(self) -> "list[tuple[Values, Closeness]]":
        """What rows are compared by, and how close some of them are to others."""
        ways: list[tuple[Values, Closeness]] = [(dhash(self.thumbnails), _agreeing_bits)]
        if self.x is not None:
            lengths = np.linalg.norm(self.x, axis=1, keepdims=True)
            ways.append((self.x / np.maximum(lengths, np.finfo(np.float32).tiny), _cosines))
        return ways

    @cached_property
    def _flat(self) -> NDArray[np.bool_]:
        spread = [block.std((1, 2)) for block in _blocks(self.thumbnails)]
        return np.concatenate(spread) < FLAT

    @cached_property
    def _common(self) -> Floats:
        """(h w,) sum of all images that are not flat, each at unit length."""
        at = np.flatnonzero(~self._flat)
        sums = [self._units(some).sum(0) for some in _blocks(at)]
        common: Floats = np.sum(sums, axis=0, dtype=np.float32)
        return common

    def _units(self, at: At) -> Floats:
        """Return (b, h w): thumbnails without their mean grey, at unit length."""
        _, high, wide = self.thumbnails.shape
        rows = self.thumbnails[at].reshape(len(at), high * wide).astype(np.float32)
        rows -= rows.mean(1, keepdims=True)
        lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return rows

    def similarity(self, one: At, other: At) -> Floats:
        """Return (p,) how far the thumbnails of p pairs of rows correlate, without what other images have in common.

        0 where one of them is flat. Where the whole thumbnails correlate by `SAME_PIXELS` or more, that is returned:
        if nearly all images were copies of one, what they have in common would be the image itself.
        """
        found = np.zeros(len(one), dtype=np.float32)
        comparable = np.flatnonzero(~(self._flat[one] | self._flat[other]))
        for some in _blocks(comparable, MOST_PAIRS):
            found[some] = _correlations(self._units(one[some]), self._units(other[some]), self._common)
        return found


def _agreeing_bits(some: Values, others: Values) -> NDArray[np.int8]:
    """Return (b, m): minus the number of bits in which hashes differ."""
    differing: NDArray[np.uint8] = np.bitwise_count(some[:, None] ^ others)
    return -differing.astype(np.int8)


def _cosines(some: Values, others: Values) -> Floats:
    """Return (b, m) of rows of unit length."""
    found: Floats = some @ others.T
    return found


def _correlations(one: Floats, other: Floats, common: Floats) -> Floats:
    """Return (b,) correlations of unit rows, the direction of all others' sum taken out of both."""
    rest = common - one - other
    lengths = np.linalg.norm(rest, axis=1, keepdims=True)
    rest = np.divide(rest, lengths, out=np.zeros_like(rest), where=lengths > 1e-3)
    whole, a, b = (np.einsum("ij,ij->i", *both) for both in ((one, other), (one, rest), (other, rest)))
    left = np.sqrt(np.maximum((1 - a**2) * (1 - b**2), 1e-6))
    found: Floats = np.where(whole >= SAME_PIXELS, whole, (whole - a * b) / left).clip(-1, 1)
    return found


def _blocks(rows: Values, size: int = MOST_PAIRS) -> Iterator[Values]:
    for start in range(0, max(len(rows), 1), size):
        yield rows[start : start + size]


def _nearest(of: Values, among: Values, closeness: Closeness, n_neighbours: int) -> Iterator[tuple[At, At]]:
    """Yield places in `of` and `among` of each row's nearest ones, block by block."""
    k = min(n_neighbours, len(among))
    size = max(1, MOST_CELLS // len(among))
    for start in range(0, len(of), size):
        some = of[start : start + size]
        nearest = np.argpartition(closeness(some, among), len(among) - k, axis=1)[:, -k:]
        yield np.repeat(np.arange(start, start + len(some)), k), nearest.ravel()
