"""What was said against what happened, on numbers that can be worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from featx.facts import Facts
from featx.reliability import brier, kept, reliability

TWO = ("a", "b")


def of_b(*p: float) -> np.ndarray:
    return np.array([(1 - one, one) for one in p])


def test_answers_are_gathered_in_bins_of_what_was_said() -> None:
    found = reliability(Facts("classes", TWO, np.array([1, 1, 0, 0])), of_b(0.95, 0.93, 0.97, 0.4), bins=10)
    assert found.n.tolist() == [1, 3]
    np.testing.assert_allclose(found.said, [0.4, 0.95])
    np.testing.assert_allclose(found.happened, [0, 2 / 3])
    assert found.ece == pytest.approx((0.4 + 3 * (0.95 - 2 / 3)) / 4)


def test_a_certain_answer_falls_into_the_last_bin() -> None:
    assert reliability(Facts("classes", TWO, np.array([1, 1])), of_b(1.0, 1.0)).ece == 0


def test_every_label_counts() -> None:
    y = np.array([[1, 0], [0, 0]])
    proba = np.array([[0.9, 0.1], [0.1, 0.1]])
    found = reliability(Facts("labels", TWO, y), proba, bins=2)
    np.testing.assert_allclose(found.said, [0.1, 0.9])
    np.testing.assert_allclose(found.happened, [0, 1])
    assert brier(Facts("labels", TWO, y), proba) == pytest.approx(0.01)


def test_brier_of_two_classes_is_twice_that_of_the_second() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 50), rng.random(50)
    assert brier(Facts("classes", TWO, y), of_b(*p)) == pytest.approx(2 * brier_score_loss(y, p))


def test_honest_probabilities_have_a_small_error_and_boastful_ones_a_large_one() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    facts = Facts("classes", TWO, (rng.random(20_000) < p).astype(int))
    assert reliability(facts, of_b(*p)).ece < 0.02
    assert reliability(facts, of_b(*(p > 0.5).astype(float))).ece == pytest.approx(0.25, abs=0.01)


def test_the_surest_rows_are_kept_first() -> None:
    coverage, accuracy = kept(Facts("classes", TWO, np.array([1, 0, 1])), of_b(0.6, 0.1, 0.3))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(accuracy, [1, 0.5, 2 / 3])
