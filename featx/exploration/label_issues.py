"""Likely wrong labels: the neighbours' labels and out-of-sample class probabilities, pooled into one score per image.

References
----------
.. [1] C. Northcutt, L. Jiang, I. Chuang, Confident learning: estimating uncertainty in dataset labels, Journal of
   Artificial Intelligence Research 2021.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.exploration.neighbours import Neighbours, Vectors, principal_coordinates
from featx.exploration.separability import vote_shares
from featx.parallel.threads import single_threaded
from featx.tables.ids import Floats
from featx.tables.resampling_units import assign_folds

Codes = NDArray[np.integer[Any]]

# Number of neighbours that vote.
N_NEIGHBOURS = 20
# Smallest probability of a model that is distinguished from 0 when probabilities are multiplied.
MIN_PROBABILITY = 1e-3
# Probability of a class that is enough for an image to be counted to this class.
SUFFICIENT_PROBABILITY = 0.9
# The logistic regression that replaces runs: number of folds, principal axes and rows per fit, and strength of L2.
N_FOLDS = 5
N_AXES = 128
MAX_ROWS_PER_FIT = 10_000
INVERSE_L2 = 0.3
MAX_ITERATIONS = 200


@dataclass(frozen=True)
class LabelIssues:
    """Quality of the labels of n images of k classes.

    Attributes
    ----------
    proba
        (n, k) pooled probabilities of the classes.
    quality
        (n,) pooled probability of the given label.
    suggested
        (n,) code of the most probable other class.
    given_shares
        (n,) share of the neighbours that have the given label.
    are_likely_wrong
        (n,) whether confident learning and the neighbours both prefer the suggested class.
    n_estimated
        Estimate of the number of wrong labels, from the confident joint [1]_. Classes that overlap increase it.
    """

    proba: Floats
    quality: Floats
    suggested: NDArray[np.intp]
    given_shares: Floats
    are_likely_wrong: NDArray[np.bool_]
    n_estimated: int

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Positions of all images, the lowest quality first."""
        return np.argsort(self.quality, kind="stable")


def find_label_issues(codes: Codes, neighbours: Neighbours, proba: Floats) -> LabelIssues:
    """Return the quality of each label, from its neighbours and from a model that was trained without it.

    The shares of the classes among the neighbours and the probabilities of the model are multiplied and scaled to sum
    to 1. A class without votes counts as half a vote.

    Parameters
    ----------
    codes
        (n,) class codes 0 … k-1.
    neighbours
        The nearest neighbours of the images among images of other units.
    proba
        (n, k) class probabilities of a model for images that it was not trained on.
    """
    n, k = proba.shape
    shares = vote_shares(codes, neighbours, k)
    has_votes = neighbours.exist[:, :1]
    votes = np.where(has_votes, shares + 0.5 / neighbours.rows.shape[1], 1.0)
    pooled_shares = votes * (proba + MIN_PROBABILITY)
    pooled_shares /= pooled_shares.sum(axis=1, keepdims=True)
    rows = np.arange(n)
    other_shares = pooled_shares.copy()
    other_shares[rows, codes] = -1.0
    suggested_codes = other_shares.argmax(axis=1)
    confident_codes = confident_classes(pooled_shares, codes)
    label_shares = shares[rows, codes]
    prefers_other = shares[rows, suggested_codes] > label_shares
    return LabelIssues(
        pooled_shares,
        pooled_shares[rows, codes],
        suggested_codes,
        label_shares,
        np.asarray((confident_codes >= 0) & (confident_codes != codes) & prefers_other),
        estimate_wrong_labels(confident_codes, codes, k),
    )


def confident_classes(proba: Floats, codes: Codes) -> NDArray[np.intp]:
    """Return the (n,) class to which each image is counted in the confident joint; -1 if to none [1]_.

    An image counts to the most probable class whose probability is at least the mean probability of this class among
    the images with its label. Unlike in the paper, a probability of `SUFFICIENT_PROBABILITY` is always enough: where
    classes are well separated, few wrong labels reach means of nearly 1.
    """
    k = proba.shape[1]
    means = [proba[codes == code, code].mean() if (codes == code).any() else np.inf for code in range(k)]
    candidates = np.where(proba >= np.minimum(means, SUFFICIENT_PROBABILITY), proba, -1.0)
    return np.where(candidates.max(axis=1) >= 0, candidates.argmax(axis=1), -1)


def estimate_wrong_labels(confident_codes: NDArray[np.intp], codes: Codes, k: int) -> int:
    """Return the estimated number of wrong labels: the off-diagonal of the calibrated confident joint [1]_."""
    joint = np.zeros((k, k))
    is_confident = confident_codes >= 0
    np.add.at(joint, (codes[is_confident], confident_codes[is_confident]), 1)
    totals, counts = joint.sum(axis=1), np.bincount(codes, minlength=k)
    wrong_shares = np.divide(totals - np.diag(joint), totals, out=np.zeros(k), where=totals > 0)
    return round(float((wrong_shares * counts).sum()))


@single_threaded()
def cross_validated_proba(vectors: Vectors, codes: Codes, units: NDArray[Any] | None, seed: int = 0) -> Floats:
    """Return (n, k) class probabilities of a logistic regression for the images of the fold that it was not fitted on.

    Parameters
    ----------
    vectors
        (n, d) vectors of length 1.
    codes
        (n,) class codes 0 … k-1.
    units
        (n,) units, which the folds keep whole; None if each image is a unit.

    Notes
    -----
    A fit uses the first `N_AXES` principal axes, and at most `MAX_ROWS_PER_FIT` rows.
    """
    n, k = len(codes), int(codes.max()) + 1
    proba, rng = np.full((n, k), 1 / k), np.random.default_rng(seed)
    n_units = n if units is None else len(np.unique(units))
    if n_units < N_FOLDS or k == 1:
        return proba
    coordinates = principal_coordinates(vectors, min(N_AXES, vectors.shape[1]))
    coordinates /= coordinates[:, 0].std() or 1.0
    strata = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(strata, units, N_FOLDS, seed)
    for fold in range(N_FOLDS):
        is_held_out = folds == fold
        rows = rng.permutation(np.flatnonzero(~is_held_out))[:MAX_ROWS_PER_FIT]
        classes, fold_proba = _fitted_proba(coordinates[rows], codes[rows], coordinates[is_held_out])
        proba[is_held_out] = 0.0
        proba[np.ix_(is_held_out, classes)] = fold_proba
    return proba


def _fitted_proba(x: Vectors, codes: Codes, x_held_out: Vectors) -> tuple[Codes, Floats]:
    """Return the classes of the fitted rows, and their probabilities for the rows that are held out."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(codes)
    if len(classes) == 1:
        return classes, np.ones((len(x_held_out), 1))
    with warnings.catch_warnings():
        # The ranking of labels does not need the last digits of a fit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        head = LogisticRegression(C=INVERSE_L2, max_iter=MAX_ITERATIONS).fit(x, codes)
    return classes, head.predict_proba(x_held_out)
