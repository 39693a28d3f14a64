"""Projections of vectors to two dimensions: principal components, t-SNE and UMAP.

References
----------
.. [1] L. van der Maaten, G. Hinton, Visualizing data using t-SNE, Journal of Machine Learning Research 2008.
.. [2] L. McInnes, J. Healy, J. Melville, UMAP: uniform manifold approximation and projection, arXiv:1802.03426.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError, MissingExtraError
from featx.exploration.neighbours import largest_columns, principal_axes
from featx.parallel.threads import single_threaded
from featx.registry import suggest_names
from featx.tables.ids import Floats, sample_rows

Method = Literal["tsne", "umap", "pca"]

# Number of vectors of which principal axes are computed: an even sample of more.
MAX_ROWS_TO_FIT = 20_000
# Number of axes whose share of the variance is known.
MAX_SHARES = 50
# Number of vectors that are centred and projected to the axes at a time.
ROWS_PER_BLOCK = 2000
# Number of vectors that t-SNE and UMAP project; further ones are placed beside their nearest among them. 5,000 take
# t-SNE about 15 s of one core: its threads would wait for each other, and need three times as much time in all.
MAX_PROJECTED = {"tsne": 5000, "umap": 20_000}
TSNE_ITERATIONS = 500
PERPLEXITY = 30.0
# Smallest number of vectors for t-SNE and UMAP, and smallest standard deviation of their coordinates: t-SNE divides by
# it, and ends the process if the quotients are not finite.
MIN_PROJECTED, MIN_SPREAD = 8, float(np.finfo(np.float32).eps)
# Number of projected neighbours beside which a further vector is placed.
N_ANCHORS = 5
MAX_PRODUCTS_IN_MEMORY = 5_000_000


@dataclass(frozen=True)
class PrincipalComponents:
    """The principal components of n vectors.

    Attributes
    ----------
    coordinates
        (n, m) coordinates along the first m axes.
    variance_shares
        (c,) share of the variance along each axis, in decreasing order; c is at most `MAX_SHARES`.
    """

    coordinates: NDArray[np.float32]
    variance_shares: Floats


def principal_components(x: NDArray[Any], n_axes: int) -> PrincipalComponents:
    """Return the principal components of vectors; axes are computed of at most `MAX_ROWS_TO_FIT` rows.

    Parameters
    ----------
    x
        (n, d) vectors.
    n_axes
        Number of axes for coordinates.
    """
    sample = x[sample_rows(len(x), MAX_ROWS_TO_FIT)].astype(np.float32, copy=False)
    mean = sample.mean(axis=0)
    sample -= mean
    variances, axes = principal_axes(sample)
    total = variances.sum()
    shares = variances[:MAX_SHARES] / total if total > 0 else np.zeros(min(MAX_SHARES, len(variances)))
    components = axes[:n_axes]
    # The sign of an axis is free; the largest component is made positive, so that figures do not depend on libraries.
    components *= np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])[:, None]
    coordinates = np.empty((len(x), len(components)), dtype=np.float32)
    for start in range(0, len(x), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        coordinates[block] = (x[block] - mean) @ components.T
    return PrincipalComponents(coordinates, shares)


@dataclass(frozen=True)
class Projection:
    """Positions of n images in two dimensions.

    Attributes
    ----------
    points
        (n, 2) positions.
    method
        Method that was used: ``pca`` if there are too few vectors for others, or if they are all equal or of one number
        each.
    n_fitted
        Number of vectors that were projected by the method; others were placed beside their nearest ones.
    """

    points: Floats
    method: Method
    n_fitted: int


def check_method(method: str) -> Method:
    """Return the method of projection with this name.

    Raises
    ------
    DataError
        There is no such method.
    MissingExtraError
        The method is ``umap``, and umap-learn is not installed.
    """
    if method not in get_args(Method):
        raise DataError(f"there is no projection {method!r}; {suggest_names(method, list(get_args(Method)))}")
    if method == "umap" and find_spec("umap") is None:
        raise MissingExtraError("UMAP is not installed; run 'pip install \"featx[umap]\"', or choose 'tsne' or 'pca'")
    return cast(Method, method)


def project(coordinates: NDArray[np.float32], method: Method, seed: int = 0) -> Projection:
    """Return positions of vectors in two dimensions.

    Parameters
    ----------
    coordinates
        (n, m) coordinates along the first principal axes.
    method
        ``pca`` (the first two of them), ``tsne`` [1]_ or ``umap`` [2]_.

    Raises
    ------
    MissingExtraError
        The method is ``umap``, and umap-learn is not installed.
    """
    n = len(coordinates)
    if method == "umap" and find_spec("umap") is None:
        raise MissingExtraError(
            "UMAP is not installed; run 'pip install \"featx[umap]\"', or choose another projection"
        )
    rows = sample_rows(n, MAX_PROJECTED.get(method, n))
    if method == "pca" or not _can_be_projected(coordinates[rows]):
        points = np.zeros((n, 2))
        points[:, : min(2, coordinates.shape[1])] = coordinates[:, :2]
        return Projection(points, "pca", n)
    fitted_points = (_tsne if method == "tsne" else _umap)(coordinates[rows], seed)
    points = np.empty((n, 2))
    points[rows] = fitted_points
    remaining_rows = np.setdiff1d(np.arange(n), rows)
    points[remaining_rows] = _place(coordinates[remaining_rows], coordinates[rows], fitted_points)
    return Projection(points, method, len(rows))


def _can_be_projected(coordinates: NDArray[np.float32]) -> bool:
    """Return whether there are enough different vectors, of two dimensions or more, for t-SNE and UMAP."""
    n, n_axes = coordinates.shape
    return n >= MIN_PROJECTED and n_axes >= 2 and bool(coordinates.std(axis=0, dtype=np.float64).max() > MIN_SPREAD)


@single_threaded()
def _tsne(coordinates: NDArray[np.float32], seed: int) -> Floats:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(coordinates) - 1) / 3)
    model = TSNE(init="pca", perplexity=perplexity, max_iter=TSNE_ITERATIONS, random_state=seed)
    return np.asarray(model.fit_transform(coordinates), dtype=np.float64)


def _umap(coordinates: NDArray[np.float32], seed: int) -> Floats:
    from umap import UMAP

    model = UMAP(n_neighbors=min(15, len(coordinates) - 1), random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(coordinates), dtype=np.float64)


def _place(coordinates: NDArray[np.float32], anchors: NDArray[np.float32], points: Floats) -> Floats:
    """Return the positions (m, 2) of vectors: the mean of the points of their nearest anchors."""
    positions = np.empty((len(coordinates), 2))
    squares = np.einsum("ij,ij->i", anchors, anchors)
    size = max(1, MAX_PRODUCTS_IN_MEMORY // len(anchors))
    for start in range(0, len(coordinates), size):
        block = slice(start, start + size)
        nearness = 2 * coordinates[block] @ anchors.T - squares
        positions[block] = points[largest_columns(nearness, min(N_ANCHORS, len(anchors)))].mean(axis=1)
    return positions
