"""Coverage of prediction sets and intervals."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from featx.metrics.conformal import ConformityScores, in_prediction_sets
from featx.tables.target_values import ClassTargets, NumberTargets

SPLITS = 200


def of_numbers(errors: np.ndarray, groups: np.ndarray | None = None) -> ConformityScores:
    """Return the conformity scores of predictions with the given errors."""
    return ConformityScores.of(NumberTargets(("y",), np.zeros((len(errors), 1))), errors[:, None], groups)


def test_the_threshold_has_the_finite_sample_rank() -> None:
    scores = of_numbers(np.arange(1, 20, dtype=float))  # 19 rows: rank ceil(20 · 0.9) = 18
    assert scores.thresholds(0.9).tolist() == [18]
    assert scores.thresholds(0.95).tolist() == [19]
    assert scores.thresholds(0.99).tolist() == [np.inf]  # too few rows for this coverage


def test_the_threshold_has_this_rank_for_any_number_of_rows() -> None:
    for n in range(1, 120):
        errors = np.random.default_rng(n).random(n)
        for coverage in (0.8, 0.9, 0.95, 0.99):
            rank = -int(-(n + 1) * coverage * (1 - 1e-12) // 1)
            expected = np.sort(errors)[rank - 1] if rank <= n else np.inf
            assert of_numbers(errors).thresholds(coverage).tolist() == [expected]


def test_columns_of_numbers_have_thresholds_of_their_own() -> None:
    targets = NumberTargets(("a", "b"), np.zeros((4, 2)))
    scores = ConformityScores.of(targets, np.array([[1.0, -10], [2, 20], [-3, 30], [4, -40]]))
    assert scores.thresholds(0.8).tolist() == [4, 40]


def test_thresholds_of_a_row_come_from_the_other_half() -> None:
    errors = np.arange(40, dtype=float)
    thresholds_before = of_numbers(errors).cross_fitted(0.8)
    errors[7] = 1e6
    changed_rows = np.flatnonzero((of_numbers(errors).cross_fitted(0.8) != thresholds_before)[:, 0])
    assert 7 not in changed_rows


def test_halves_keep_groups_whole() -> None:
    errors, groups = np.arange(40, dtype=float), np.repeat(np.arange(10), 4)
    thresholds_before = of_numbers(errors, groups).cross_fitted(0.8)
    errors[7] = 1e6
    changed_rows = np.flatnonzero((of_numbers(errors, groups).cross_fitted(0.8) != thresholds_before)[:, 0])
    assert not set(groups[changed_rows]) & {groups[7]}


def test_few_groups_give_infinite_thresholds_despite_many_rows() -> None:
    groups = np.repeat(np.arange(8), 100)
    assert of_numbers(np.random.default_rng(0).random(800), groups).thresholds(0.9).tolist() == [np.inf]
    assert np.isfinite(of_numbers(np.random.default_rng(0).random(800), groups).thresholds(0.8)).all()


def test_integer_weights_count_like_repeated_rows() -> None:
    errors, weights = np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 3, 1, 2, 3])
    targets = NumberTargets(("y",), np.zeros((5, 1)), weights)
    weighted = ConformityScores.of(targets, errors[:, None])
    repeated_errors = np.repeat(errors, weights.astype(int))
    # 10 rows beside a new one of the mean weight 2: the mass below has to be 0.6 · 12 = 7.2 of 10
    assert weighted.thresholds(0.6).tolist() == [np.sort(repeated_errors)[7]]
    assert weighted.covered(np.array([[3.0]])) == pytest.approx((repeated_errors <= 3).mean())


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_of_digits_have_the_stated_coverage(coverage: float) -> None:
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=50, C=1e-3).fit(x[:400] / 16, y[:400])
    x, y = x[400:] / 16, y[400:]
    proba, rng = model.predict_proba(x), np.random.default_rng(0)
    targets = ClassTargets(tuple("0123456789"), y)
    coverages = []
    for _ in range(SPLITS):
        order = rng.permutation(len(y))
        calibration, new_rows = order[:500], order[500:]
        (threshold,) = ConformityScores.of(targets.take(calibration), proba[calibration]).thresholds(coverage)
        coverages.append(in_prediction_sets(proba[new_rows], threshold)[np.arange(len(new_rows)), y[new_rows]].mean())
    assert np.mean(coverages) == pytest.approx(coverage, abs=0.02)


def test_intervals_have_the_stated_coverage() -> None:
    x, y = load_diabetes(return_X_y=True)
    y_pred = Ridge(0.1).fit(x[:150], y[:150]).predict(x[150:])[:, None]
    targets, rng = NumberTargets(("y",), y[150:, None]), np.random.default_rng(0)
    scores, coverages = ConformityScores.of(targets, y_pred), []
    for _ in range(SPLITS):
        is_calibration = np.zeros(len(targets), dtype=bool)
        is_calibration[rng.permutation(len(targets))[:150]] = True
        limits = scores.take(is_calibration).thresholds(0.9)
        coverages.append(scores.take(~is_calibration).covered(limits[None]))
    assert np.mean(coverages) == pytest.approx(0.9, abs=0.02)


def errors_of_patients(rng: np.random.Generator, n_patients: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of patients: easy ones have 30 rows each, hard ones 5."""
    is_hard = rng.random(n_patients) < 0.4
    groups = np.repeat(np.arange(n_patients), np.where(is_hard, 5, 30))
    return np.where(is_hard, 4.0, 1.0)[groups] * rng.normal(size=len(groups)), groups


