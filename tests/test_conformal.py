"""Sets and intervals hold the truth as often as they say."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from featx.conformal import cross_fitted, in_sets, strangeness, thresholds
from featx.facts import Facts

SPLITS = 200


def test_the_threshold_is_the_rank_that_finite_samples_need() -> None:
    strange = np.arange(1, 20, dtype=float)[:, None]  # 19 rows: rank ceil(20 · 0.9) = 18
    assert thresholds(strange, 0.9).tolist() == [18]
    assert thresholds(strange, 0.95).tolist() == [19]
    assert thresholds(strange, 0.99).tolist() == [np.inf]  # 19 rows cannot say


def test_columns_of_numbers_have_thresholds_of_their_own() -> None:
    facts = Facts("numbers", ("a", "b"), np.zeros((4, 2)))
    strange = strangeness(facts, np.array([[1.0, -10], [2, 20], [-3, 30], [4, -40]]))
    assert thresholds(strange, 0.8).tolist() == [4, 40]


def test_a_row_is_judged_by_the_other_half() -> None:
    strange = np.arange(40, dtype=float)[:, None]
    before = cross_fitted(strange, 0.8)
    strange[7] = 1e6
    changed = np.flatnonzero((cross_fitted(strange, 0.8) != before)[:, 0])
    assert 7 not in changed


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_of_digits_cover_what_they_say(coverage: float) -> None:
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=50, C=1e-3).fit(x[:400] / 16, y[:400])
    x, y = x[400:] / 16, y[400:]
    proba, rng = model.predict_proba(x), np.random.default_rng(0)
    facts = Facts("classes", tuple("0123456789"), y)
    covered = []
    for _ in range(SPLITS):
        order = rng.permutation(len(y))
        known, new = order[:500], order[500:]
        (threshold,) = thresholds(strangeness(facts.take(known), proba[known]), coverage)
        covered.append(in_sets(proba[new], threshold)[np.arange(len(new)), y[new]].mean())
    assert np.mean(covered) == pytest.approx(coverage, abs=0.02)


def test_intervals_cover_what_they_say() -> None:
    x, y = load_diabetes(return_X_y=True)
    found = Ridge(0.1).fit(x[:150], y[:150]).predict(x[150:])[:, None]
    facts, rng = Facts("numbers", ("y",), y[150:, None]), np.random.default_rng(0)
    strange, covered = strangeness(facts, found), []
    for _ in range(SPLITS):
        order = rng.permutation(len(strange))
        covered.append((strange[order[150:]] <= thresholds(strange[order[:150]], 0.9)).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
