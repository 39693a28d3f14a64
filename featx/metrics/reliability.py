"""How far probabilities can be believed: the share of answers that are right beside the probability given.

Where labels are soft, the share that a row has in a class stands for the 0 or 1 of a certain label in every formula.

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

from featx.tables.decision_rule import decided_codes
from featx.tables.target_values import TargetValues

Floats = NDArray[np.float64]
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Probabilities and the shares that came true, in bins of equal width; bins without rows are left out.

    Attributes
    ----------
    said
        Mean probability in the bin.
    happened
        Share that came true.
    n
        Answers in the bin.
    """

    said: Floats
    happened: Floats
    n: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error [2]_, in [0, 1]: the mean distance of the two, bins weighing as they are full."""
        return float(expected_error((self.said - self.happened) * self.n, self.n.sum()))


def reliability(facts: TargetValues, proba: Floats, bins: int = BINS) -> Reliability:
    """Compare probabilities with the shares that came true.

    Parameters
    ----------
    proba
        (n, k) of classes: of two classes the probability of the second counts, of more that of the most probable one.
        (n, t) of labels: all count.
    """
    given, came_true = (answers.ravel() for answers in _answers(facts, proba))
    at = _bins_of(given, bins)
    n = np.bincount(at, minlength=bins)
    sums = (np.bincount(at, weights=of, minlength=bins)[n > 0] for of in (given, came_true))
    of_said, of_happened = (total / n[n > 0] for total in sums)
    return Reliability(of_said, of_happened, n[n > 0])


def _answers(facts: TargetValues, proba: Floats) -> tuple[Floats, Floats]:
    """Return probabilities and the shares that came true: (n, 1) of classes, or (n, t) of all labels.

    Of two classes the second one counts: errors of the two classes do not cancel then, as they do in bins of the larger
    probability.
    """
    if facts.kind == "labels":
        return proba, facts.y.astype(np.float64)
    if facts.n_outputs == 2:
        return proba[:, 1:], facts.memberships[:, 1:]
    top = proba.argmax(1)
    return proba.max(1)[:, None], shares_of(facts, top)[:, None]


def shares_of(facts: TargetValues, codes: NDArray[np.integer]) -> Floats:
    """Return (n,) the share that each row has in the class of a code: 0 or 1 where labels are not soft."""
    if facts.shares is None:
        return np.asarray(codes == facts.y, dtype=np.float64)
    return np.asarray(facts.shares[np.arange(len(facts)), codes])


def _bins_of(said: Floats, bins: int) -> NDArray[np.intp]:
    return np.minimum((said * bins).astype(np.intp), bins - 1)


def binned(facts: TargetValues, proba: Floats, bins: int = BINS) -> tuple[NDArray[np.intp], Floats]:
    """Return the bin of each answer, and probability minus share that came true; (n, 1), or (n, t) of labels."""
    given, came_true = _answers(facts, proba)
    return _bins_of(given, bins), given - came_true


def binned_by_class(facts: TargetValues, proba: Floats, bins: int = BINS) -> tuple[NDArray[np.intp], Floats]:
    """Return the same of all classes or labels, each with bins of its own; (n, k)."""
    came_true = facts.y if facts.kind == "labels" else facts.memberships
    return _bins_of(proba, bins) + bins * np.arange(proba.shape[1]), proba - came_true


def expected_error(apart: Floats, n: ArrayLike) -> Floats:
    """Return the expected calibration error.

    Parameters
    ----------
    apart
        (bins, …) probability minus share that came true, summed over the answers of each bin.
    n
        (…) answers in all; nan where there are none.
    """
    total = np.abs(apart).sum(0)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=np.not_equal(n, 0)))


def squared_distances(facts: TargetValues, proba: Floats) -> Floats:
    """(n,) what `brier` is the mean of."""
    if facts.kind == "labels":
        return np.asarray(np.square(proba - facts.y).mean(1))
    return np.asarray(np.square(proba - facts.memberships).sum(1))


def brier(facts: TargetValues, proba: Floats) -> float:
    """Mean squared distance of the probabilities to what happened, or to the shares of soft labels [1]_.

    Of classes summed over them, so in [0, 2]; of labels their mean, in [0, 1].
    """
    return float(squared_distances(facts, proba).mean())


def kept(facts: TargetValues, proba: Floats) -> tuple[Floats, Floats]:
    """Return what abstaining costs and gains: the surest rows first, by the probability of the class decided for.

    Returns
    -------
    coverage, accuracy
        (n,) share of rows that are answered, and share of these that are right.
    """
    codes = decided_codes(proba, facts.decision)
    order = np.argsort(-proba[np.arange(len(codes)), codes], kind="stable")
    right = shares_of(facts, codes)[order]
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(right) / answered
