"""Leave-one-out votes and silhouettes equal their definitions."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from featx.exploration.neighbours import unit_vectors
from featx.exploration.separability import Separability, measure_separability, silhouettes, vote_shares
from tests.exploration.all_neighbours import find_neighbours


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, codes = load_digits(return_X_y=True)
    return unit_vectors(x[:400]), codes[:400]


def separability(vectors: np.ndarray, codes: np.ndarray) -> Separability:
    return measure_separability(vectors, codes, find_neighbours(vectors, 10), int(codes.max()) + 1)


def test_silhouettes_are_those_of_scikit_learn(digits: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, codes = digits
    expected = silhouette_samples(vectors, codes, metric="cosine")
    assert np.allclose(silhouettes(vectors, codes, 10), expected, atol=1e-4)
    means = [expected[codes == code].mean() for code in range(10)]
    assert np.allclose(separability(vectors, codes).class_silhouettes, means, atol=1e-4)


def test_votes_are_those_of_leave_one_out(digits: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, codes = digits
    head = KNeighborsClassifier(10, metric="cosine", algorithm="brute")
    y_pred = cross_val_predict(head, vectors[:150], codes[:150], cv=LeaveOneOut())
    result = separability(vectors[:150], codes[:150])
    # Votes for several classes with equal counts are decided differently.
    assert abs(result.accuracy - (y_pred == codes[:150]).mean()) < 0.03


def test_separated_classes_have_no_confused_pairs() -> None:
    vectors, codes = unit_vectors(np.repeat(np.eye(3), 20, axis=0)), np.repeat(np.arange(3), 20)
    result = separability(vectors, codes)
    assert result.accuracy == 1
    assert result.lowest_error == 0
    assert result.confused_pairs(5) == []
    assert np.allclose(result.class_silhouettes, 1)


def test_random_labels_are_voted_for_at_chance() -> None:
    rng = np.random.default_rng(0)
    result = separability(unit_vectors(rng.normal(size=(800, 5))), rng.integers(0, 4, 800))
    assert 0.18 < result.accuracy < 0.32
    assert 0.6 < result.lowest_error <= 0.75, "chance is an error of 0.75"


def test_the_most_confused_pair_has_the_largest_share() -> None:
    confusion = np.array([[8, 2, 0], [0, 30, 5], [0, 0, 0]])
    result = Separability(confusion, np.zeros(45), 0.1, np.repeat([0, 1], [10, 35]))
    assert [(pair.true, pair.voted, pair.n) for pair in result.confused_pairs(9)] == [(0, 1, 2), (1, 2, 5)]
    assert result.confused_pairs(1)[0].share == 0.2
    assert np.isnan(result.recalls[2])
    assert result.majority_share == 35 / 45


def test_one_class_and_images_without_neighbours_are_allowed() -> None:
    vectors = unit_vectors(np.random.default_rng(0).normal(size=(6, 4)))
    codes = np.zeros(6, dtype=int)
    assert separability(vectors, codes).accuracy == 1
    assert (silhouettes(vectors, codes, 1) == 0).all()
    result = measure_separability(vectors, codes, find_neighbours(vectors, 3, np.zeros(6)), 1)
    assert np.isnan(result.accuracy)
    assert np.isnan(result.lowest_error)


def test_each_neighbour_has_one_vote() -> None:
    vectors = unit_vectors(np.array([[1.0, 0.1], [1, 0], [0.9, 0], [0.8, 0], [0.7, 0]]))
    shares = vote_shares(np.array([0, 0, 1, 1, 1]), find_neighbours(vectors, 4), 2)
    assert shares[0].tolist() == [0.25, 0.75]
