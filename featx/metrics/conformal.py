"""Prediction sets and intervals that hold the truth as often as they say, by split conformal prediction.

Thresholds come from rows that the model did not learn from. Each calibration row has a mass, and a threshold is the
quantile of the masses of these rows and of the new one, whose score counts as infinite [1]_. Rows that have no weights,
no soft labels and no groups all have the same mass; the coverage of new rows is then at least what was asked for
wherever those and the calibration rows are exchangeable, whatever the model is worth.

- Where a split keeps groups of rows whole (the images of one patient), groups are exchangeable and rows are not. Each
  group has the same mass, shared by its rows [4]_; coverage is that of a row drawn from a new group.
- Rows that have weights have masses in their proportion [5]_; coverage is that of the weighted population. The mass of
  the new row is taken to be the mean one.
- A row with a soft label has the score of each class, with the share of the class as its part of the mass [6]_;
  coverage is that of labels drawn from the shares.

References
----------
.. [1] V. Vovk, A. Gammerman, G. Shafer, Algorithmic learning in a random world, Springer 2005.
.. [2] M. Sadinle, J. Lei, L. Wasserman, Least ambiguous set-valued classifiers with bounded error levels, JASA 2019.
.. [3] J. Lei et al., Distribution-free predictive inference for regression, JASA 2018.
.. [4] R. Dunn, L. Wasserman, A. Ramdas, Distribution-free prediction sets for two-layer hierarchical models, JASA 2023;
   Y. Lee, R. F. Barber, R. Willett, Distribution-free inference with hierarchical data, arXiv:2306.06342, 2023.
.. [5] R. J. Tibshirani et al., Conformal prediction under covariate shift, NeurIPS 2019.
.. [6] D. Stutz et al., Conformal prediction under ambiguous ground truth, TMLR 2023.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.scores import aligned
from featx.specs.base import Spec
from featx.tables.ids import Ids
from featx.tables.predictions import Answered, choosing
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known

Floats = NDArray[np.float64]
COVERAGES = (0.8, 0.9, 0.95, 0.99)
ROUNDING = 1e-9  # of the total mass: sums of masses that differ by less are equal


@dataclass(frozen=True)
class ConformityScores:
    """How far the truth of some rows lies from what a model says of them.

    Attributes
    ----------
    scores
        (s, t) of classes 1 minus the probability of the true class [2]_, one row of scores for each class that has a
        share in a row; of numbers the absolute errors [3]_.
    masses
        (s,) ≥ 0, with which each row of scores counts.
    rows
        (s,) the row that each belongs to.
    units
        (n,) codes of what is exchangeable: rows, or groups of them.
    """

    scores: Floats
    masses: Floats
    rows: NDArray[np.intp]
    units: NDArray[np.intp]

    @classmethod
    def of(cls, facts: TargetValues, outputs: Floats, groups: NDArray[Any] | None = None) -> "ConformityScores":
        """Score rows.

        Parameters
        ----------
        groups
            (n,) what a split keeps whole; None where rows stand for themselves.
        """
        n = len(facts)
        units = np.arange(n) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
        own = np.ones(n) if facts.weights is None else facts.weights
        own = own / np.bincount(units)[units] if n else own
        if facts.kind == "numbers":
            return cls(np.asarray(np.abs(facts.y - outputs)), own, np.arange(n), units)
        if facts.shares is None:
            scores = 1 - outputs[np.arange(n), facts.y][:, None]
            return cls(np.asarray(scores), own, np.arange(n), units)
        rows, codes = np.nonzero(facts.shares)
        return cls(1 - outputs[rows, codes][:, None], own[rows] * facts.shares[rows, codes], rows, units)

    def take(self, chosen: NDArray[np.bool_]) -> "ConformityScores":
        """Return the scores of some of the n rows, which keep their numbers."""
        at = chosen[self.rows]
        return replace(self, scores=self.scores[at], masses=self.masses[at], rows=self.rows[at])

    @property
    def n_units(self) -> int:
        """How many exchangeable rows or groups there are."""
        return len(np.unique(self.units[self.rows]))

    def thresholds(self, coverage: float) -> Floats:
        """Return (t,) the score that new rows exceed with a probability of at most ``1 - coverage``.

        Infinite, where there are too few rows or groups to say.
        """
        total = self.masses.sum()
        if not total:
            return np.full(self.scores.shape[1], np.inf)
        needed = coverage * total * (1 + 1 / self.n_units) - ROUNDING * total
        order = np.argsort(self.scores, axis=0, kind="stable")
        below = np.cumsum(self.masses[order], axis=0)
        if needed > total:
            return np.full(self.scores.shape[1], np.inf)
        at = (below < needed).sum(axis=0)
        columns = np.arange(self.scores.shape[1])
        return np.asarray(self.scores[order[at, columns], columns])

    def cross_fitted(self, coverage: float, seed: int = 0) -> Floats:
        """Return (n, t) for each row the threshold that the rows of the other half of the units give."""
        _, codes = np.unique(self.units, return_inverse=True)
        half = (np.random.default_rng(seed).permutation(codes.max(initial=-1) + 1) % 2)[codes]
        found = np.empty((len(self.units), self.scores.shape[1]))
        for side in (0, 1):
            found[half == side] = self.take(half != side).thresholds(coverage)
        return found

    def covered(self, limits: Floats) -> float:
        """Return the share of the mass whose score is within limits, (n, t) or (1, t)."""
        inside = (self.scores <= np.broadcast_to(limits, (len(self.units), self.scores.shape[1]))[self.rows]).mean(1)
        return float(np.average(inside, weights=self.masses)) if self.masses.any() else math.nan


def in_sets(proba: Floats, threshold: float | Floats) -> NDArray[np.bool_]:
    """Return (n, k) which classes are in the prediction set of each row; there may be none.

    Parameters
    ----------
    threshold
        One for all rows, or (n, 1).
    """
    return np.asarray(1 - proba <= threshold)


class ConformalSpec(Spec):
    """How far an answer may lie from the truth and still be in a prediction set or interval.

    Attributes
    ----------
    part, n, n_units
        The rows that say so, none of which the model learnt from; how many, and of how many groups that a split keeps
        whole (rows, where there are none; None where a header does not say).
    thresholds
        Coverage → one number for classes, or one for each number that is answered; None where too few units cannot say.
    """

    part: str
    n: int
    thresholds: dict[str, tuple[float | None, ...]]
    n_units: int | None = None

    @classmethod
    def of(
        cls, known: Known, answered: Answered, groups_of: Callable[[Ids], NDArray[Any] | None]
    ) -> "ConformalSpec | None":
        """Learn from the rows that choose; None for labels.

        Parameters
        ----------
        groups_of
            Returns (n,) what a split keeps whole, of the rows of some ids; or None.
        """
        rows = choosing(answered)
        facts, outputs = aligned(known, rows)
        if facts.kind == "labels":
            return None
        scores = ConformityScores.of(facts, outputs, groups_of(rows.ids))
        found = {str(coverage): scores.thresholds(coverage).tolist() for coverage in COVERAGES}
        finite = {name: tuple(one if one < math.inf else None for one in each) for name, each in found.items()}
        return cls(part=str(rows.part[0]), n=len(rows.ids), n_units=scores.n_units, thresholds=finite)

    def at(self, coverage: float) -> NDArray[np.float64]:
        """Return the thresholds for a coverage; infinite where n_units groups cannot say.

        Raises
        ------
        DataError
            it is none of those that are kept.
        """
        if str(coverage) not in self.thresholds:
            raise DataError(f"coverage {coverage:g} is not kept with the model; expected {', '.join(self.thresholds)}")
        return np.array([math.inf if one is None else one for one in self.thresholds[str(coverage)]])
