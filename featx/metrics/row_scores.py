"""Scores that are means over rows, and calibration errors, which are sums over rows in bins."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from featx.metrics.class_scores import is_ordered
from featx.metrics.reliability import binned, binned_by_class, expected_error
from featx.metrics.score_kinds import Columns, MeanScore, Outputs, mean_over_rows
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues


def _all_right(targets: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray(targets.are_right(outputs).all(1), dtype=np.float64)


def _n_steps(targets: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray(np.abs(targets.decisions(outputs) - targets.y), dtype=np.float64)


def _bin_columns(targets: TargetValues, outputs: Outputs) -> Columns:
    """Return (n, bins) probability minus observed share in each bin; the predictions of a row have total weight 1."""
    return _in_bins(targets, *binned(targets, outputs))


def _class_bin_columns(targets: TargetValues, outputs: Outputs) -> Columns:
    """Return the same as (n, k bins); each class or label has its own bins, so that errors cannot cancel."""
    return _in_bins(targets, *binned_by_class(targets, outputs))


def _in_bins(targets: TargetValues, bins: NDArray[np.intp], differences: Floats) -> Columns:
    rows = np.repeat(np.arange(len(targets)), bins.shape[1])
    shape = (len(targets), int(bins.max(initial=0)) + 1)
    return sparse.csr_array((differences.ravel() / bins.shape[1], (rows, bins.ravel())), shape=shape)


ACCURACY = mean_over_rows("accuracy", lambda targets, outputs: targets.correctness(outputs))
EXACT_MATCH = mean_over_rows("exact_match", _all_right)
LOG_LOSS = mean_over_rows(
    "log_loss",
    lambda targets, outputs: targets.log_losses(outputs),
    greater_is_better=False,
    limits=(0.0, math.inf),
    unit="nats",
)
LABEL_BRIER = mean_over_rows(
    "brier", lambda targets, outputs: targets.squared_distances(outputs), greater_is_better=False
)
# The distances are summed over classes, and averaged over labels.
CLASS_BRIER = replace(LABEL_BRIER, limits=(0.0, 2.0))
MAE_STEPS = mean_over_rows(
    "mae_steps", _n_steps, greater_is_better=False, limits=(0.0, math.inf), unit="classes", is_defined=is_ordered
)
ECE = MeanScore(name="ece", rows=_bin_columns, finish=expected_error, greater_is_better=False, is_biased=True)
CLASSWISE_ECE = replace(ECE, name="classwise_ece", rows=_class_bin_columns)
