"""How far vectors in a reduced precision lie from those in fp32."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from featx.specs.embedding import Precision

TINY = 1e-12
SMALLEST = float(np.finfo(np.float64).tiny)
WORST = 4.0  # standard deviations above the mean: one in some thirty thousand


class Drift(BaseModel, frozen=True):
    """The distance between two tables of vectors of the same images.

    Attributes
    ----------
    n_images
        Compared.
    cosine, median_cosine
        Between an image's two vectors: of the worst image, and of the one in the middle.
    expected_cosine
        Of the worst of thirty thousand such images, as the spread of log(1 - cosine) says, taken for normal.
    relative_error
        |x - y| / |x| of the worst image.
    worst_dimension, worst_dimension_error
        The column that is farthest off, and its root mean square error as a share of the columns' mean standard
        deviation.
    """

    n_images: int
    cosine: float
    median_cosine: float
    expected_cosine: float
    relative_error: float
    worst_dimension: int
    worst_dimension_error: float

    @property
    def least_cosine(self) -> float:
        """Of the images that were compared and, as expected, of others."""
        return min(self.cosine, self.expected_cosine)

    def __str__(self) -> str:
        return (
            f"cosine with fp32 at least {floored(self.cosine)} on {self.n_images} images (median "
            f"{floored(self.median_cosine)}; {floored(self.expected_cosine)} is expected of the worst of 30,000), "
            f"relative error at most {self.relative_error:.4f}, dimension {self.worst_dimension} is farthest off: "
            f"{self.worst_dimension_error:.1%} of a column's spread"
        )


class PrecisionAudit(NamedTuple):
    """A precision that may be used, and how far the last one that was looked at lies from fp32."""

    precision: Precision = "fp32"
    drift: Drift | None = None


def floored(cosine: float) -> str:
    """Write a cosine with five digits, never as more than it is.

    Examples
    --------
    >>> floored(0.999999), floored(1.0), floored(0.99919)
    ('0.99999', '1.00000', '0.99919')
    """
    return f"{np.floor(cosine * 1e5 + 1e-9) / 1e5:.5f}"


def drift(x: NDArray[np.float32], y: NDArray[np.float32]) -> Drift:
    """Compare (n, d) vectors `y` with those of fp32, `x`; a `y` that is not finite counts as zeros, with cosine 0."""
    finite = np.broadcast_to(np.isfinite(y).all(axis=1, keepdims=True), y.shape)
    a, b = x.astype(np.float64), np.where(finite, y, 0).astype(np.float64)
    norms, lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    nothing = (norms == 0) & (lengths == 0)  # equal, though they have no direction
    cosines = np.where(nothing, 1.0, (a * b).sum(axis=1) / np.maximum(norms * lengths, SMALLEST))
    distances = np.log(np.maximum(1 - cosines, TINY))
    errors = np.linalg.norm(a - b, axis=1) / np.maximum(norms, TINY)
    off = np.sqrt(((a - b) ** 2).mean(axis=0)) / max(float(a.std(axis=0).mean()), SMALLEST)
    return Drift(
        n_images=len(a),
        cosine=float(cosines.min()),
        median_cosine=float(np.median(cosines)),
        expected_cosine=float(1 - np.exp(distances.mean() + WORST * distances.std())),
        relative_error=float(errors.max()),
        worst_dimension=int(off.argmax()),
        worst_dimension_error=float(off.max()),
    )


def worst_drift(exact: Sequence[NDArray[np.float32]], rows: Sequence[NDArray[np.float32]]) -> Drift | None:
    """Return the drift of the tap that is farthest off, over images whose fp32 vectors are finite; None without any."""
    good = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in exact])
    if not good.any():
        return None
    drifts = [drift(x[good], y[good]) for x, y in zip(exact, rows, strict=True)]
    return min(drifts, key=lambda one: one.least_cosine)
