"""Planted wrong labels are ranked first, and suggestions and neighbours are right."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.exploration.label_issues import (
    confident_classes,
    cross_validated_proba,
    estimate_wrong_labels,
    find_label_issues,
)
from featx.exploration.neighbours import Neighbours, Vectors, unit_vectors
from tests.exploration.all_neighbours import find_neighbours
from tests.exploration.label_flips import Codes, flip_auroc, flip_to_any_class, flip_to_similar_class, rank_labels


@pytest.fixture(scope="module")
def digits() -> tuple[Vectors, Codes]:
    x, codes = load_digits(return_X_y=True)
    return unit_vectors(x), codes.astype(np.int64)


@pytest.mark.parametrize(
    ("kind", "share", "min_auroc"), [("any", 0.05, 0.95), ("any", 0.3, 0.93), ("similar", 0.1, 0.9)]
)
def test_planted_wrong_labels_of_digits_are_ranked_first(
    digits: tuple[Vectors, Codes], kind: str, share: float, min_auroc: float
) -> None:
    vectors, codes = digits
    flipped_codes = (
        flip_to_any_class(codes, share, 1) if kind == "any" else flip_to_similar_class(codes, vectors, share, 1)
    )
    issues = rank_labels(vectors, flipped_codes)
    assert flip_auroc(issues.quality, flipped_codes, codes) >= min_auroc
    is_wrong = flipped_codes != codes
    assert (issues.suggested[is_wrong] == codes[is_wrong]).mean() > 0.9
    assert issues.are_likely_wrong[is_wrong].mean() > 0.8
    assert issues.are_likely_wrong[~is_wrong].mean() < 0.02
    assert abs(issues.n_estimated - is_wrong.sum()) < 0.4 * is_wrong.sum()
    assert is_wrong[issues.ranking[: round(is_wrong.sum() / 2)]].mean() > 0.9


def test_the_quality_of_shuffled_labels_is_that_of_chance(digits: tuple[Vectors, Codes]) -> None:
    vectors, codes = digits
    shuffled_codes = np.random.default_rng(0).permutation(codes)
    flipped_codes = flip_to_any_class(shuffled_codes, 0.2, 0)
    assert abs(flip_auroc(rank_labels(vectors, flipped_codes).quality, flipped_codes, shuffled_codes) - 0.5) < 0.06


def test_votes_of_the_own_unit_do_not_count() -> None:
    # Ten images of class 0 and ten of class 1; the copies of one image have a wrong label.
    x = np.repeat(np.array([[1.0, 0, 0], [0, 1, 0]]), 10, axis=0) + 0.05 * np.random.default_rng(0).normal(size=(20, 3))
    x[:3], codes, units = x[0], np.repeat([0, 1], 10), np.arange(20)
    codes[:3], units[:3] = 1, 0
    neighbours = find_neighbours(unit_vectors(x), 5, units)
    issues = find_label_issues(codes, neighbours, np.full((20, 2), 0.5))
    assert set(issues.ranking[:3].tolist()) == {0, 1, 2}
    assert issues.given_shares[:3].tolist() == [0, 0, 0]


def test_without_neighbours_the_model_decides() -> None:
    neighbours = Neighbours(np.full((2, 3), -1), np.full((2, 3), -np.inf, dtype=np.float32))
    issues = find_label_issues(np.array([0, 0]), neighbours, np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert np.allclose(issues.quality, [0.9, 0.2], atol=1e-3)
    assert not issues.are_likely_wrong.any(), "neighbours do not prefer another class"


def test_the_confident_joint_is_that_of_the_paper() -> None:
    # Mean probabilities: of class 0 among labels 0 (0.9 + 0.6 + 0.3) / 3 = 0.6, of class 1 among labels 1 0.75.
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.3, 0.7]])
    codes = np.array([0, 0, 0, 1, 1])
    assert confident_classes(proba, codes).tolist() == [0, 0, -1, 1, -1]
    proba[2] = [0.1, 0.9]
    confident = confident_classes(proba, codes)
    assert confident.tolist() == [0, 0, 1, 1, -1]
    assert estimate_wrong_labels(confident, codes, 2) == 1, "one third of three labels"


def test_a_sufficient_probability_counts_below_the_mean_of_its_class() -> None:
    proba = np.array([[0.99, 0.01], [0.98, 0.02], [0.02, 0.98], [0.01, 0.99], [0.95, 0.05]])
    assert confident_classes(proba, np.array([0, 0, 1, 1, 1])).tolist() == [0, 0, 1, 1, 0]


def test_probabilities_are_those_of_images_in_other_folds() -> None:
    # Labels that no other image explains cannot be predicted by a model that was fitted without them.
    rng = np.random.default_rng(0)
    vectors, codes = unit_vectors(rng.normal(size=(300, 20))), rng.integers(0, 2, 300)
    proba = cross_validated_proba(vectors, codes, None)
    assert abs((proba.argmax(axis=1) == codes).mean() - 0.5) < 0.1
    assert np.allclose(proba.sum(axis=1), 1)


def test_a_class_in_one_fold_only_has_probability_0_there() -> None:
    vectors = unit_vectors(np.random.default_rng(0).normal(size=(50, 4)))
    codes = np.repeat([0, 1], [49, 1])
    proba = cross_validated_proba(vectors, codes, None)
    assert proba[49].tolist() == [1, 0]
    assert np.allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize("codes", [[0, 0, 0, 0, 0, 0], [0, 1, 0]])
def test_too_few_classes_or_images_give_equal_probabilities(codes: list[int]) -> None:
    vectors = unit_vectors(np.random.default_rng(0).normal(size=(len(codes), 4)))
    proba = cross_validated_proba(vectors, np.array(codes), None)
    assert np.unique(proba).tolist() == [1 / (max(codes) + 1)]
