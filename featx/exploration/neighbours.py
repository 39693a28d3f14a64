"""Nearest neighbours of embeddings by cosine similarity; images of one unit are no neighbours of each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.parallel.threads import single_threaded
from featx.progress import ProgressCallback, no_progress

Vectors = NDArray[np.float32]
Rows = NDArray[np.intp]

# Number of cosines in memory at a time: 50 MB.
MAX_COSINES_IN_MEMORY = 12_500_000
# Number of images above which neighbours are first searched along the principal axes only.
MAX_ROWS_FOR_FULL_SEARCH = 20_000
# Number of principal axes of this search, and the number of its results that are compared in full, per neighbour.
N_SEARCH_AXES = 96
N_CANDIDATES_PER_NEIGHBOUR = 3
# Number of columns that are compared by their maximum before single columns are.
COLUMN_GROUP_SIZE = 64
# Position of a neighbour that does not exist, because all other images belong to the same unit.
NO_ROW = -1


@dataclass(frozen=True)
class Neighbours:
    """The k nearest neighbours of n images, nearest first.

    Attributes
    ----------
    rows
        (n, k) positions of the neighbours; -1 if there are fewer.
    cosines
        (n, k) cosine similarities; -inf if there are fewer.
    """

    rows: Rows
    cosines: Vectors

    @property
    def exist(self) -> NDArray[np.bool_]:
        """(n, k) whether each neighbour exists."""
        return np.asarray(self.rows != NO_ROW)

    def mean_distances(self, k: int) -> NDArray[np.float64]:
        """Return (n,) the mean of 1 - cosine over the k nearest neighbours; nan for images without neighbours."""
        has_neighbour, cosines = self.exist[:, :k], self.cosines[:, :k].astype(np.float64)
        n_existing = has_neighbour.sum(axis=1)
        sums = np.where(has_neighbour, 1 - cosines, 0.0).sum(axis=1)
        distances: NDArray[np.float64] = np.full(len(sums), np.nan)
        np.divide(sums, n_existing, out=distances, where=n_existing > 0)
        return distances


@dataclass(frozen=True)
class ClassNeighbours:
    """The nearest neighbours of each image in its own class, and in all other classes.

    Attributes
    ----------
    own_class, other_classes
        The k nearest images of the own class, and of all other classes.
    is_exact
        Whether all images were compared in full, or only those that are similar along the principal axes.
    """

    own_class: Neighbours
    other_classes: Neighbours
    is_exact: bool

    def merged(self) -> Neighbours:
        """Return the k nearest images of all classes."""
        rows = np.hstack([self.own_class.rows, self.other_classes.rows])
        cosines = np.hstack([self.own_class.cosines, self.other_classes.cosines])
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : self.own_class.rows.shape[1]]
        return Neighbours(np.take_along_axis(rows, nearest, axis=1), np.take_along_axis(cosines, nearest, axis=1))


def unit_vectors(x: NDArray[np.floating[Any]]) -> Vectors:
    """Return embeddings as float32 vectors of length 1 around their mean; a vector equal to the mean stays 0.

    Embeddings of rectified features have a large common mean, beside which the differences between images are small.
    """
    # One array is allocated: of many images each takes hundreds of megabytes.
    centred: Vectors = np.subtract(x, x.mean(axis=0, dtype=np.float64).astype(np.float32), dtype=np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", centred, centred))[:, None]
    centred /= np.where(norms > 0, norms, 1)
    return centred


def find_class_neighbours(
    vectors: Vectors,
    codes: NDArray[np.integer[Any]],
    k: int,
    units: NDArray[Any] | None = None,
    progress: ProgressCallback = no_progress,
) -> ClassNeighbours:
    """Return the nearest neighbours of each image in its own class and in all others, among images of other units.

    Parameters
    ----------
    vectors
        (n, d) vectors of length 1.
    codes
        (n,) codes of the classes; images without a label have a code of their own.
    k
        Number of neighbours.
    units
        (n,) units: copies of one image, and images of one group. By default each image is a unit.

    Notes
    -----
    Time O(n² d) by matrix products of blocks. Above `MAX_ROWS_FOR_FULL_SEARCH` images, d is replaced by
    `N_SEARCH_AXES` principal axes, and `N_CANDIDATES_PER_NEIGHBOUR` · k candidates are compared in full.
    """
    n, d = vectors.shape
    is_exact = n <= MAX_ROWS_FOR_FULL_SEARCH or d <= N_SEARCH_AXES
    search = _Search(vectors, codes, units, is_exact)
    own_neighbours, other_neighbours = (
        Neighbours(np.full((n, k), NO_ROW), np.full((n, k), -np.inf, dtype=np.float32)) for _ in ("own", "other")
    )
    n_candidates = k if is_exact else k * N_CANDIDATES_PER_NEIGHBOUR
    for block, own_candidates, other_candidates in search.blocks(n_candidates):
        search.fill(own_neighbours, block, own_candidates)
        search.fill(other_neighbours, block, other_candidates)
        progress("nearest neighbours", block.stop, n)
    return ClassNeighbours(own_neighbours, other_neighbours, is_exact)


class _Search:
    """A search in blocks of images of one class; images are ordered by class.

    Attributes
    ----------
    order
        (n,) positions of the images, class by class.
    """

    def __init__(
        self, vectors: Vectors, codes: NDArray[np.integer[Any]], units: NDArray[Any] | None, is_exact: bool
    ) -> None:
        self.order = np.argsort(codes, kind="stable")
        self._vectors = vectors
        search_vectors = vectors if is_exact else principal_coordinates(vectors, N_SEARCH_AXES)
        self._searched = search_vectors[self.order]
        self._ends = np.flatnonzero(np.diff(codes[self.order], append=codes.max(initial=0) + 1)) + 1
        unit_codes = np.arange(len(vectors)) if units is None else pd.factorize(units)[0].astype(np.intp)
        self._units = unit_codes[self.order]
        self._by_unit = np.argsort(self._units, kind="stable")
        self._unit_starts = np.concatenate([[0], np.cumsum(np.bincount(self._units))])

    def blocks(self, k: int) -> Iterator[tuple[slice, Rows, Rows]]:
        """Yield blocks of images of one class, and their candidates in this class and in all others, unordered."""
        n, class_start = len(self.order), 0
        size = min(n, max(1, MAX_COSINES_IN_MEMORY // n))
        buffer = np.empty((size, n), dtype=np.float32)
        for class_end in self._ends.tolist():
            for start in range(class_start, class_end, size):
                block = slice(start, min(start + size, class_end))
                cosines = buffer[: block.stop - block.start]
                np.matmul(self._searched[block], self._searched.T, out=cosines)
                self._exclude_units(cosines, block)
                own_candidates = _candidates(cosines[:, class_start:class_end], k)
                own_candidates[own_candidates != NO_ROW] += class_start
                cosines[:, class_start:class_end] = -np.inf
                yield block, own_candidates, _candidates(cosines, k)
            class_start = class_end

    def _exclude_units(self, cosines: Vectors, block: slice) -> None:
        """Set the cosines (b, n) of the images in a block with images of their own unit to -inf."""
        for row, unit in enumerate(self._units[block]):
            cosines[row, self._by_unit[self._unit_starts[unit] : self._unit_starts[unit + 1]]] = -np.inf

    def fill(self, neighbours: Neighbours, block: slice, candidates: Rows) -> None:
        """Write the nearest candidates, which are compared in full; they are positions in the order of classes."""
        positions, rows = self.order[block], self.order[candidates]
        pairs = zip(positions, rows, strict=True)
        cosines = np.stack([self._vectors[neighbour_rows] @ self._vectors[row] for row, neighbour_rows in pairs])
        cosines[candidates == NO_ROW] = -np.inf
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : neighbours.rows.shape[1]]
        cosines, rows = np.take_along_axis(cosines, nearest, axis=1), np.take_along_axis(rows, nearest, axis=1)
        neighbours.cosines[positions, : nearest.shape[1]] = cosines
        neighbours.rows[positions, : nearest.shape[1]] = np.where(np.isneginf(cosines), NO_ROW, rows)


def principal_coordinates(vectors: Vectors, n_axes: int) -> Vectors:
    """Return the coordinates of vectors along their first principal axes through the origin, (n, n_axes)."""
    return vectors @ principal_axes(vectors)[1][:n_axes].T


@single_threaded()
def principal_axes(vectors: Vectors) -> tuple[NDArray[np.float64], Vectors]:
    """Return the sums of squares along the principal axes through the origin, in decreasing order, and the axes.

    Returns
    -------
    sums, axes
        (r,) sums of squares, and (r, d) axes of length 1; r is the smaller one of n and d.

    Notes
    -----
    The eigenvectors of the smaller one of the two products of the vectors with themselves are computed. Threads would
    wait for each other in them.
    """
    n, d = vectors.shape
    if d <= n:
        sums, axes = np.linalg.eigh(vectors.T @ vectors)
        axes = axes.T[::-1]
    else:
        sums, columns = np.linalg.eigh(vectors @ vectors.T)
        axes = columns.T[::-1] @ vectors
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        axes /= np.where(lengths > 0, lengths, 1)
    return np.maximum(sums[::-1], 0).astype(np.float64), np.ascontiguousarray(axes, dtype=np.float32)


def _candidates(cosines: Vectors, k: int) -> Rows:
    """Return the positions (b, k or fewer) of the largest cosines of each row; -1 for those of -inf."""
    columns = largest_columns(cosines, min(k, cosines.shape[1]))
    is_excluded = np.isneginf(np.take_along_axis(cosines, columns, axis=1))
    return np.where(is_excluded, NO_ROW, columns)


def largest_columns(values: Vectors, k: int) -> Rows:
    """Return the positions (b, k) of the k largest values of each row (b, n), unordered.

    The columns are divided into groups. The k groups with the largest maxima contain the k largest values, so that
    only these groups are searched, which is several times as fast as a partition of each row.
    """
    n = values.shape[1]
    n_groups = n // COLUMN_GROUP_SIZE
    if n_groups <= 2 * k:
        return np.argpartition(values, n - k, axis=1)[:, n - k :]
    grouped_values = values[:, : n_groups * COLUMN_GROUP_SIZE].reshape(len(values), COLUMN_GROUP_SIZE, n_groups)
    groups = np.argpartition(grouped_values.max(axis=1), n_groups - k, axis=1)[:, n_groups - k :]
    # Column c is in group c modulo the number of groups; the columns beyond the last whole group are all searched.
    columns = (groups[:, :, None] + n_groups * np.arange(COLUMN_GROUP_SIZE)).reshape(len(values), -1)
    remaining_columns = np.arange(n_groups * COLUMN_GROUP_SIZE, n)
    columns = np.hstack([columns, np.broadcast_to(remaining_columns, (len(values), len(remaining_columns)))])
    positions = np.argpartition(np.take_along_axis(values, columns, axis=1), columns.shape[1] - k, axis=1)[:, -k:]
    return np.take_along_axis(columns, positions, axis=1)
