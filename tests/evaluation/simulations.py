"""Simulated studies with known truth: coverage of intervals, and level and power of tests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, ttest_1samp

from featx.evaluation.comparison import compare
from featx.evaluation.cost import Cost
from featx.evaluation.group_membership import GroupMembership
from featx.evaluation.group_scores import GroupPredictions, score_groups
from featx.evaluation.group_tests import group_p_values
from featx.evaluation.intervals import Resamples, draw_scores, percentile_interval
from featx.evaluation.paired_tests import bootstrap_p, corrected_t_test, holm, mcnemar_midp
from featx.evaluation.recommendation import choose_run, recommend
from featx.metrics.definitions import Scorer
from featx.tables.predictions import Predictions
from featx.tables.target_values import ClassTargets
from featx.tables.truth import Truth

Floats = NDArray[np.float64]
ACCURACIES = np.array([0.9, 0.7])  # of the two classes


def coverage(n_simulations: int, n: int, n_draws: int) -> float:
    """Return the share of intervals of accuracy that cover the true value; both classes are equally likely."""
    rng = np.random.default_rng(0)
    n_covered = 0
    for seed in range(n_simulations):
        y = rng.integers(0, 2, n)
        y_pred = np.where(rng.random(n) < ACCURACIES[y], y, 1 - y)
        targets = ClassTargets(("a", "b"), y)
        resamples = replace(Resamples.of(len(targets)), n_draws=n_draws, seed=seed)
        (draws,) = draw_scores([Scorer(targets, np.eye(2)[y_pred], ["accuracy"])], resamples)
        low, high = percentile_interval(draws["accuracy"])
        n_covered += low <= ACCURACIES.mean() <= high
    return n_covered / n_simulations


def mcnemar_rejects(
    n_simulations: int, n: int, first: float, second: float, share_both_right: float
) -> tuple[float, float]:
    """Return how often McNemar's mid-p and the test of two independent proportions reject.

    Parameters
    ----------
    first, second
        Accuracies of the models.
    share_both_right
        Share of rows that both predict correctly.
    """
    rng = np.random.default_rng(1)
    cells = [
        share_both_right,
        first - share_both_right,
        second - share_both_right,
        1 - first - second + share_both_right,
    ]
    n_both, only_first, only_second, _ = rng.multinomial(n, cells, n_simulations).T
    p = (n_both + only_first) / n, (n_both + only_second) / n
    pooled = (p[0] + p[1]) / 2
    unpaired = 2 * norm.sf(abs(p[0] - p[1]) / np.sqrt(2 * pooled * (1 - pooled) / n))
    return float((mcnemar_midp(only_first, only_second) < 0.05).mean()), float((unpaired < 0.05).mean())


def bootstrap_rejects(n_simulations: int, n: int, n_draws: int, better: float = 0.0) -> float:
    """Return how often the paired bootstrap rejects equal macro F1 of two models of three classes."""
    rng = np.random.default_rng(2)
    rejected = 0
    for seed in range(n_simulations):
        y = rng.integers(0, 3, n)
        # Both models find the same rows hard.
        hard = rng.random(n)
        targets = ClassTargets(("a", "b", "c"), y)
        scorers = []
        for share in (0.8, 0.8 + better):
            is_wrong = (hard + rng.normal(0, 0.1, n)) > share
            scorers.append(Scorer(targets, np.eye(3)[np.where(is_wrong, (y + 1) % 3, y)], ["macro_f1"]))
        draws = draw_scores(scorers, replace(Resamples.of(len(targets)), n_draws=n_draws, seed=seed))
        difference = scorers[1].plain()["macro_f1"] - scorers[0].plain()["macro_f1"]
        rejected += bootstrap_p(draws[1]["macro_f1"] - draws[0]["macro_f1"], difference, n) < 0.05
    return rejected / n_simulations


def repeats_reject(n_simulations: int, n: int = 120, repeats: int = 10) -> tuple[float, float]:
    """Return how often the corrected and the plain t-test reject equal learners over repeated splits.

    Each learner thresholds one of two equally good features half way between the means of the classes.
    """
    rng = np.random.default_rng(3)
    n_test = n // 3
    corrected_p, plain_p = [], []
    for _ in range(n_simulations):
        y = rng.permutation(np.arange(n) % 2)
        x = rng.normal(y[:, None], 1.0, (n, 2))
        differences = []
        for _ in range(repeats):
            order = rng.permutation(n)
            test, train = order[:n_test], order[n_test:]
            cut = (x[train][y[train] == 0].mean(0) + x[train][y[train] == 1].mean(0)) / 2
            scores = ((x[test] > cut) == y[test, None]).mean(0)
            differences.append(scores[0] - scores[1])
        corrected_p.append(corrected_t_test(differences, n_test / (n - n_test)))
        plain_p.append(float(ttest_1samp(differences, 0).pvalue) if np.ptp(differences) else 1.0)
    return float((np.array(corrected_p) < 0.05).mean()), float((np.array(plain_p) < 0.05).mean())


def fair_flagged(n_simulations: int, *, is_counted: bool) -> float:
    """Return how often one of 14 groups of 200 rows with equal error distributions is flagged.

    Parameters
    ----------
    is_counted
        Whether errors are 0 or 1; otherwise they are continuous.
    """
    rng = np.random.default_rng(0)
    n_flagged = 0
    for _ in range(n_simulations):
        errors = (rng.random(200) < 0.15).astype(float) if is_counted else rng.exponential(5, 200)
        site, sex = rng.integers(0, 4, 200), rng.integers(0, 2, 200)
        group_masks = [site == code for code in range(4)] + [sex == code for code in range(2)]
        group_masks += [(site == a) & (sex == b) for a in range(4) for b in range(2)]
        n_flagged += min(holm(group_p_values(errors, group_masks))) < 0.05
    return n_flagged / n_simulations


def units_flagged(n_simulations: int, sites: Sequence[tuple[int, int]], *, harm: float, spread: float) -> float:
    """Return how often a site of whole patients is flagged; if `harm` is positive, how often the first one is.

    Parameters
    ----------
    sites
        Number of patients, and images of each patient on average, of each site.
    harm
        Decrease of the accuracy of the first site; 0 for fair studies, in which any flag counts.
    spread
        Standard deviation of the patients' accuracies, about .85.
    """
    rng = np.random.default_rng(5)
    n_flagged = 0
    for _ in range(n_simulations):
        patients = [(site, size) for site, (n, size) in enumerate(sites) for _ in range(n)]
        sizes = np.array([1 + int(size * rng.uniform(0.5, 1.5)) for _, size in patients])
        site = np.repeat([site_code for site_code, _ in patients], sizes)
        accuracy = np.clip(rng.normal(0.85, spread, len(patients)), 0.7, 1.0)
        right = rng.random(len(site)) < np.repeat(accuracy, sizes) - harm * (site == 0)
        targets = ClassTargets(("a", "b"), rng.integers(0, 2, len(site)))
        predictions = GroupPredictions(
            targets, np.eye(2)[np.where(right, targets.y, 1 - targets.y)], np.repeat(np.arange(len(sizes)), sizes)
        )
        (grouping,) = score_groups(
            predictions, [GroupMembership("site", site, tuple(map(str, range(len(sites)))), ordered=False)]
        )
        p = [group.p_holm < 0.05 for group in grouping.groups if group.p_holm is not None]
        n_flagged += grouping.groups[0].is_flagged if harm else any(p)
    return n_flagged / n_simulations


@dataclass(frozen=True)
class SelectionStudies:
    """Results of studies in which the best of many runs is chosen on val.

    Attributes
    ----------
    regrets
        (s,) true accuracy of the best run minus that of the recommended run.
    wrong_claims
        Share of studies in which another run than the chosen one is recommended, and is worse than the best by more
        than the margin.
    recommended_others
        Share of studies in which another run than the chosen one is recommended.
    exceeded_bounds
        Share of studies in which the recommended run is worse than the best by more than the stated limit.
    """

    regrets: Floats
    wrong_claims: float
    recommended_others: float
    exceeded_bounds: float


def selection(
    n_simulations: int, n_runs: int, n: int, *, margin: float = 0.02, cliff: bool = False
) -> SelectionStudies:
    """Return the results of choosing and recommending runs of known accuracy; worse runs are cheaper.

    Parameters
    ----------
    n
        Number of val rows.
    cliff
        Whether all runs but the best are worse by slightly more than the margin, the hardest case; by default their
        accuracies are spread evenly over .1.
    """
    rng = np.random.default_rng(6)
    regrets, n_wrong, n_recommended_others, n_exceeded = [], 0, 0, 0
    for _ in range(n_simulations):
        losses = np.linspace(0, 0.1, n_runs) if not cliff else np.where(np.arange(n_runs) > 0, 1.05 * margin, 0.0)
        y = rng.integers(0, 2, n)
        ids = np.array([f"i{i}" for i in range(n)], dtype=object)
        truth = Truth(ids, y, ("a", "b"))
        common, tables = rng.normal(0, 1, n), {}
        for i, loss in enumerate(losses):
            # Rows that are hard for one run are mostly hard for the others.
            hard = norm.cdf(np.sqrt(0.85) * common + np.sqrt(0.15) * rng.normal(0, 1, n)) > 0.9 - loss
            tables[str(i)] = Predictions.of_part("val", ids, np.eye(2)[np.where(hard, 1 - y, y)], truth.classes)
        costs = {name: Cost(1.0, 100.0 * 1.5 ** int(name), 1) for name in tables}
        scores = {name: float((table.codes == y).mean()) for name, table in tables.items()}
        chosen_run = choose_run(scores, set(), costs)
        comparison = compare(truth, {chosen_run: tables[chosen_run], **tables}, "accuracy", margin=margin)
        advice = recommend(comparison, costs, set(), f"{n} val rows")
        regret = losses[int(advice.run)]
        regrets.append(regret)
        n_wrong += advice.run != chosen_run and regret > margin
        n_recommended_others += advice.run != chosen_run
        n_exceeded += regret > comparison.runs[advice.run].max_gap_to_best
    return SelectionStudies(
        np.array(regrets), n_wrong / n_simulations, n_recommended_others / n_simulations, n_exceeded / n_simulations
    )
