"""Random weights of rows, and intervals of scores.

Modules: metrics.share_intervals.
"""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binomtest, norm, t

from featx.evaluation.intervals import (
    N_DRAWS,
    Resamples,
    basic_interval,
    draw_scores,
    percentile_interval,
    score_intervals,
)
from featx.metrics.definitions import Scorer
from featx.metrics.share_intervals import wilson_interval
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets, TargetValues
from tests.evaluation.simulations import coverage

TWO = ("a", "b")
Y = np.repeat([0, 1], [70, 30])
FACTS = ClassTargets(TWO, Y)
# Scores at the end of their range: all their draws are on one side of the value.
OFF_CENTRE = {"kappa", "mcc", "quadratic_kappa"}


def draw_weights(resamples: Resamples) -> np.ndarray:
    return np.concatenate(list(resamples.weights()), axis=1)


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_wilson_interval_equals_scipy(n: int, share: float) -> None:
    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson_interval(k / n, n), (expected.low, expected.high), atol=1e-12)


def test_the_wilson_interval_stays_between_0_and_1() -> None:
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
    for n in (1, 3, 7, 10_000_000):
        assert wilson_interval(0.0, n)[0] == 0.0
        assert wilson_interval(1.0, n)[1] == 1.0


@pytest.mark.parametrize("n", [5, 100, 2000])
def test_the_interval_of_a_mean_is_as_wide_as_that_of_students_t(n: int) -> None:
    values = np.random.default_rng(0).normal(0, 1, n)
    draws = values @ draw_weights(Resamples.of(n)) / n
    student = t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    assert norm.ppf(0.975) * draws.std() == pytest.approx(student, rel=0.06)


def test_every_draw_has_weights_of_every_row_with_mean_1() -> None:
    weights = draw_weights(Resamples.of(6))
    assert weights.shape == (6, N_DRAWS)
    assert weights.min() > 0
    assert weights.mean(axis=0) == pytest.approx(1, abs=1e-6)


def test_all_rows_of_a_unit_have_the_same_weight() -> None:
    groups = np.repeat([f"g{i}" for i in range(20)], 5)
    weights = draw_weights(Resamples.of(100, groups)).reshape(20, 5, -1)
    assert (weights == weights[:, :1]).all()
    assert weights[:, 0].mean(axis=0) == pytest.approx(1, abs=1e-6)


def test_draws_are_determined_by_the_seed() -> None:
    resamples = Resamples.of(100)
    np.testing.assert_array_equal(draw_weights(resamples), draw_weights(resamples))
    assert (draw_weights(resamples) != draw_weights(replace(resamples, seed=1))).any()


def test_draws_of_a_group_use_its_own_rows() -> None:
    rows = np.arange(100) % 2 == 0
    group_resamples = Resamples.of(100).within(rows)
    assert (len(group_resamples), group_resamples.n_units) == (50, 50)
    assert draw_weights(group_resamples).sum(axis=0) == pytest.approx(50, abs=1e-6)


def test_all_runs_get_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1], 100)
    first, second = draw_scores([Scorer(FACTS, proba), Scorer(FACTS, proba)], Resamples.of(100))
    for name, draws in first.items():
        np.testing.assert_array_equal(draws, second[name])
    assert first["accuracy"].std() > 0.01


def test_an_interval_encloses_the_middle_draws() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert percentile_interval(np.array([math.nan, 1.0])) == (1.0, 1.0)
    assert all(math.isnan(edge) for edge in percentile_interval(np.array([math.nan])))


def intervals_of(facts: TargetValues, outputs: np.ndarray) -> dict[str, tuple[float, float]]:
    scorer, resamples = Scorer(facts, outputs), Resamples.of(len(facts))
    (draws,) = draw_scores([scorer], resamples)
    return score_intervals(scorer, draws, resamples)


def test_a_run_without_mistakes_has_wilsons_interval_of_accuracy() -> None:
    assert intervals_of(FACTS, np.eye(2)[Y])["accuracy"] == pytest.approx(wilson_interval(1.0, 100))


