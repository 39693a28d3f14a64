"""Planted outliers are ranked first, and typical images are medoids."""

import numpy as np
import pytest

from featx.exploration.neighbours import find_class_neighbours, unit_vectors
from featx.exploration.outliers import find_outliers, typical_images


@pytest.fixture(scope="module")
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Return 200 images of two classes, of which 7 and 150 are like no other image, and image 3 is in the wrong one."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 100)
    x = np.repeat(rng.normal(size=(2, 30)), 100, axis=0) + 0.3 * rng.normal(size=(200, 30))
    x[[7, 150]] = rng.normal(size=(2, 30))
    x[3] = x[120] + 0.1 * rng.normal(size=30)
    return x, codes


def test_images_like_no_other_are_outliers(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, codes = clusters
    outliers = find_outliers(find_class_neighbours(unit_vectors(x), codes, 10), codes)
    assert set(outliers.ranking[:2].tolist()) == {7, 150}
    assert 3 not in outliers.ranking, "an image near another class is not like no other"
    assert outliers.other_distances[3] < outliers.own_distances[3]


def test_equal_images_are_no_outliers() -> None:
    codes = np.zeros(20, dtype=int)
    outliers = find_outliers(find_class_neighbours(unit_vectors(np.ones((20, 4))), codes, 5), codes)
    assert (outliers.scores == 0).all()
    assert len(outliers.ranking) == 0


def test_images_without_neighbours_are_no_outliers() -> None:
    vectors = unit_vectors(np.random.default_rng(0).normal(size=(6, 4)))
    outliers = find_outliers(find_class_neighbours(vectors, np.zeros(6), 3, np.zeros(6)), np.zeros(6))
    assert np.isnan(outliers.distances).all()
    assert len(outliers.ranking) == 0


def test_the_most_typical_image_is_the_medoid(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, codes = clusters
    vectors = unit_vectors(x)
    typical = typical_images(vectors, codes, 5)
    for code in (0, 1):
        rows = np.flatnonzero(codes == code)
        assert typical[code][0] == rows[(vectors[rows] @ vectors[rows].T).sum(axis=1).argmax()]
        assert len(typical[code]) == 5


def test_typical_images_are_of_different_units(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, codes = clusters
    units = np.arange(200) % 3
    typical = typical_images(unit_vectors(x), codes, 5, units)
    assert [sorted(units[rows].tolist()) for rows in typical.values()] == [[0, 1, 2], [0, 1, 2]]
