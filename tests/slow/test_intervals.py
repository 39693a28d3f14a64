"""Intervals and tests over a thousand studies whose truth is known."""

import pytest

from tests.evaluation.simulations import bootstrap_rejects, coverage, fair_flagged, repeats_reject

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("n", [500, 2000])
def test_intervals_of_accuracy_hold_the_truth_in_93_to_97_percent(n: int) -> None:
    share = coverage(1000, n=n, n_draws=2000)
    print(f"accuracy, n {n}: intervals of 95 % hold the truth in {share:.1%} of 1,000 simulations")
    assert 0.93 <= share <= 0.97


def test_tests_reject_no_more_than_they_should() -> None:
    by_draws, (by_repeats, plain) = bootstrap_rejects(1000, n=500, n_draws=1000), repeats_reject(1000)
    print(f"nothing differs: paired bootstrap {by_draws:.1%}, repeats {by_repeats:.1%} (uncorrected {plain:.1%})")
    assert by_draws <= 0.07
    assert by_repeats <= 0.07


def test_a_fair_model_is_rarely_flagged() -> None:
    shares = fair_flagged(2000, is_counted=True), fair_flagged(500, is_counted=False)
    print(f"a fair model: a group of 14 flagged in {shares[0]:.1%} (errors 0 or 1) and {shares[1]:.1%} of studies")
    assert max(shares) <= 0.05
