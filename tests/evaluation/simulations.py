"""Studies whose truth is known: how often an interval holds it, and how often a test sees what is not there."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, ttest_1samp

from featx.evaluation.disparities import apart_by_chance
from featx.evaluation.intervals import Resamples, drawn_scores, interval
from featx.evaluation.paired import bootstrap_p, corrected_t, holm, mcnemar_midp
from featx.facts import Facts
from featx.scoring import Scorer

Floats = NDArray[np.float64]
ACCURACIES = np.array([0.9, 0.7])  # of the two classes


def coverage(n_simulations: int, n: int, n_draws: int) -> float:
    """Return the share of intervals of accuracy that hold the truth; classes are as likely as each other."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(n_simulations):
        y = rng.integers(0, 2, n)
        guessed = np.where(rng.random(n) < ACCURACIES[y], y, 1 - y)
        facts = Facts("classes", ("a", "b"), y)
        resamples = replace(Resamples.of(facts), n_draws=n_draws, seed=seed)
        (draws,) = drawn_scores([Scorer(facts, np.eye(2)[guessed], ["accuracy"])], resamples)
        low, high = interval(draws["accuracy"])
        held += low <= ACCURACIES.mean() <= high
    return held / n_simulations


def mcnemar_rejects(n_simulations: int, n: int, first: float, second: float, together: float) -> tuple[float, float]:
    """Return how often McNemar's mid-p and the test of two independent shares see a difference.

    Parameters
    ----------
    first, second
        The models' accuracies.
    together
        The share of rows that both have right.
    """
    rng = np.random.default_rng(1)
    cells = [together, first - together, second - together, 1 - first - second + together]
    both, only_first, only_second, _ = rng.multinomial(n, cells, n_simulations).T
    p = (both + only_first) / n, (both + only_second) / n
    pooled = (p[0] + p[1]) / 2
    unpaired = 2 * norm.sf(abs(p[0] - p[1]) / np.sqrt(2 * pooled * (1 - pooled) / n))
    return float((mcnemar_midp(only_first, only_second) < 0.05).mean()), float((unpaired < 0.05).mean())


def bootstrap_rejects(n_simulations: int, n: int, n_draws: int, better: float = 0.0) -> float:
    """Return how often the paired bootstrap sees a difference of macro F1 between two models of three classes."""
    rng = np.random.default_rng(2)
    rejected = 0
    for seed in range(n_simulations):
        y = rng.integers(0, 3, n)
        hard = rng.random(n)  # which rows are hard is common to both
        facts = Facts("classes", ("a", "b", "c"), y)
        scorers = []
        for share in (0.8, 0.8 + better):
            wrong = (hard + rng.normal(0, 0.1, n)) > share
            scorers.append(Scorer(facts, np.eye(3)[np.where(wrong, (y + 1) % 3, y)], ["macro_f1"]))
        draws = drawn_scores(scorers, replace(Resamples.of(facts), n_draws=n_draws, seed=seed))
        seen = scorers[1].plain()["macro_f1"] - scorers[0].plain()["macro_f1"]
        rejected += bootstrap_p(draws[1]["macro_f1"] - draws[0]["macro_f1"], seen) < 0.05
    return rejected / n_simulations


def repeats_reject(n_simulations: int, n: int = 120, repeats: int = 10) -> tuple[float, float]:
    """Return how often the corrected and the plain t-test see a difference between equal learners over re-splits.

    Both cut one of two equally good features half way between the classes' means.
    """
    rng = np.random.default_rng(3)
    n_test = n // 3
    corrected, plain = [], []
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
        corrected.append(corrected_t(differences, n_test / (n - n_test)))
        plain.append(float(ttest_1samp(differences, 0).pvalue) if np.ptp(differences) else 1.0)
    return float((np.array(corrected) < 0.05).mean()), float((np.array(plain) < 0.05).mean())


def fair_flagged(n_simulations: int, *, is_counted: bool) -> float:
    """Return how often one of 14 groups of 200 rows, whose errors are all alike, is told from the others.

    Parameters
    ----------
    is_counted
        Whether errors are 0 or 1, or of any size.
    """
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(n_simulations):
        wrong = (rng.random(200) < 0.15).astype(float) if is_counted else rng.exponential(5, 200)
        site, sex = rng.integers(0, 4, 200), rng.integers(0, 2, 200)
        inside = [site == code for code in range(4)] + [sex == code for code in range(2)]
        inside += [(site == a) & (sex == b) for a in range(4) for b in range(2)]
        flagged += min(holm(apart_by_chance(wrong, inside))) < 0.05
    return flagged / n_simulations
