"""Coverage of intervals and levels of tests, over a thousand simulated studies with known truth."""

import pytest

from tests.evaluation.simulations import bootstrap_rejects, coverage, fair_flagged, repeats_reject, units_flagged

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("n", [500, 2000])
def test_intervals_of_accuracy_cover_the_truth_in_93_to_97_percent(n: int) -> None:
    share = coverage(1000, n=n, n_draws=2000)
    print(f"accuracy, n {n}: 95 % intervals cover the truth in {share:.1%} of 1,000 simulations")
    assert 0.93 <= share <= 0.97


def test_paired_tests_keep_their_level() -> None:
    by_draws, (by_repeats, uncorrected_rate) = bootstrap_rejects(1000, n=500, n_draws=1000), repeats_reject(1000)
    print(f"equal runs: paired bootstrap {by_draws:.1%}, repeats {by_repeats:.1%} (uncorrected {uncorrected_rate:.1%})")
    assert by_draws <= 0.07
    assert by_repeats <= 0.07


def test_a_fair_model_is_rarely_flagged() -> None:
    shares = fair_flagged(2000, is_counted=True), fair_flagged(500, is_counted=False)
    print(f"a fair model: a group of 14 flagged in {shares[0]:.1%} (errors 0 or 1) and {shares[1]:.1%} of studies")
    assert max(shares) <= 0.05


SITES = {
    "alike": [(5, 20), (10, 20), (10, 20), (15, 20)],
    "few large units": [(5, 30), (40, 3), (30, 3)],
    "many small units": [(30, 3), (8, 60), (8, 60)],
    "two of five": [(5, 30), (5, 30)],
}


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("spread", [0.0, 0.05, 0.1])
def test_fair_sites_are_rarely_flagged_and_harmed_ones_mostly(name: str, spread: float) -> None:
    fair = units_flagged(400, SITES[name], harm=0.0, spread=spread)
    harmed_rate = units_flagged(400, SITES[name], harm=0.3, spread=spread)
    print(f"sites {name}, sd between patients {spread}: fair {fair:.1%} flagged, harmed by .3 {harmed_rate:.1%}")
    assert fair <= 0.07
    assert harmed_rate >= 0.9
