"""Intervals of the precision, recall and F1 of each class or label, and of the bins of a reliability diagram."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from featx.evaluation.intervals import Resamples
from featx.metrics.class_scores import CLASS_SCORES, count_columns, split_counts
from featx.metrics.reliability import Reliability, bin_numbers, reliability
from featx.metrics.score_kinds import Outputs, divide
from featx.metrics.share_intervals import CONFIDENCE, wilson_interval
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

# Draws that agree up to this do not show how a score varies.
CONSTANT_SPREAD = 1e-9


@dataclass(frozen=True)
class ReliabilityBand:
    """A reliability diagram with the 95 % interval of each bin's observed share.

    Attributes
    ----------
    bins
        Mean probabilities and observed shares of the bins.
    low, high
        (b,) edges of the intervals.
    """

    bins: Reliability
    low: Floats
    high: Floats


def class_intervals(
    runs: Sequence[tuple[TargetValues, Outputs]], resamples: Resamples
) -> list[dict[str, list[tuple[float, float]]]]:
    """Return the 95 % intervals of the scores of each class or label, for several runs on the same rows.

    Parameters
    ----------
    runs
        True values and outputs of each run.
    resamples
        Random weights of the rows, which all runs share.

    Returns
    -------
    list
        One dictionary per run: ``precision``, ``recall`` or ``f1`` → the interval of each class.

    Notes
    -----
    Time O(draws n) for each run. If all draws of a score agree, as those of a class without mistakes do, the interval
    is Wilson's for the number of units with this class as truth or prediction.
    """
    columns = [sparse.csr_array(count_columns(targets, outputs)).T.tocsr() for targets, outputs in runs]
    draws: list[list[Floats]] = [[] for _ in runs]
    for weights in resamples.weights():
        for blocks, matrix in zip(draws, columns, strict=True):
            counts = split_counts(matrix @ weights)
            blocks.append(np.stack([class_score(*counts) for class_score in CLASS_SCORES.values()]))
    return [
        _name_intervals(_edges(np.concatenate(blocks, axis=2)), _n_units(matrix, resamples))
        for blocks, matrix in zip(draws, columns, strict=True)
    ]


def _n_units(columns: "sparse.csr_array", resamples: Resamples) -> NDArray[np.int64]:
    """Return (2, k) numbers of units with each class as truth and as prediction."""
    k = columns.shape[0] // 3
    return _count_units(columns, resamples)[: 2 * k].reshape(2, k)


def _count_units(columns: "sparse.csr_array", resamples: Resamples) -> NDArray[np.int64]:
    """Return the number of units with a positive entry in each row of a (r, n) matrix."""
    spread = sparse.csr_array((np.ones(len(resamples)), (np.arange(len(resamples)), resamples.units)))
    return np.asarray((columns @ spread > 0).sum(axis=1)).reshape(-1)


def _edges(draws: Floats) -> Floats:
    """Return (2, s, k) quantiles of (s, k, m) draws."""
    return np.asarray(np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=2))


def _name_intervals(edges: Floats, n_units: NDArray[np.int64]) -> dict[str, list[tuple[float, float]]]:
    """Return the intervals of each class by the name of the score."""
    intervals_by_score = {}
    for position, name in enumerate(CLASS_SCORES):
        n_rows = n_units[1 if name == "precision" else 0]
        pairs = zip(*edges[:, position].tolist(), n_rows.tolist(), strict=True)
        intervals_by_score[name] = [_widen_constant(low, high, n) for low, high, n in pairs]
    return intervals_by_score


def _widen_constant(low: float, high: float, n_units: int) -> tuple[float, float]:
    return wilson_interval(high, n_units) if high - low <= CONSTANT_SPREAD else (low, high)


def reliability_band(targets: TargetValues, proba: Outputs, resamples: Resamples, n_bins: int) -> ReliabilityBand:
    """Return a reliability diagram with the interval of each bin's observed share, drawn with the same bins.

    Parameters
    ----------
    n_bins
        Number of bins of equal width.
    """
    predicted, observed = targets.predicted_and_observed(proba)
    rows = np.repeat(np.arange(len(predicted)), predicted.shape[1])
    bins = bin_numbers(predicted.ravel(), n_bins)
    shape = (n_bins, len(predicted))
    n_by_row = sparse.csr_array((np.ones(len(bins)), (bins, rows)), shape=shape)
    observed_by_row = sparse.csr_array((observed.ravel(), (bins, rows)), shape=shape)
    shares = [divide(observed_by_row @ weights, n_by_row @ weights) for weights in resamples.weights()]
    diagram = reliability(targets, proba, n_bins)
    is_used = np.bincount(bins, minlength=n_bins) > 0
    draws = np.concatenate(shares, axis=1)[is_used]
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    pairs = zip(low.tolist(), high.tolist(), _count_units(n_by_row, resamples)[is_used].tolist(), strict=True)
    low, high = np.array([_widen_constant(*pair) for pair in pairs]).T
    return ReliabilityBand(diagram, low, high)
