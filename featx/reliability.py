"""How far probabilities can be believed: what happened as often as was said.

References
----------
.. [1] G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 1950.
.. [2] C. Guo et al., On calibration of modern neural networks, ICML 2017.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.facts import Facts

Floats = NDArray[np.float64]
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """What was said and what happened, in bins of equal width; those without rows are left out.

    Attributes
    ----------
    said
        Mean probability of what was guessed, or of having a label.
    happened
        Share of it that came true.
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


def reliability(facts: Facts, proba: Floats, bins: int = BINS) -> Reliability:
    """Compare what was said with what happened.

    Parameters
    ----------
    proba
        (n, k) of classes: the guessed one's counts. (n, t) of labels: all count.
    """
    answers = _answers(facts, proba)
    said, came_true = answers[0].ravel(), answers[1].ravel()
    at = _bins_of(said, bins)
    n = np.bincount(at, minlength=bins)
    sums = (np.bincount(at, weights=of, minlength=bins)[n > 0] for of in (said, came_true))
    of_said, of_happened = (total / n[n > 0] for total in sums)
    return Reliability(of_said, of_happened, n[n > 0])


def _answers(facts: Facts, proba: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return what was said and whether it came true: (n, 1) of the guessed class, or (n, t) of all labels."""
    if facts.kind == "labels":
        return proba, facts.y.astype(bool)
    return proba.max(1)[:, None], (proba.argmax(1) == facts.y)[:, None]


def _bins_of(said: Floats, bins: int) -> NDArray[np.intp]:
    return np.minimum((said * bins).astype(np.intp), bins - 1)


def binned(facts: Facts, proba: Floats, bins: int = BINS) -> tuple[NDArray[np.intp], Floats]:
    """Return the bin of each answer, and what was said minus what happened; (n, 1), or (n, t) of labels."""
    said, came_true = _answers(facts, proba)
    return _bins_of(said, bins), said - came_true


def expected_error(apart: Floats, n: ArrayLike) -> Floats:
    """Return the expected calibration error.

    Parameters
    ----------
    apart
        (bins, …) what was said minus what happened, summed over the answers of each bin.
    n
        (…) answers in all; nan where there are none.
    """
    total = np.abs(apart).sum(0)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=np.not_equal(n, 0)))


def squared_distances(facts: Facts, proba: Floats) -> Floats:
    """(n,) what `brier` is the mean of."""
    if facts.kind == "labels":
        return np.asarray(np.square(proba - facts.y).mean(1))
    return np.asarray(np.square(proba - np.eye(facts.n_outputs)[facts.y]).sum(1))


def brier(facts: Facts, proba: Floats) -> float:
    """Mean squared distance of the probabilities to what happened [1]_.

    Of classes summed over them, so in [0, 2]; of labels their mean, in [0, 1].
    """
    return float(squared_distances(facts, proba).mean())


def kept(facts: Facts, proba: Floats) -> tuple[Floats, Floats]:
    """Return what abstaining costs and gains: the surest rows first.

    Returns
    -------
    coverage, accuracy
        (n,) share of rows that are answered, and share of these that are right.
    """
    order = np.argsort(-proba.max(1), kind="stable")
    right = (proba.argmax(1) == facts.y)[order]
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(right) / answered
