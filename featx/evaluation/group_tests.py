"""Tests of a group's mean error against that of the other rows, and the effect of one threshold per group."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

from featx.evaluation.equivalence import MAX_ROUNDING_ERROR
from featx.evaluation.unit_permutations import UnitErrors, unit_permutation_p
from featx.tables.ids import Floats
from featx.tables.target_values import MIN_LABEL_PROBABILITY

N_PERMUTATIONS = 2000
N_FOLDS = 5
# Number of permuted errors in memory at a time.
MAX_ERRORS_IN_MEMORY = 2**20


def group_p_values(
    errors: Floats, group_masks: Sequence[NDArray[np.bool_]], units: NDArray[np.intp] | None = None
) -> list[float]:
    """Return for each group the two-sided p-value that its mean error is that of a random group of its size.

    Errors of 0 and 1 are tested by Fisher's exact test, other errors by permutations; beyond the resolution of the
    permutations p is the normal tail. If some units have several rows, whole units are permuted.

    Parameters
    ----------
    errors
        (n,) errors of the rows.
    group_masks
        (n,) masks, one per group: whether each row belongs to it.
    units
        (n,) codes of the units that are sampled independently; by default each row is a unit.
    """
    if not group_masks or not len(errors):
        return [1.0] * len(group_masks)
    if units is not None and len(codes := np.unique(units, return_inverse=True)[1]) > codes.max() + 1:
        return unit_permutation_p(UnitErrors(errors, codes, np.stack(group_masks)))
    if np.ptp(errors) == 0:
        return [1.0] * len(group_masks)
    p = _fisher_p(errors, group_masks) if np.isin(errors, (0.0, 1.0)).all() else _permutation_p(errors, group_masks)
    return [float(value) for value in np.minimum(p, 1.0)]


def _fisher_p(errors: Floats, group_masks: Sequence[NDArray[np.bool_]]) -> Floats:
    """Return (g,) p-values of Fisher's exact test; errors are 0 or 1."""
    # This import takes most of a second, and few studies need it.
    from scipy.stats import hypergeom

    sizes = np.array([rows.sum() for rows in group_masks])
    sums = np.array([errors[rows].sum() for rows in group_masks])
    distribution = hypergeom(len(errors), round(errors.sum()), sizes)
    return np.asarray(2 * np.minimum(distribution.cdf(sums), distribution.sf(sums - 1)))


def _permutation_p(errors: Floats, group_masks: Sequence[NDArray[np.bool_]]) -> Floats:
    """Return (g,) p-values by permutations of the rows."""
    n, sizes = len(errors), np.array([rows.sum() for rows in group_masks])
    matrix = sparse.csr_array(np.stack(group_masks).astype(np.float64))
    expected_sums = errors.mean() * sizes
    observed = np.abs(np.array([errors[rows].sum() for rows in group_masks]) - expected_sums)
    rng = np.random.default_rng(0)
    exceeding = np.zeros(len(group_masks))
    block_size = max(1, MAX_ERRORS_IN_MEMORY // n)
    for start in range(0, N_PERMUTATIONS, block_size):
        m = min(block_size, N_PERMUTATIONS - start)
        permuted_errors = rng.permuted(np.tile(errors, (m, 1)), axis=1)
        differences = np.abs(matrix @ permuted_errors.T - expected_sums[:, None])
        exceeding += (differences >= observed[:, None] * (1 - 1e-9)).sum(1)
    spread = np.sqrt(errors.var(ddof=1) * sizes * (1 - sizes / n))
    tail = 2 * ndtr(-np.divide(observed, spread, out=np.zeros_like(observed), where=spread > 0))
    resolution = 1 / (N_PERMUTATIONS + 1)
    return np.where(exceeding == 0, np.minimum(resolution, tail), (exceeding + 1) * resolution)


def cross_fit_threshold(y: Floats, proba: Floats, units: NDArray[np.intp]) -> tuple[float, float]:
    """Return the threshold of one group, and the accuracy with thresholds that were fitted to other units.

    The rows of each fold are decided with the threshold that gives the most correct predictions in the other folds. The
    threshold of the group is the median over the folds.

    Parameters
    ----------
    y, proba
        (n,) true probabilities of class 1, which are 0 or 1 without soft labels; and those that are predicted.
    units
        (n,) codes of the units that are sampled independently; all rows of a unit are in one fold.
    """
    codes = np.unique(units, return_inverse=True)[1]
    folds = (np.random.default_rng(0).permutation(codes.max() + 1) % N_FOLDS)[codes]
    thresholds = np.array([_best_threshold(y[folds != fold], proba[folds != fold]) for fold in range(N_FOLDS)])
    correctness = np.where(proba >= thresholds[folds], y, 1.0 - y)
    return float(np.median(thresholds)), float(correctness.mean())


def _best_threshold(y: Floats, proba: Floats) -> float:
    """Return the threshold with the most correct predictions; among equal ones the closest to 0.5."""
    edges = np.unique(proba)
    candidates = np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2, [1.0 + 1e-9], [MIN_LABEL_PROBABILITY]])
    order = np.argsort(proba)
    n_below = np.searchsorted(proba[order], candidates)
    positive_below = np.concatenate([[0.0], np.cumsum(y[order])])[n_below]
    n_right = y.sum() - positive_below + n_below - positive_below
    best = candidates[n_right >= n_right.max() - MAX_ROUNDING_ERROR * len(y)]
    return float(best[np.abs(best - MIN_LABEL_PROBABILITY).argmin()])
