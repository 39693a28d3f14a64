"""Recommendation of a run among runs whose true accuracies are known."""

import pytest
from scipy.stats import binomtest

from tests.evaluation.simulations import selection

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("n_runs", [3, 10, 40])
@pytest.mark.parametrize(("n", "hardest_case"), [(400, False), (1500, False), (1500, True)])
def test_the_recommended_run_is_within_the_margin_of_the_best(n_runs: int, n: int, hardest_case: bool) -> None:
    """True accuracies are spread evenly over .1 or, in the hardest case, all but the best lie outside the margin.

    In the hardest case the limits may be wrong in 5 % of studies, which is their level. A binomial test checks this.
    """
    n_studies = 200 if hardest_case else 60
    result = selection(n_studies, n_runs, n, cliff=hardest_case)
    within = (result.regrets <= 0.02).mean()
    print(
        f"{n_runs} runs, {n} rows, {'all but one outside the margin' if hardest_case else 'spread over .1'}: "
        f"within the margin {within:.1%}, within the stated limit {1 - result.exceeded_bounds:.1%}, "
        f"a cheaper run is recommended in {result.recommended_others:.1%}, wrongly in {result.wrong_claims:.1%}"
    )
    for share in (result.exceeded_bounds, result.wrong_claims):
        assert binomtest(round(share * n_studies), n_studies, 0.05, alternative="greater").pvalue > 0.05
    assert hardest_case or within >= 0.95
