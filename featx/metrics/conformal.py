"""Prediction sets and intervals with a stated coverage, by split conformal prediction.

Thresholds come from calibration rows that the model was not trained on. Each calibration row has a mass, and a
threshold is a quantile of the conformity scores under these masses and that of the new row, whose score counts as
infinite [1]_. Rows without weights, soft labels and groups all have the same mass; the coverage of new rows is then at
least the stated one if they and the calibration rows are exchangeable, whatever the quality of the model.

- If a split keeps groups of rows whole (the images of one patient), groups are exchangeable and rows are not. Each
  group has the same mass, shared by its rows [4]_; coverage is that of a row drawn from a new group.
- Weighted rows have masses in proportion to their weights [5]_; coverage is that of the weighted population. The mass
  of the new row is assumed to be the mean mass.
- A row with a soft label has one score for each class, whose mass is the row's mass times the probability of the class
  [6]_; coverage is that of labels drawn from these probabilities.

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
from featx.metrics.scores import align
from featx.specs.base import Spec
from featx.tables.ids import Floats, Ids
from featx.tables.predictions import AnyPredictions, selection_rows
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth

COVERAGES = (0.8, 0.9, 0.95, 0.99)
# Sums of masses that differ by less than this share of the total mass count as equal.
MASS_TOLERANCE = 1e-9


@dataclass(frozen=True)
class ConformityScores:
    """Conformity scores of n rows: distances of the truth from a model's predictions.

    Attributes
    ----------
    scores
        (s, t) scores. For classes 1 minus the probability of the true class [2]_, with one row of scores for each class
        of positive probability; for numbers the absolute errors [3]_.
    masses
        (s,) masses ≥ 0 of the rows of scores.
    rows
        (s,) numbers of the rows that the scores belong to.
    units
        (n,) codes of the exchangeable units: rows, or groups of rows.
    """

    scores: Floats
    masses: Floats
    rows: NDArray[np.intp]
    units: NDArray[np.intp]

    @classmethod
    def of(cls, targets: TargetValues, outputs: Floats, groups: NDArray[Any] | None = None) -> "ConformityScores":
        """Return the conformity scores of the rows.

        Parameters
        ----------
        targets
            True values of the n rows.
        outputs
            (n, k) class probabilities, or (n, t) numbers.
        groups
            (n,) groups that splits keep whole; None if each row is a unit.
        """
        n = len(targets)
        units = np.arange(n) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
        masses = targets.row_weights / np.bincount(units)[units] if n else targets.row_weights
        if targets.kind == "numbers":
            return cls(np.asarray(np.abs(targets.y - outputs)), masses, np.arange(n), units)
        if targets.shares is None:
            scores = 1 - outputs[np.arange(n), targets.y][:, None]
            return cls(np.asarray(scores), masses, np.arange(n), units)
        rows, codes = np.nonzero(targets.shares)
        return cls(1 - outputs[rows, codes][:, None], masses[rows] * targets.shares[rows, codes], rows, units)

    def take(self, is_chosen: NDArray[np.bool_]) -> "ConformityScores":
        """Return the scores of the rows where (n,) `is_chosen`; rows keep their numbers."""
        is_selected = is_chosen[self.rows]
        return replace(
            self, scores=self.scores[is_selected], masses=self.masses[is_selected], rows=self.rows[is_selected]
        )

    @property
    def n_units(self) -> int:
        """Number of exchangeable rows or groups."""
        return len(np.unique(self.units[self.rows]))

    def thresholds(self, coverage: float) -> Floats:
        """Return the (t,) scores that new rows exceed with a probability of at most ``1 - coverage``.

        The thresholds are infinite if there are too few rows or groups for this coverage.
        """
        total = self.masses.sum()
        if not total:
            return np.full(self.scores.shape[1], np.inf)
        required_mass = coverage * total * (1 + 1 / self.n_units) - MASS_TOLERANCE * total
        if required_mass > total:
            return np.full(self.scores.shape[1], np.inf)
        order = np.argsort(self.scores, axis=0, kind="stable")
        cumulative_masses = np.cumsum(self.masses[order], axis=0)
        ranks = (cumulative_masses < required_mass).sum(axis=0)
        columns = np.arange(self.scores.shape[1])
        return np.asarray(self.scores[order[ranks, columns], columns])

    def cross_fitted(self, coverage: float) -> Floats:
        """Return (n, t) thresholds; those of each half of the units are computed from the other half."""
        _, codes = np.unique(self.units, return_inverse=True)
        half = (np.random.default_rng(0).permutation(codes.max(initial=-1) + 1) % 2)[codes]
        thresholds = np.empty((len(self.units), self.scores.shape[1]))
        for side in (0, 1):
            thresholds[half == side] = self.take(half != side).thresholds(coverage)
        return thresholds

    def covered(self, thresholds: Floats) -> float:
        """Return the coverage: the share of the mass with scores up to the (n, t) or (1, t) thresholds."""
        shape = (len(self.units), self.scores.shape[1])
        is_covered = (self.scores <= np.broadcast_to(thresholds, shape)[self.rows]).mean(1)
        return float(np.average(is_covered, weights=self.masses)) if self.masses.any() else math.nan


def has_conformity_scores(targets: TargetValues) -> bool:
    """Return whether there are conformity scores of this kind of target: of classes and numbers."""
    return targets.kind != "labels"


def in_prediction_sets(proba: Floats, threshold: float | Floats) -> NDArray[np.bool_]:
    """Return (n, k) whether each class is in the prediction set of each row; sets may be empty.

    Parameters
    ----------
    threshold
        One threshold for all rows, or (n, 1) thresholds.
    """
    return np.asarray(1 - proba <= threshold)


class ConformalSpec(Spec):
    """Thresholds of a model's prediction sets or intervals, and the rows that they were computed from.

    Attributes
    ----------
    part
        Part of the calibration rows, which the model was not trained on: ``val`` or ``oof``.
    n
        Number of calibration rows.
    n_units
        Number of groups that splits keep whole, or of rows without groups.
    thresholds
        Coverage → one threshold for classes, or one for each number; None if there are too few units for it.
    """

    part: str
    n: int
    n_units: int
    thresholds: dict[str, tuple[float | None, ...]]

    @classmethod
    def of(
        cls, truth: AnyTruth, predictions: AnyPredictions, find_groups: Callable[[Ids], NDArray[Any] | None]
    ) -> "ConformalSpec | None":
        """Return the thresholds computed from the selection rows; None for targets of labels.

        Parameters
        ----------
        find_groups
            Function from the ids of n rows to the (n,) groups that splits keep whole, or None.
        """
        rows = selection_rows(predictions)
        targets, outputs = align(truth, rows)
        if not has_conformity_scores(targets):
            return None
        scores = ConformityScores.of(targets, outputs, find_groups(rows.ids))
        thresholds = {
            str(coverage): tuple(value if value < math.inf else None for value in scores.thresholds(coverage).tolist())
            for coverage in COVERAGES
        }
        return cls(part=str(rows.part[0]), n=len(rows.ids), n_units=scores.n_units, thresholds=thresholds)

    def at(self, coverage: float) -> Floats:
        """Return the (t,) thresholds for a coverage; infinite if there are too few units for it.

        Raises
        ------
        DataError
            The model has no thresholds for this coverage.
        """
        if str(coverage) not in self.thresholds:
            raise DataError(
                f"the model has no thresholds for coverage {coverage:g}; expected {', '.join(self.thresholds)}"
            )
        return np.array([math.inf if value is None else value for value in self.thresholds[str(coverage)]])
