"""Tests of differences: published examples, levels and power."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from featx.errors import DataError
from featx.evaluation.paired_tests import bootstrap_p, corrected_interval, corrected_t_test, holm, mcnemar_midp
from tests.evaluation.simulations import bootstrap_rejects, mcnemar_rejects, repeats_reject


def test_mcnemar_equals_the_published_example() -> None:
    """Check Fagerland et al. 2013, table 1: 1 and 7 discordant pairs, exact .0703, mid-p .0391."""
    assert binomtest(1, 8).pvalue == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar_midp(1, 7) == pytest.approx(0.0391, abs=5e-5)


@given(b=st.integers(0, 80), c=st.integers(0, 80))
def test_mid_p_is_the_exact_p_minus_half_the_point_probability(b: int, c: int) -> None:
    exact_p = binomtest(b, b + c).pvalue if b + c else 1.0
    point_p = 2 * binom.pmf(b, b + c, 0.5) if b != c else binom.pmf(b, b + c, 0.5)
    expected = 1.0 if b == c else exact_p - point_p / 2
    assert mcnemar_midp(b, c) == pytest.approx(expected)
    assert mcnemar_midp(c, b) == mcnemar_midp(b, c)


def test_holm_equals_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    with_gap = holm([math.nan, 0.01, 0.04])
    assert math.isnan(with_gap[0])
    assert with_gap[1:] == pytest.approx([0.02, 0.04])
    assert holm([]) == []


def test_mcnemar_rejects_equal_models_at_its_level() -> None:
    paired, _ = mcnemar_rejects(20_000, n=500, first=0.85, second=0.85, share_both_right=0.8)
    assert paired == pytest.approx(0.05, abs=0.02)


def test_a_paired_test_has_more_power_than_an_unpaired_one() -> None:
    paired, unpaired = mcnemar_rejects(5_000, n=500, first=0.88, second=0.84, share_both_right=0.82)
    assert paired > unpaired + 0.2


def test_the_paired_bootstrap_keeps_its_level_and_has_power() -> None:
    assert bootstrap_rejects(500, n=300, n_draws=300) <= 0.07
    assert bootstrap_rejects(30, n=300, n_draws=300, better=0.1) > 0.8


def test_repeats_are_corrected_for_their_overlap() -> None:
    corrected_rate, plain_rate = repeats_reject(300)
    assert corrected_rate <= 0.07
    assert plain_rate > 0.15


def test_one_repeat_has_no_standard_deviation() -> None:
    with pytest.raises(DataError, match="1 repeat has no standard deviation, expected two or more"):
        corrected_t_test([0.1], 0.5)


@pytest.mark.parametrize("noise", [0.0, 1e-17])
def test_equal_differences_have_the_p_of_the_sign_test(noise: float) -> None:
    """The p-value is that of the sign test over the effective number of splits."""
    assert corrected_t_test([0.0, 0.0], 0.5) == 1.0
    for n in (2, 5, 10):
        p = corrected_t_test(np.full(n, 0.02) + noise * np.arange(n), 0.25)
        assert p == pytest.approx(min(1.0, 2 ** (1 - 1 / (1 / n + 0.25))))
        assert p >= binomtest(n, n).pvalue
    assert corrected_t_test(np.full(5, 0.02), 0.0) == pytest.approx(binomtest(5, 5).pvalue)


def test_bootstrap_p_is_small_if_no_draw_crosses_0() -> None:
    draws = np.random.default_rng(0).normal(1, 0.1, 2000)
    assert 0 < bootstrap_p(draws, 1.0, 100) < 1e-15
    assert bootstrap_p(draws - 1, 0.0, 100) == pytest.approx(1, abs=0.1)
    assert bootstrap_p(np.zeros(2000), 0.0, 100) == 1.0
    assert math.isnan(bootstrap_p(np.full(5, math.nan), 0.1, 100))


@pytest.mark.parametrize("noise", [0.0, 1e-16])
def test_constant_draws_have_the_p_of_the_sign_test(noise: float) -> None:
    draws = 0.1 + noise * np.random.default_rng(0).random(2000)
    for n in (3, 8, 40):
        assert bootstrap_p(draws, 0.1, n) == pytest.approx(binomtest(n, n).pvalue)


@pytest.mark.parametrize("n_differing", [1, 3, 5, 6, 20])
def test_bootstrap_p_is_never_below_that_of_the_sign_test(n_differing: int) -> None:
    # Each draw weighs all units, so that differences in one direction never cross 0.
    weights = np.random.default_rng(0).exponential(size=(2000, 1000))
    differences = weights[:, :n_differing].sum(axis=1) / weights.sum(axis=1)
    assert differences.min() > 0
    p = bootstrap_p(differences, n_differing / 1000, n_differing)
    assert p >= binomtest(n_differing, n_differing).pvalue
    assert p == pytest.approx(binomtest(n_differing, n_differing).pvalue, abs=0.001)


def test_the_corrected_interval_ends_at_the_limits_of_the_score() -> None:
    low, high = corrected_interval([0.7, 1.0], 0.25)
    assert low < 0 < 1 < high
    assert corrected_interval([0.7, 1.0], 0.25, (0.0, 1.0)) == (0.0, 1.0)
    assert corrected_interval([0.7, 1.0], 0.25, (0.0, math.inf)) == (0.0, high)
