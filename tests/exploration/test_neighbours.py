"""Nearest neighbours equal those of a plain search, and never belong to the image's own unit."""

import numpy as np
import pytest

from featx.exploration import neighbours
from featx.exploration.neighbours import NO_ROW, find_class_neighbours, largest_columns, unit_vectors
from tests.exploration.all_neighbours import find_neighbours


def vectors(n: int, d: int = 8, seed: int = 0) -> neighbours.Vectors:
    return unit_vectors(np.random.default_rng(seed).normal(size=(n, d)))


def plain_search(x: neighbours.Vectors, k: int, units: np.ndarray) -> np.ndarray:
    cosines = x @ x.T
    cosines[units[:, None] == units] = -np.inf
    return np.argsort(-cosines, axis=1)[:, :k]


@pytest.mark.parametrize("n", [7, 700])
@pytest.mark.parametrize("n_units", [3, 700])
def test_neighbours_are_those_of_a_plain_search(n: int, n_units: int) -> None:
    x, units = vectors(n), np.arange(n) % n_units
    result = find_neighbours(x, 4, units)
    expected = plain_search(x, 4, units)
    assert np.array_equal(np.sort(result.rows[result.exist]), np.sort(expected[result.exist]))
    assert (np.diff(result.cosines[result.exist.all(1)], axis=1) <= 0).all(), "nearest first"
    assert (units[:, None] != units[result.rows])[result.exist].all()


def test_a_unit_of_all_images_leaves_no_neighbours() -> None:
    result = find_neighbours(vectors(5), 2, np.zeros(5))
    assert (result.rows == NO_ROW).all()
    assert not result.exist.any()


def test_many_images_are_searched_along_principal_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x = unit_vectors(rng.normal(size=(600, 12)) @ rng.normal(size=(12, 300)) + 0.1 * rng.normal(size=(600, 300)))
    exact_result = find_neighbours(x, 5)
    monkeypatch.setattr(neighbours, "MAX_ROWS_FOR_FULL_SEARCH", 100)
    monkeypatch.setattr(neighbours, "N_SEARCH_AXES", 20)
    result = find_neighbours(x, 5)
    assert (result.rows == exact_result.rows).mean() > 0.99
    codes = np.arange(600) % 3
    assert not find_class_neighbours(x, codes, 5).is_exact


@pytest.mark.parametrize("n", [50, 4000, 4097])
def test_the_largest_columns_are_those_of_a_sort(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(9, n)).astype(np.float32)
    columns = largest_columns(values, 6)
    assert np.array_equal(np.sort(columns, axis=1), np.sort(np.argsort(values, axis=1)[:, -6:], axis=1))


def test_a_constant_embedding_has_neighbours_of_cosine_0() -> None:
    result = find_neighbours(unit_vectors(np.ones((6, 3))), 2)
    assert (result.cosines == 0).all()
    assert result.exist.all()


def test_neighbours_are_searched_in_the_own_class_and_in_the_others() -> None:
    x, codes, units = vectors(300), np.random.default_rng(3).integers(-1, 3, 300), np.arange(300) // 2
    result = find_class_neighbours(x, codes, 6, units)
    assert (codes[result.own_class.rows] == codes[:, None]).all()
    assert (codes[result.other_classes.rows] != codes[:, None]).all()
    assert np.array_equal(result.merged().rows, plain_search(x, 6, units))


def test_classes_smaller_than_the_number_of_neighbours_have_fewer() -> None:
    result = find_class_neighbours(vectors(9), np.array([0] * 7 + [1, 1]), 4)
    assert result.own_class.exist.sum(axis=1).tolist() == [4] * 7 + [1, 1]
    assert result.other_classes.exist.sum(axis=1).tolist() == [2] * 7 + [4, 4]
    assert np.isnan(find_class_neighbours(vectors(3), np.arange(3), 2).own_class.mean_distances(2)).all()


def test_mean_distances_are_those_of_the_nearest() -> None:
    x = vectors(40)
    distances = find_neighbours(x, 8).mean_distances(3)
    cosines = np.sort(x @ x.T - 2 * np.eye(40), axis=1)[:, -3:]
    assert np.allclose(distances, 1 - cosines.mean(axis=1), atol=1e-6)