def coverage_of_new_patients(by_group: bool, n_patients: int, coverage: float, n_draws: int) -> float:
    rng, coverages = np.random.default_rng(0), []
    for _ in range(n_draws):
        errors, groups = errors_of_patients(rng, n_patients)
        limits = of_numbers(errors, groups if by_group else None).thresholds(coverage)
        new_errors, groups = errors_of_patients(rng, 20)
        coverages.append(of_numbers(new_errors, groups).covered(limits[None]))
    return float(np.mean(coverages))


def test_thresholds_of_groups_have_the_stated_coverage_on_new_groups() -> None:
    by_rows, by_groups = (coverage_of_new_patients(by_group, 15, 0.9, 300) for by_group in (False, True))
    assert by_rows < 0.885  # what rows that count as exchangeable give
    assert by_groups >= 0.9 - 0.005


def test_sets_of_soft_labels_cover_labels_drawn_from_their_shares() -> None:
    rng, soft_coverages, hard_coverages = np.random.default_rng(0), [], []
    for _ in range(SPLITS):
        p = rng.beta(1.5, 1.5, 300)
        proba = np.stack([1 - p, p], axis=1)
        hard = (p > 0.5).astype(np.int64)
        soft = ClassTargets(("no", "yes"), hard, None, proba)
        new_shares = rng.beta(1.5, 1.5, 300)
        drawn_labels = (rng.random(300) < new_shares).astype(int)
        for targets, coverages in ((soft, soft_coverages), (ClassTargets(("no", "yes"), hard), hard_coverages)):
            limits = ConformityScores.of(targets, proba).thresholds(0.8)
            is_in_set = in_prediction_sets(np.stack([1 - new_shares, new_shares], axis=1), limits)
            coverages.append(is_in_set[np.arange(300), drawn_labels].mean())
    assert np.mean(soft_coverages) == pytest.approx(0.8, abs=0.01)
    assert np.mean(hard_coverages) < 0.75  # what the likeliest class taken for the truth gives


def test_weighted_rows_have_the_coverage_of_the_weighted_population() -> None:
    rng, coverages = np.random.default_rng(0), []
    for _ in range(SPLITS):
        samples = []
        for _ in range(2):
            is_hard = rng.random(300) < 0.5
            errors = np.where(is_hard, 3, 1) * rng.normal(size=300)
            targets = NumberTargets(("y",), np.zeros((300, 1)), np.where(is_hard, 4.0, 1.0))
            samples.append(ConformityScores.of(targets, errors[:, None]))
        coverages.append(samples[1].covered(samples[0].thresholds(0.9)[None]))
    assert np.mean(coverages) == pytest.approx(0.9, abs=0.01)
