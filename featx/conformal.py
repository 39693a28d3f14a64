"""Prediction sets and intervals that hold the truth as often as they say, by split conformal prediction.

Thresholds come from rows that the model did not learn from; where those and new ones are exchangeable, the coverage of
new ones is at least what was asked for, whatever the model is worth.

References
----------
.. [1] V. Vovk, A. Gammerman, G. Shafer, Algorithmic learning in a random world, Springer 2005.
.. [2] M. Sadinle, J. Lei, L. Wasserman, Least ambiguous set-valued classifiers with bounded error levels, JASA 2019.
.. [3] J. Lei et al., Distribution-free predictive inference for regression, JASA 2018.
"""

import math

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.facts import Facts
from featx.metrics import aligned
from featx.specs.base import Spec
from featx.tables import Answered, Known, choosing

Floats = NDArray[np.float64]
COVERAGES = (0.8, 0.9, 0.95, 0.99)


def strangeness(facts: Facts, outputs: Floats) -> Floats:
    """Return (n, 1) what the true class's probability lacks to 1 [2]_, or (n, t) absolute errors of numbers [3]_."""
    if facts.kind == "numbers":
        return np.asarray(np.abs(facts.y - outputs))
    return np.asarray(1 - outputs[np.arange(len(facts)), facts.y][:, None])


def thresholds(strange: Floats, coverage: float) -> Floats:
    """Return (t,) the strangeness that new rows exceed with a probability of at most ``1 - coverage``.

    Infinite, where there are too few rows to say.
    """
    rank = math.ceil((len(strange) + 1) * coverage)
    if rank > len(strange):
        return np.full(strange.shape[1], np.inf)
    return np.asarray(np.sort(strange, axis=0)[rank - 1])


def in_sets(proba: Floats, threshold: float | Floats) -> NDArray[np.bool_]:
    """Return (n, k) which classes are in the prediction set of each row; there may be none.

    Parameters
    ----------
    threshold
        One for all rows, or (n, 1).
    """
    return np.asarray(1 - proba <= threshold)


def cross_fitted(strange: Floats, coverage: float, seed: int = 0) -> Floats:
    """Return (n, t) for each row the threshold that the other half of the rows gives."""
    half = np.random.default_rng(seed).permutation(len(strange)) % 2
    found = np.empty_like(strange)
    for side in (0, 1):
        found[half == side] = thresholds(strange[half != side], coverage)
    return found


class ConformalSpec(Spec):
    """How strange an answer may be and still stand in a prediction set or interval.

    Attributes
    ----------
    part, n
        The rows that say so, none of which the model learnt from.
    thresholds
        Coverage → one number for classes, or one for each number that is answered; None where n rows cannot say.
    """

    part: str
    n: int
    thresholds: dict[str, tuple[float | None, ...]]

    @classmethod
    def of(cls, known: Known, answered: Answered) -> "ConformalSpec | None":
        """Learn from the rows that choose; None for labels."""
        rows = choosing(answered)
        facts, outputs = aligned(known, rows)
        if facts.kind == "labels":
            return None
        strange = strangeness(facts, outputs)
        found = {str(asked): thresholds(strange, asked).tolist() for asked in COVERAGES}
        finite = {asked: tuple(one if one < math.inf else None for one in each) for asked, each in found.items()}
        return cls(part=str(rows.part[0]), n=len(rows.ids), thresholds=finite)

    def at(self, coverage: float) -> NDArray[np.float64]:
        """Return the thresholds for a coverage; infinite where n rows cannot say.

        Raises
        ------
        DataError
            it is none of those that are kept.
        """
        if str(coverage) not in self.thresholds:
            raise DataError(f"coverage {coverage:g} is not kept with the model; expected {', '.join(self.thresholds)}")
        return np.array([math.inf if one is None else one for one in self.thresholds[str(coverage)]])