@pytest.mark.parametrize("n", [12, 200])
@pytest.mark.parametrize("kind", ["perfect", "constant", "wrong"])
def test_no_interval_has_width_0(n: int, kind: str) -> None:
    y = np.arange(n) % 3
    outputs = {"perfect": np.eye(3)[y], "constant": np.full((n, 3), 1 / 3), "wrong": np.eye(3)[(y + 1) % 3]}[kind]
    labels = LabelTargets(("a", "b"), np.stack([y > 0, y > 1], axis=1).astype(int))
    label_outputs = {"perfect": labels.y, "constant": np.full((n, 2), 0.7), "wrong": 1 - labels.y}[kind]
    numbers = NumberTargets(("x", "z"), np.stack([y - 1.5, 2.0 * y - 0.5], axis=1))
    number_outputs = {"perfect": numbers.y, "constant": np.ones((n, 2)), "wrong": numbers.y + 1}[kind]
    facts = ClassTargets(("a", "b", "c"), y, ordered=True)
    for targets, outputs_of_kind in (
        (facts, outputs),
        (labels, label_outputs.astype(float)),
        (numbers, number_outputs),
    ):
        value = Scorer(targets, outputs_of_kind).plain()
        for name, (low, high) in intervals_of(targets, outputs_of_kind).items():
            assert math.isnan(value[name]) or high - low > 1e-4, name
            assert math.isnan(value[name]) or low - 1e-9 <= value[name] <= high + 1e-9 or name in OFF_CENTRE, name


def calibrated(n: int, rng: np.random.Generator, sharpness: float = 1.0) -> tuple[ClassTargets, np.ndarray]:
    """Return n rows and probabilities of two classes, which are too certain with a sharpness above 1."""
    logits = rng.normal(0, 2, n)
    y = (rng.random(n) < expit(logits)).astype(int)
    second = expit(sharpness * logits)
    return ClassTargets(TWO, y), np.stack([1 - second, second], axis=1)


@pytest.mark.parametrize("name", ["ece", "classwise_ece"])
@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_intervals_of_calibration_errors_cover_the_true_error_more_often(name: str, sharpness: float) -> None:
    rng, n_covered, n_covered_by_percentiles = np.random.default_rng(0), 0, 0
    true_value = Scorer(*calibrated(200_000, rng, sharpness), [name]).plain()[name]
    for _ in range(40):
        scorer, resamples = Scorer(*calibrated(300, rng, sharpness), [name]), Resamples(np.arange(300), n_draws=300)
        (draws,) = draw_scores([scorer], resamples)
        low, high = score_intervals(scorer, draws, resamples)[name]
        assert 0 <= low <= scorer.plain()[name] <= high <= 1
        n_covered += low - 0.002 <= true_value <= high
        percentile_low, percentile_high = percentile_interval(draws[name])
        n_covered_by_percentiles += percentile_low - 0.002 <= true_value <= percentile_high
    assert n_covered > n_covered_by_percentiles
    assert sharpness == 1 or n_covered >= 34


def test_the_interval_of_an_undefined_biased_score_is_undefined() -> None:
    assert all(math.isnan(edge) for edge in basic_interval(np.array([math.nan]), math.nan, (0, 1)))


def test_a_constant_predictor_of_12_rows_has_about_wilsons_interval() -> None:
    facts = ClassTargets(TWO, np.arange(12) % 2)
    edges = intervals_of(facts, np.tile([0.9, 0.1], (12, 1)))["accuracy"]
    assert edges == pytest.approx(wilson_interval(0.5, 12), abs=0.1)


def test_intervals_of_accuracy_cover_the_true_value() -> None:
    assert 0.92 <= coverage(300, n=500, n_draws=500) <= 0.98


def test_memory_does_not_grow_with_draws_times_rows() -> None:
    facts = ClassTargets(TWO, np.random.default_rng(0).integers(0, 2, 20_000))
    scorer = Scorer(facts, np.random.default_rng(1).dirichlet([1, 1], 20_000), ["accuracy", "auc_ovr"])
    tracemalloc.start()
    draw_scores([scorer], replace(Resamples.of(len(facts)), n_draws=200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 200 * 8  # bytes of all draws at once
