"""Whether a group's errors lie apart from the others' by more than chance, and what thresholds of its own would do."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

from featx.evaluation.unit_permutations import UnitErrors, unit_permutation_p
from featx.metrics.row_scores import FEWEST_DECIDED, right
from featx.tables.target_values import TargetValues

Floats = NDArray[np.float64]
N_SHUFFLES = 2000
N_FOLDS = 5
CHUNK = 2**20  # shuffled errors that are held at a time


def errors(facts: TargetValues, outputs: Floats) -> Floats:
    """(n,) how wrong each row is: 0 or 1 of a class, the share of labels, the mean absolute error of numbers."""
    if facts.kind == "numbers":
        return np.asarray(np.abs(outputs - facts.y).mean(1))
    return 1 - right(facts, outputs)


def apart_by_chance(
    wrong: Floats, inside: Sequence[NDArray[np.bool_]], units: NDArray[np.intp] | None = None, seed: int = 0
) -> list[float]:
    """Return for each group the two-sided p that its mean error is that of a random group of its size.

    Errors of 0 and 1 are counted exactly (Fisher's test); others are permuted, and beyond the resolution of the
    permutations p is the normal tail. Where several rows are one unit, units are permuted.

    Parameters
    ----------
    wrong
        (n,) errors.
    inside
        For each group (n,) which rows are of it.
    units
        (n,) codes of what is sampled independently; None where each row is.
    """
    if not inside or not len(wrong):
        return [1.0] * len(inside)
    if units is not None and len(codes := np.unique(units, return_inverse=True)[1]) > codes.max() + 1:
        return unit_permutation_p(UnitErrors(wrong, codes, np.stack(inside)), seed)
    if np.ptp(wrong) == 0:
        return [1.0] * len(inside)
    n, sizes = len(wrong), np.array([rows.sum() for rows in inside])
    sums = np.array([wrong[rows].sum() for rows in inside])
    if np.isin(wrong, (0.0, 1.0)).all():
        from scipy.stats import hypergeom  # takes most of a second to import, and few studies need it

        of = hypergeom(n, round(wrong.sum()), sizes)
        return [float(p) for p in np.minimum(2 * np.minimum(of.cdf(sums), of.sf(sums - 1)), 1.0)]
    matrix = sparse.csr_array(np.stack(inside).astype(np.float64))
    expected = wrong.mean() * sizes
    seen = np.abs(sums - expected)
    rng = np.random.default_rng(seed)
    beyond = np.zeros(len(inside))
    done = 0
    while done < N_SHUFFLES:
        m = min(N_SHUFFLES - done, max(1, CHUNK // n))
        shuffled = rng.permuted(np.tile(wrong, (m, 1)), axis=1)
        beyond += (np.abs(matrix @ shuffled.T - expected[:, None]) >= seen[:, None] * (1 - 1e-9)).sum(1)
        done += m
    spread = np.sqrt(wrong.var(ddof=1) * sizes * (1 - sizes / n))
    tail = 2 * ndtr(-np.divide(seen, spread, out=np.zeros_like(seen), where=spread > 0))
    finest = 1 / (N_SHUFFLES + 1)
    p = np.where(beyond == 0, np.minimum(finest, tail), (beyond + 1) * finest)
    return [float(one) for one in np.minimum(p, 1.0)]


def own_thresholds(codes: NDArray[np.intp], y: NDArray[np.int64], proba: Floats, least: int) -> tuple[Floats, Floats]:
    """Return what a threshold for each group would change, by cross-fitting.

    Each fifth of the rows is decided with thresholds that the others chose: those with the most right answers there.

    Parameters
    ----------
    codes
        (n,) groups, -1 where there is none.
    y, proba
        (n,) 0 or 1, and the probability of 1.
    least
        Rows of a group below which it keeps the threshold of a half.

    Returns
    -------
    thresholds, right
        (g,) of each group, the median over the folds; and (n,) whether each row is then right.
    """
    n_groups = int(codes.max(initial=-1)) + 1
    found = np.full((N_FOLDS, n_groups), FEWEST_DECIDED)
    is_right = ((proba >= FEWEST_DECIDED) == y).astype(np.float64)
    for group in range(n_groups):
        rows = np.flatnonzero(codes == group)
        if len(rows) < least:
            continue
        fold = np.random.default_rng(0).permutation(len(rows)) % N_FOLDS
        for number in range(N_FOLDS):
            learn, held = rows[fold != number], rows[fold == number]
            found[number, group] = _best_threshold(y[learn], proba[learn])
            is_right[held] = (proba[held] >= found[number, group]) == y[held]
    return np.median(found, axis=0), is_right


def _best_threshold(y: NDArray[np.int64], proba: Floats) -> float:
    """Return the threshold with the most right answers; of equal ones the closest to a half."""
    edges = np.unique(proba)
    cuts = np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2, [1.0 + 1e-9], [FEWEST_DECIDED]])
    order = np.sort(proba[y == 1]), np.sort(proba[y == 0])
    hits = len(order[0]) - np.searchsorted(order[0], cuts) + np.searchsorted(order[1], cuts)
    best = cuts[hits == hits.max()]
    return float(best[np.abs(best - FEWEST_DECIDED).argmin()])
