"""Separability of classes in an embedding: leave-one-out k-NN votes, silhouettes and the most confused classes.

References
----------
.. [1] T. Cover, P. Hart, Nearest neighbor pattern classification, IEEE Transactions on Information Theory 1967.
.. [2] P. J. Rousseeuw, Silhouettes, Journal of Computational and Applied Mathematics 1987.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.exploration.neighbours import Neighbours, Vectors
from featx.tables.ids import Floats

# Number of neighbours that vote.
N_NEIGHBOURS = 10


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes that neighbours confuse.

    Attributes
    ----------
    true, voted
        Codes of the class of the images, and of the class that most of their neighbours have.
    n
        Number of these images.
    share
        Their share of the images of the true class.
    """

    true: int
    voted: int
    n: int
    share: float


@dataclass(frozen=True)
class Separability:
    """Separability of k classes in n images with labels.

    Attributes
    ----------
    confusion
        (k, k) numbers of images; row = class, column = class of most of the nearest neighbours. Images without
        neighbours are not counted.
    silhouettes
        (n,) silhouettes by cosine distance, in [-1, 1] [2]_.
    nearest_error
        Share of the images whose nearest neighbour has another class; nan if no image has a neighbour.
    codes
        (n,) class codes.
    """

    confusion: NDArray[np.int64]
    silhouettes: Floats
    nearest_error: float
    codes: NDArray[np.integer[Any]]

    @property
    def accuracy(self) -> float:
        """Share of the images whose neighbours vote for their class; nan without images."""
        total = self.confusion.sum()
        return float(np.trace(self.confusion) / total) if total else float("nan")

    @property
    def majority_share(self) -> float:
        """Share of the largest class: the accuracy of always predicting this class; nan without images."""
        total = self.confusion.sum()
        return float(self.confusion.sum(axis=1).max() / total) if total else float("nan")

    @property
    def recalls(self) -> Floats:
        """(k,) share of the images of each class whose neighbours vote for it; nan for classes without images."""
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def precisions(self) -> Floats:
        """(k,) share of the images with votes for a class that belong to it; nan for classes without votes."""
        return _ratios(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def class_silhouettes(self) -> Floats:
        """(k,) mean silhouette of each class; nan for classes without images."""
        k = len(self.confusion)
        sums = np.bincount(self.codes, weights=self.silhouettes, minlength=k)
        return _ratios(sums, np.bincount(self.codes, minlength=k))

    @property
    def lowest_error(self) -> float:
        """Lower bound of the error of all classifiers of this embedding, estimated from that of one neighbour [1]_.

        It is nan if no image has a neighbour.

        With many images, the error of the nearest neighbour is at most twice the lowest error that any classifier of
        the same vectors can have.
        """
        k = len(self.confusion)
        factor = (k - 1) / k if k > 1 else 1.0
        return float(factor * (1 - np.sqrt(np.maximum(0.0, 1 - self.nearest_error / factor))))

    def confused_pairs(self, m: int) -> list[ConfusedPair]:
        """Return the m pairs of a class and a wrong vote with the largest shares."""
        wrong_counts = self.confusion.copy()
        np.fill_diagonal(wrong_counts, 0)
        shares = np.nan_to_num(_ratios(wrong_counts, self.confusion.sum(axis=1)[:, None]))
        order = np.argsort(-shares, axis=None, kind="stable")[:m]
        pairs = zip(*np.unravel_index(order, shares.shape), strict=True)
        return [
            ConfusedPair(int(a), int(b), int(wrong_counts[a, b]), float(shares[a, b]))
            for a, b in pairs
            if wrong_counts[a, b]
        ]


def measure_separability(
    vectors: Vectors, codes: NDArray[np.integer[Any]], neighbours: Neighbours, n_classes: int
) -> Separability:
    """Return how well the classes of an embedding are separated.

    Parameters
    ----------
    vectors
        (n, d) vectors of length 1.
    codes
        (n,) class codes 0 … k-1.
    neighbours
        The nearest neighbours of the images among images of other units.
    """
    shares = vote_shares(codes, Neighbours(neighbours.rows[:, :N_NEIGHBOURS], neighbours.cosines), n_classes)
    has_neighbour = neighbours.exist[:, 0]
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (codes[has_neighbour], _most_votes(shares, codes, neighbours)[has_neighbour]), 1)
    nearest = codes[neighbours.rows[has_neighbour, 0]]
    error = float((nearest != codes[has_neighbour]).mean()) if has_neighbour.any() else float("nan")
    return Separability(confusion, silhouettes(vectors, codes, n_classes), error, codes)


def vote_shares(codes: NDArray[np.integer[Any]], neighbours: Neighbours, n_classes: int) -> Floats:
    """Return the (n, k) shares of the classes among the neighbours of each image; 0 for images without neighbours."""
    n = len(codes)
    cells = np.arange(n)[:, None] * n_classes + codes[neighbours.rows]
    votes = neighbours.exist.ravel().astype(np.float64)
    sums = np.bincount(cells.ravel(), weights=votes, minlength=n * n_classes).reshape(n, n_classes)
    totals = sums.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    return shares


def _most_votes(shares: Floats, codes: NDArray[np.integer[Any]], neighbours: Neighbours) -> NDArray[np.intp]:
    """Return (n,) the class with most votes; among classes with equal votes that of the nearest neighbour."""
    nearest = np.zeros_like(shares)
    nearest[np.arange(len(codes)), codes[neighbours.rows[:, 0]]] = 0.5 / neighbours.rows.shape[1]
    return np.asarray((shares + nearest).argmax(axis=1))


def silhouettes(vectors: Vectors, codes: NDArray[np.integer[Any]], n_classes: int) -> Floats:
    """Return the (n,) silhouettes by cosine distance; 0 for the only image of a class, and for a single class.

    Notes
    -----
    The mean cosine with all images of a class is the product with the sum of their vectors, so that the time is
    O(n d k) instead of O(n² d).
    """
    counts = np.bincount(codes, minlength=n_classes)
    # Products in float32 need no copy of the vectors.
    sums = np.stack([vectors[codes == code].sum(axis=0) for code in range(n_classes)])
    products = vectors @ sums.T
    rows = np.arange(len(codes))
    own_counts = counts[codes] - 1
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    own_distances = 1 - np.divide(
        products[rows, codes] - lengths, own_counts, out=np.zeros(len(codes)), where=own_counts > 0
    )
    distances = 1 - np.divide(products, counts, out=np.full(products.shape, -np.inf), where=counts > 0)
    distances[rows, codes] = np.inf
    other_distances = distances.min(axis=1)
    larger_distances = np.maximum(own_distances, other_distances)
    is_valid = (own_counts > 0) & np.isfinite(other_distances) & (larger_distances > 0)
    values: Floats = np.divide(
        other_distances - own_distances, larger_distances, out=np.zeros(len(codes)), where=is_valid
    )
    return values


def _ratios(values: NDArray[Any], totals: NDArray[Any]) -> Floats:
    totals = np.broadcast_to(totals, values.shape)
    ratios: Floats = np.divide(values, totals, out=np.full(values.shape, np.nan), where=totals > 0)
    return ratios
