"""Decisions and losses of single rows, and the scores that are their means."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import xlogy

from featx.metrics.reliability import binned, binned_by_class, expected_error, squared_distances, true_shares
from featx.metrics.score_kinds import Columns, Floats, Outputs, Summed, mean_over_rows
from featx.tables.decision_rule import decide_codes
from featx.tables.target_values import TargetValues

MIN_PROBABILITY = 1e-15
# An image is predicted to have a label from this probability on.
MIN_LABEL_PROBABILITY = 0.5


def predict_classes(targets: TargetValues, outputs: Outputs) -> NDArray[np.int64]:
    """Return the (n,) codes of the predicted classes, by the decision rule of `targets`."""
    return decide_codes(outputs, targets.decision)


def predict_labels(outputs: Outputs) -> NDArray[np.int64]:
    """Return the (n, t) predicted labels in {0, 1}: those with a probability of at least 0.5."""
    return (outputs >= MIN_LABEL_PROBABILITY).astype(np.int64)


def compute_correctness(targets: TargetValues, outputs: Outputs) -> Floats:
    """Return (n,) correctness: 1 for a right decision, 0 for a wrong one; with several labels, the share of right ones.

    With soft labels, the correctness is the probability of the predicted class.
    """
    if targets.kind == "classes":
        return true_shares(targets, predict_classes(targets, outputs))
    return np.asarray((predict_labels(outputs) == targets.y).mean(1))


def log_losses(targets: TargetValues, outputs: Outputs) -> Floats:
    """Return (n,) log losses: -log of the probability of the truth, in nats; probabilities are clipped at 1e-15.

    Soft labels weigh each class by its probability. With several labels, the loss is the mean over the labels.
    """
    proba = np.clip(outputs, MIN_PROBABILITY, 1.0)
    if targets.kind == "labels":
        complement = np.clip(1 - outputs, MIN_PROBABILITY, 1.0)
        return np.asarray(-(xlogy(targets.y, proba) + xlogy(1 - targets.y, complement)).mean(1))
    if targets.shares is not None:
        return np.asarray(-xlogy(targets.shares, proba).sum(1))
    return np.asarray(-np.log(proba[np.arange(len(targets)), targets.y]))


def _all_right(targets: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray((predict_labels(outputs) == targets.y).all(1), dtype=np.float64)


def _n_steps(targets: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray(np.abs(predict_classes(targets, outputs) - targets.y), dtype=np.float64)


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


ACCURACY = mean_over_rows(compute_correctness)
EXACT_MATCH = mean_over_rows(_all_right)
LOG_LOSS = mean_over_rows(log_losses)
BRIER = mean_over_rows(squared_distances)
MAE_STEPS = mean_over_rows(_n_steps)
ECE = Summed(_bin_columns, expected_error)
CLASSWISE_ECE = Summed(_class_bin_columns, expected_error)
