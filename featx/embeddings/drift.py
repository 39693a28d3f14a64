"""How far vectors in a reduced precision lie from those in fp32."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

TINY = 1e-12
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

    def __str__(self) -> str:
        return (
            f"cosine with fp32 at least {self.cosine:.5f} on {self.n_images} images (median {self.median_cosine:.5f}; "
            f"{self.expected_cosine:.5f} is expected of the worst of 30,000), "
            f"relative error at most {self.relative_error:.4f}, dimension {self.worst_dimension} is farthest off: "
            f"{self.worst_dimension_error:.1%} of a column's spread"
        )


def drift(x: NDArray[np.float32], y: NDArray[np.float32]) -> Drift:
    """Compare (n, d) vectors `y` with those of fp32, `x`."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    norms = np.linalg.norm(a, axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(norms * np.linalg.norm(b, axis=1), TINY)
    distances = np.log(np.maximum(1 - cosines, TINY))
    off = np.sqrt(((a - b) ** 2).mean(axis=0)) / max(float(a.std(axis=0).mean()), TINY)
    return Drift(
        n_images=len(a),
        cosine=float(cosines.min()),
        median_cosine=float(np.median(cosines)),
        expected_cosine=float(1 - np.exp(distances.mean() + WORST * distances.std())),
        relative_error=float((np.linalg.norm(a - b, axis=1) / np.maximum(norms, TINY)).max()),
        worst_dimension=int(off.argmax()),
        worst_dimension_error=float(off.max()),
    )
