"""Search for copies among different files: candidates by hash and by embedding, confirmed on small thumbnails.

Where images look alike (parts from one line, cells of one module, slices of one organ), hashes and embeddings of
different images agree as well as those of copies. What all images have in common does not separate copies from
look-alikes, so it is removed from both thumbnails before they are compared: the remainders of two copies still
correlate, those of two look-alikes do not. docs/adr/0020 has the measurements.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.images.hashes import difference_hashes
from featx.images.value_ranges import Pixels
from featx.parallel.threads import available_cores
from featx.progress import ProgressCallback, no_progress

STAGE = "compare images"
# Neighbours of each image by hash, and as many by embedding, whose thumbnails are compared.
NEIGHBOURS = 8
# Features from which on nearest neighbours are searched in a random projection, and the number of features in it. The
# neighbours of 70,000 images in 5,760 features take about 20 minutes on two cores. Cosines keep a standard deviation of
# about 0.03, and copies have nearly the same direction.
MAX_FEATURES_TO_COMPARE, N_PROJECTED = 2048, 1024
# Smallest correlation of two thumbnails' remainders at which the images are taken for copies.
MIN_COPY_CORRELATION = 0.993
# Correlation of whole thumbnails from which on two images differ by their encoding only, whatever they have in common
# with the others.
MIN_CORRELATION_SAME_PIXELS = 0.9995
# Standard deviation of grey levels below which a thumbnail has nothing to correlate.
MIN_GREY_SD = 1.0
# Cells in one block of comparisons, and pairs confirmed at once: both bound the memory.
MAX_CELLS = 1 << 22
MAX_PAIRS_AT_ONCE = 1 << 12

Rows = NDArray[np.intp]
Floats = NDArray[np.float32]
Values = NDArray[Any]  # one row for each image
Closeness = Callable[[Values, Values], NDArray[Any]]  # (b, m) of b rows and m rows: larger is closer


@dataclass(frozen=True, eq=False)
class ThumbnailHashes:
    """Thumbnails and embeddings of n images of different content.

    Attributes
    ----------
    thumbnails
        Grey levels, (n, h, w) uint8.
    x
        Embeddings, (n, d) float32, zeros where an image has none; None where no image has one.
    """

    thumbnails: Pixels
    x: Floats | None = None

    def copies(
        self, rows: Rows, other_rows: Rows, progress: ProgressCallback = no_progress
    ) -> tuple[Rows, Rows, Floats]:
        """Return which images of one part have copies in another.

        Parameters
        ----------
        rows, other_rows
            Rows of the one and of the other part.
        progress
            Receives the number of rows whose neighbours were searched, by hash and by embedding.

        Returns
        -------
        tuple
            (p,) members of `rows`, (p,) members of `other_rows` and (p,) similarities of p pairs, each once; no row is
            its own copy.

        Notes
        -----
        Time O(n² d) by matrix products, memory O(n (d + h w)): no (n, n) matrix is held. For an image with more than
        `NEIGHBOURS` copies in the other part the nearest ones are returned.
        """
        candidates = [np.zeros((0, 2), dtype=np.intp)]
        if len(rows) and len(other_rows):
            # An image is one of its own nearest neighbours.
            n_neighbours = NEIGHBOURS + bool(np.isin(rows, other_rows).any())
            n_steps = len(rows) * len(self._comparisons)
            for number, (values, closeness) in enumerate(self._comparisons):
                nearest_pairs = _nearest_pairs(values[rows], values[other_rows], closeness, n_neighbours)
                for i, j in nearest_pairs:
                    candidates.append(np.column_stack([rows[i], other_rows[j]]))
                    progress(STAGE, number * len(rows) + int(i[-1]) + 1, n_steps)
        pairs = np.unique(np.concatenate(candidates), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        similarity = self.similarity(pairs[:, 0], pairs[:, 1])
        is_copy = similarity >= MIN_COPY_CORRELATION
        return pairs[is_copy, 0], pairs[is_copy, 1], similarity[is_copy]

    @cached_property
    def _comparisons(self) -> "list[tuple[Values, Closeness]]":
        """The values by which rows are compared, each with the function that compares them."""
        comparisons: list[tuple[Values, Closeness]] = [(difference_hashes(self.thumbnails), _agreeing_bits)]
        if self.x is not None:
            x = _projected(self.x)
            norms = np.linalg.norm(x, axis=1, keepdims=True)
            comparisons.append((x / np.maximum(norms, np.finfo(np.float32).tiny), _cosines))
        return comparisons

    @cached_property
    def _is_flat(self) -> NDArray[np.bool_]:
        """Whether the thumbnail of each image has nearly one grey level."""
        return np.concatenate([block.std((1, 2)) for block in _blocks(self.thumbnails)]) < MIN_GREY_SD

    @cached_property
    def _common(self) -> Floats:
        """Sum of all thumbnails that are not flat, each at unit length, (h w,)."""
        sums = [self._unit_thumbnails(block).sum(0) for block in _blocks(np.flatnonzero(~self._is_flat))]
        total: Floats = np.sum(sums, axis=0, dtype=np.float32)
        return total

    def _unit_thumbnails(self, rows: Rows) -> Floats:
        """Return thumbnails without their mean grey, at unit length, (b, h w)."""
        _, height, width = self.thumbnails.shape
        units = self.thumbnails[rows].reshape(len(rows), height * width).astype(np.float32)
        units -= units.mean(1, keepdims=True)
        norms: Floats = np.linalg.norm(units, axis=1, keepdims=True)
        units /= np.maximum(norms, np.finfo(np.float32).tiny)
        return units

    def similarity(self, rows: Rows, other_rows: Rows) -> Floats:
        """Return the correlations of the thumbnails of p pairs without what other images have in common, (p,).

        A pair with a flat thumbnail has similarity 0. Where the whole thumbnails correlate by at least
        `MIN_CORRELATION_SAME_PIXELS`, that correlation is returned: if nearly all images were copies of one image,
        what they have in common would be the image itself.
        """
        similarity = np.zeros(len(rows), dtype=np.float32)
        comparable_pairs = np.flatnonzero(~(self._is_flat[rows] | self._is_flat[other_rows]))
        for block in _blocks(comparable_pairs, MAX_PAIRS_AT_ONCE):
            units, other_units = self._unit_thumbnails(rows[block]), self._unit_thumbnails(other_rows[block])
            similarity[block] = _correlations(units, other_units, self._common)
        return similarity


def _projected(x: Floats) -> Floats:
    """Return (n, d) features, or if they are many a random projection of them, in which angles are nearly the same."""
    if x.shape[1] <= MAX_FEATURES_TO_COMPARE:
        return x
    # Importing scikit-learn takes a second, and few embeddings have so many features.
    from sklearn.random_projection import GaussianRandomProjection

    projections: Floats = GaussianRandomProjection(N_PROJECTED, random_state=0).fit_transform(x)
    return projections


def _agreeing_bits(hashes: Values, other_hashes: Values) -> NDArray[np.int32]:
    """Return minus the number of bits in which b hashes differ from m others, (b, m)."""
    n_differing: NDArray[np.uint8] = np.bitwise_count(hashes[:, None] ^ other_hashes)
    # NumPy selects the largest of 32-bit numbers several times as fast as those of 8-bit numbers.
    return -n_differing.astype(np.int32)


def _cosines(x: Values, other_x: Values) -> Floats:
    """Return the cosines of b rows with m others, all of unit length, (b, m)."""
    cosines: Floats = x @ other_x.T
    return cosines


def _correlations(units: Floats, other_units: Floats, units_sum: Floats) -> Floats:
    """Return the partial correlations of b pairs of unit rows, given the direction of the sum of all others, (b,).

    `units_sum` is the sum of all rows.
    """
    remainder = units_sum - units - other_units
    norms = np.linalg.norm(remainder, axis=1, keepdims=True)
    remainder = np.divide(remainder, norms, out=np.zeros_like(remainder), where=norms > 1e-3)
    factors = ((units, other_units), (units, remainder), (other_units, remainder))
    correlations, a, b = (np.einsum("ij,ij->i", first_rows, second_rows) for first_rows, second_rows in factors)
    scale = np.sqrt(np.maximum((1 - a**2) * (1 - b**2), 1e-6))
    partial_correlations: Floats = np.where(
        correlations >= MIN_CORRELATION_SAME_PIXELS, correlations, (correlations - a * b) / scale
    ).clip(-1, 1)
    return partial_correlations


def _blocks(rows: Values, size: int = MAX_PAIRS_AT_ONCE) -> Iterator[Values]:
    for start in range(0, max(len(rows), 1), size):
        yield rows[start : start + size]


def _nearest_pairs(
    values: Values, other_values: Values, closeness: Closeness, n_neighbours: int
) -> Iterator[tuple[Rows, Rows]]:
    """Yield positions in `values` and in `other_values` of each row's nearest neighbours, block by block."""
    k = min(n_neighbours, len(other_values))
    size = max(1, MAX_CELLS // len(other_values))

    def search(start: int) -> tuple[Rows, Rows]:
        block = values[start : start + size]
        neighbours = np.argpartition(closeness(block, other_values), len(other_values) - k, axis=1)[:, -k:]
        return np.repeat(np.arange(start, start + len(block)), k), neighbours.ravel()

    # NumPy computes outside of Python's lock, so that threads use all cores.
    pool = ThreadPoolExecutor(available_cores())
    try:
        yield from pool.map(search, range(0, len(values), size))
    finally:
        pool.shutdown(cancel_futures=True)
