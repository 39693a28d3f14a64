"""Calibration of probabilities: predicted probabilities compared with observed shares, in bins.

With soft labels, the probability of a class takes the place of the 0 or 1 of a hard label in every formula.

References
----------
.. [1] G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 1950.
.. [2] C. Guo et al., On calibration of modern neural networks, ICML 2017.
.. [3] M. Kull et al., Beyond temperature scaling: obtaining well-calibrated multiclass probabilities with Dirichlet
   calibration, NeurIPS 2019: the classwise expected calibration error.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

N_BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Predicted probabilities and observed shares in b bins of equal width; empty bins are left out.

    Attributes
    ----------
    mean_probability
        (b,) mean predicted probabilities of the bins.
    observed_share
        (b,) observed shares: how often the predicted class or label was true.
    n
        (b,) numbers of predictions in the bins.
    """

    mean_probability: Floats
    observed_share: Floats
    n: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error [2]_, in [0, 1]: the mean distance of both, weighted by the bins' sizes."""
        return float(expected_error((self.mean_probability - self.observed_share) * self.n, self.n.sum()))


def reliability(targets: TargetValues, proba: Floats, n_bins: int = N_BINS) -> Reliability:
    """Return predicted probabilities and observed shares in bins of the probability.

    Parameters
    ----------
    proba
        (n, k) class probabilities; with two classes that of the second class is binned, with more that of the most
        probable class. Or (n, t) label probabilities, all of which are binned.
    n_bins
        Number of bins of equal width; 15 by default.
    """
    predicted, observed = (columns.ravel() for columns in targets.predicted_and_observed(proba))
    bins = bin_numbers(predicted, n_bins)
    n = np.bincount(bins, minlength=n_bins)
    sums = (np.bincount(bins, weights=values, minlength=n_bins) for values in (predicted, observed))
    mean_predicted, mean_observed = (total[n > 0] / n[n > 0] for total in sums)
    return Reliability(mean_predicted, mean_observed, n[n > 0])


def bin_numbers(proba: Floats, n_bins: int) -> NDArray[np.intp]:
    """Return the number of the bin of each probability, among bins of equal width."""
    return np.minimum((proba * n_bins).astype(np.intp), n_bins - 1)


def binned(targets: TargetValues, proba: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the bin of each prediction, and its probability minus observed share; (n, 1), or (n, t) of labels."""
    predicted, observed = targets.predicted_and_observed(proba)
    return bin_numbers(predicted, N_BINS), predicted - observed


def binned_by_class(targets: TargetValues, proba: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return (n, k) bins and differences as `binned` does, for all classes or labels, each with its own bins."""
    return bin_numbers(proba, N_BINS) + N_BINS * np.arange(proba.shape[1]), proba - targets.memberships


def expected_error(differences: Floats, n: ArrayLike) -> Floats:
    """Return the expected calibration error.

    Parameters
    ----------
    differences
        (bins, …) probability minus observed share, summed over the predictions of each bin.
    n
        (…) numbers of predictions; the error of none is nan.
    """
    total = np.abs(differences).sum(0)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=np.not_equal(n, 0)))


def accuracy_by_coverage(targets: TargetValues, proba: Floats) -> tuple[Floats, Floats]:
    """Return the accuracy of a model that abstains on its least certain rows, for each number of abstentions.

    Rows are ordered by the probability of their predicted class.

    Returns
    -------
    coverage, accuracy
        (n,) shares of rows with a prediction, and accuracies on these rows.
    """
    codes = targets.decisions(proba)
    order = np.argsort(-proba[np.arange(len(codes)), codes], kind="stable")
    correctness = targets.correctness(proba)[order]
    n_predicted = np.arange(1, len(order) + 1)
    return n_predicted / len(order), np.cumsum(correctness) / n_predicted
