"""Draws, and the intervals that come of them."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from featx.evaluation.intervals import N_DRAWS, Resamples, drawn_scores, interval, intervals, wilson
from featx.facts import Facts
from featx.scoring import Scorer
from tests.evaluation.simulations import coverage

TWO = ("a", "b")
Y = np.repeat([0, 1], [70, 30])
FACTS = Facts("classes", TWO, Y)


def counted(resamples: Resamples) -> np.ndarray:
    return np.concatenate(list(resamples.counts()), axis=1)


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(k / n, n), (expected.low, expected.high), atol=1e-12)


def test_every_draw_keeps_the_classes_sizes() -> None:
    counts = counted(Resamples.of(FACTS))
    assert counts.shape == (100, N_DRAWS)
    assert (counts[Y == 0].sum(0) == 70).all()
    assert (counts[Y == 1].sum(0) == 30).all()
    assert counts.var() == pytest.approx(1, abs=0.05)  # with replacement


def test_numbers_are_drawn_from_all_rows() -> None:
    counts = counted(Resamples.of(Facts("numbers", ("x",), Y[:, None].astype(float))))
    assert (counts.sum(0) == 100).all()
    assert counts[Y == 0].sum(0).std() > 1


def test_groups_are_drawn_whole() -> None:
    groups = np.repeat([f"g{i}" for i in range(20)], 5)
    counts = counted(Resamples.of(FACTS, groups)).reshape(20, 5, -1)
    assert (counts == counts[:, :1]).all()
    assert (counts[:, 0].sum(0) == 20).all()
    assert counts.max() > 1


def test_equal_seeds_give_equal_draws_and_others_do_not() -> None:
    resamples = Resamples.of(FACTS)
    np.testing.assert_array_equal(counted(resamples), counted(resamples))
    assert (counted(resamples) != counted(replace(resamples, seed=1))).any()


def test_a_groups_draws_are_of_its_own_rows() -> None:
    rows = np.arange(100) % 2 == 0
    inside = Resamples.of(FACTS).within(rows)
    assert (counted(inside)[Y[rows] == 1].sum(0) == 15).all()


def test_all_runs_meet_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1], 100)
    first, second = drawn_scores([Scorer(FACTS, proba), Scorer(FACTS, proba)], Resamples.of(FACTS))
    for name, draws in first.items():
        np.testing.assert_array_equal(draws, second[name])
    assert first["accuracy"].std() > 0.01


def test_an_interval_holds_the_middle_draws() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.array([math.nan, 1.0])) == (1.0, 1.0)
    assert all(math.isnan(edge) for edge in interval(np.array([math.nan])))


def test_a_run_without_mistakes_is_not_certain() -> None:
    scorer = Scorer(FACTS, np.eye(2)[Y])
    resamples = Resamples.of(FACTS)
    (draws,) = drawn_scores([scorer], resamples)
    assert intervals(scorer, draws, resamples)["accuracy"] == pytest.approx(wilson(1.0, 100))


def test_intervals_of_accuracy_hold_the_truth() -> None:
    assert 0.92 <= coverage(300, n=500, n_draws=500) <= 0.98


def test_memory_does_not_grow_with_draws_times_rows() -> None:
    facts = Facts("classes", TWO, np.random.default_rng(0).integers(0, 2, 20_000))
    scorer = Scorer(facts, np.random.default_rng(1).dirichlet([1, 1], 20_000), ["accuracy", "auc_ovr"])
    tracemalloc.start()
    drawn_scores([scorer], replace(Resamples.of(facts), n_draws=200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 200 * 8  # bytes of all draws at once
