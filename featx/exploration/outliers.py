"""Outliers and typical images of each class, by the distances of their embeddings.

References
----------
.. [1] B. Iglewicz, D. C. Hoaglin, How to detect and handle outliers, ASQC 1993: the modified z-score and its limit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.exploration.neighbours import ClassNeighbours, Vectors
from featx.tables.ids import Floats

# Number of neighbours whose mean distance is compared.
N_NEIGHBOURS = 10
# Modified z-score from which on an image is an outlier [1]_.
MIN_OUTLIER_SCORE = 3.5
# Factor by which the median absolute deviation of normal values is their standard deviation.
SD_PER_MAD = 1.4826
# Smallest distance that is distinguished from 0: copies in different units have distance 0.
MIN_DISTANCE = 1e-6


@dataclass(frozen=True)
class Outliers:
    """Distances of n images to their nearest neighbours, compared with those of their class.

    Attributes
    ----------
    distances
        (n,) mean cosine distance to the k nearest images of all classes; nan without images of other units.
    own_distances, other_distances
        (n,) mean cosine distance to the k nearest images of the own class, and of all other classes.
    scores
        (n,) modified z-score [1]_ of the logarithm of the distance: its deviation from the median of the class,
        in robust standard deviations of the deviations of all images; 0 where there is no distance.
    """

    distances: Floats
    own_distances: Floats
    other_distances: Floats
    scores: Floats

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Positions of the outliers, the most distant first."""
        order = np.argsort(-self.scores, kind="stable")
        return order[self.scores[order] >= MIN_OUTLIER_SCORE]


def find_outliers(neighbours: ClassNeighbours, codes: NDArray[np.integer[Any]]) -> Outliers:
    """Return how far each image is from its nearest neighbours, compared with the other images of its class.

    An outlier is far from the images of all classes. An image that is far from its own class only is rather a likely
    wrong label.

    Parameters
    ----------
    codes
        (n,) codes of the classes; images without a label have a code of their own.
    """
    distances = neighbours.merged().mean_distances(N_NEIGHBOURS)
    deviations = np.full(len(codes), np.nan)
    logarithms = np.log(np.maximum(distances, MIN_DISTANCE))
    for code in np.unique(codes):
        rows = np.flatnonzero((codes == code) & np.isfinite(distances))
        deviations[rows] = logarithms[rows] - np.median(logarithms[rows]) if len(rows) else np.nan
    is_finite = np.isfinite(deviations)
    spread = SD_PER_MAD * np.median(np.abs(deviations[is_finite])) if is_finite.any() else 0.0
    scores = np.where(is_finite, deviations, 0.0) / spread if spread > 0 else np.zeros(len(codes))
    own_distances, other_distances = (
        neighbours.own_class.mean_distances(N_NEIGHBOURS),
        neighbours.other_classes.mean_distances(N_NEIGHBOURS),
    )
    return Outliers(distances, own_distances, other_distances, scores)


def typical_images(
    vectors: Vectors, codes: NDArray[np.integer[Any]], m: int, units: NDArray[Any] | None = None
) -> dict[int, NDArray[np.intp]]:
    """Return class code → positions of its m most typical images, one of each unit.

    The first one is the medoid: the image with the largest mean cosine with all images of its class.

    Parameters
    ----------
    vectors
        (n, d) vectors of length 1.
    units
        (n,) units: copies of one image, and images of one group. By default each image is a unit.
    """
    result = {}
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        # The mean cosine with all images of the class is the product with the mean of their vectors.
        cosines = vectors[rows] @ vectors[rows].mean(axis=0)
        rows = rows[np.argsort(-cosines, kind="stable")]
        if units is not None:
            rows = rows[np.sort(np.unique(units[rows], return_index=True)[1])]
        result[int(code)] = rows[:m]
    return result
