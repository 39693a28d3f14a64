"""Differences between the embeddings of a reduced precision and those of fp32."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from featx.specs.embedding import Precision

# Smallest cosine distance and fp32 norm that are distinguished from zero.
MIN_DISTANCE = 1e-12
MIN_DIVISOR = float(np.finfo(np.float64).tiny)
# Standard deviations above the mean of a normal variable that one of about thirty thousand values exceeds.
RARE_DEVIATIONS = 4.0


class Deviation(BaseModel, frozen=True):
    """The difference between two tables of embeddings of the same images.

    Attributes
    ----------
    n_images
        Number of images compared.
    cosine, median_cosine
        Lowest and median cosine between an image's two vectors, over the images compared.
    estimated_min_cosine
        Estimate of the lowest cosine among 30,000 images, from a normal distribution fitted to log(1 - cosine).
    relative_error
        Largest |x - y| / |x| over the images compared.
    worst_dimension, worst_dimension_error
        The feature with the largest root mean square error, and this error as a share of the mean standard deviation of
        the features.
    """

    n_images: int
    cosine: float
    median_cosine: float
    estimated_min_cosine: float
    relative_error: float
    worst_dimension: int
    worst_dimension_error: float

    @property
    def min_cosine(self) -> float:
        """The smaller one of the lowest measured and the lowest estimated cosine."""
        return min(self.cosine, self.estimated_min_cosine)

    def __str__(self) -> str:
        return (
            f"compared with fp32 on {self.n_images} images: lowest cosine {round_down(self.cosine)}, median cosine "
            f"{round_down(self.median_cosine)}, estimated lowest cosine among 30,000 images "
            f"{round_down(self.estimated_min_cosine)}; largest relative error {self.relative_error:.4f}; largest error "
            f"of a feature: {self.worst_dimension_error:.1%} of the features' mean standard deviation (feature "
            f"{self.worst_dimension})"
        )


class PrecisionAudit(NamedTuple):
    """A precision that may be used, and the deviation of the precision that was compared with fp32 last.

    Attributes
    ----------
    precision
        The precision to use; fp32 where no reduced precision is close enough.
    deviation
        Deviation of the last precision compared; None where none was.
    """

    precision: Precision = "fp32"
    deviation: Deviation | None = None


def round_down(cosine: float) -> str:
    """Write a cosine with five digits, rounded down.

    Examples
    --------
    >>> round_down(0.999999), round_down(1.0), round_down(0.99919)
    ('0.99999', '1.00000', '0.99919')
    """
    return f"{np.floor(cosine * 1e5 + 1e-9) / 1e5:.5f}"


def measure_deviation(x: NDArray[np.float32], y: NDArray[np.float32]) -> Deviation:
    """Compare the (n, d) vectors `y` with the fp32 vectors `x`.

    A vector of `y` that is not finite counts as zeros, with cosine 0.
    """
    is_finite = np.broadcast_to(np.isfinite(y).all(axis=1, keepdims=True), y.shape)
    a, b = x.astype(np.float64), np.where(is_finite, y, 0).astype(np.float64)
    norms_a, norms_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    # Two vectors of zeros are equal, though they have no direction.
    both_zero = (norms_a == 0) & (norms_b == 0)
    cosines = np.where(both_zero, 1.0, (a * b).sum(axis=1) / np.maximum(norms_a * norms_b, MIN_DIVISOR))
    log_distances = np.log(np.maximum(1 - cosines, MIN_DISTANCE))
    relative_errors = np.linalg.norm(a - b, axis=1) / np.maximum(norms_a, MIN_DISTANCE)
    feature_errors = np.sqrt(((a - b) ** 2).mean(axis=0)) / max(float(a.std(axis=0).mean()), MIN_DIVISOR)
    return Deviation(
        n_images=len(a),
        cosine=float(cosines.min()),
        median_cosine=float(np.median(cosines)),
        estimated_min_cosine=float(1 - np.exp(log_distances.mean() + RARE_DEVIATIONS * log_distances.std())),
        relative_error=float(relative_errors.max()),
        worst_dimension=int(feature_errors.argmax()),
        worst_dimension_error=float(feature_errors.max()),
    )


def worst_deviation(exact_rows: Sequence[NDArray[np.float32]], rows: Sequence[NDArray[np.float32]]) -> Deviation | None:
    """Return the largest deviation over a network's taps, whose (n, d) vectors are in fp32 and in another precision.

    Images whose fp32 vectors are not all finite are left out; None where no image remains.
    """
    is_finite = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in exact_rows])
    if not is_finite.any():
        return None
    deviations = [measure_deviation(x[is_finite], y[is_finite]) for x, y in zip(exact_rows, rows, strict=True)]
    return min(deviations, key=lambda tap_deviation: tap_deviation.min_cosine)
