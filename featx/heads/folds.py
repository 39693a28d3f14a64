"""The train rows of a head, and their folds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.specs.head import HeadSpec
from featx.tables.decision_rule import DecisionRule, rule_of_weights
from featx.tables.encoding import strata_codes
from featx.tables.resampling_units import are_mostly_single, folds_of_units
from featx.tables.target_values import TargetValues

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]  # train and held-out row numbers
FEWEST = 4  # rows of a class: two for learning in each of two folds


@dataclass(frozen=True)
class TrainingData:
    """What an estimator or a calibration is fitted on: rows, some of them more than once where labels are soft.

    Attributes
    ----------
    at
        (m,) row numbers.
    y
        (m,) codes, (m, t) labels, or (m, t) numbers.
    weights
        (m,) ≥ 0; None where all are equal.
    """

    at: NDArray[np.intp]
    y: NDArray[Any]
    weights: NDArray[np.float64] | None


@dataclass(frozen=True)
class TrainRows:
    """What a head learns from.

    Attributes
    ----------
    x
        (n, d).
    facts
        What is known of them; each class and label at least once in every fold's train rows.
    weights
        (n,) ≥ 0, mean 1: how much each row counts in learning, its class left aside; None where all count the same.
    groups
        (n,) the unit of each row: groups and copies stay on one side of every fold; None where all rows are single.
    class_weights
        (k,) > 0: how much each class counts in learning; None where all count the same.
    """

    x: NDArray[np.float32]
    facts: TargetValues
    weights: NDArray[np.float64] | None = None
    groups: NDArray[Any] | None = None
    class_weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, at: NDArray[np.intp]) -> "TrainRows":
        """Return some of the rows."""
        weights, groups = (None if of is None else of[at] for of in (self.weights, self.groups))
        return TrainRows(self.x[at], self.facts.take(at), weights, groups, self.class_weights)

    def lessons(self) -> TrainingData:
        """Return what to fit on: where labels are soft, each row once for each class that has a share in it."""
        return self._lessons(self.weights, self.class_weights)

    def calibration_lessons(self) -> TrainingData:
        """Return what to calibrate by: the same, but rows count by the target's own weights only.

        Weights of classes and groups change how often each class occurs; probabilities calibrated by them would be
        those of another population.
        """
        return self._lessons(self.facts.weights, None)

    def _lessons(self, weights: NDArray[np.float64] | None, class_weights: NDArray[np.float64] | None) -> TrainingData:
        if self.facts.shares is None:
            at, codes, found = np.arange(len(self)), self.facts.y, weights
        else:
            at, codes = np.nonzero(self.facts.shares)
            shares = self.facts.shares[at, codes]
            found = shares if weights is None else shares * weights[at]
        if class_weights is not None:
            found = class_weights[codes] if found is None else found * class_weights[codes]
        return TrainingData(at, codes, found)

    @property
    def decision(self) -> DecisionRule | None:
        """The rule by which a model of these rows decides for a class."""
        return rule_of_weights(self.class_weights)

    def folds(self, n_folds: int, seed: int) -> list[Fold]:
        """Return (train, held-out) row numbers of each fold: stratified, units whole."""
        fold = self.fold_of(n_folds, seed)
        return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(n_folds)]

    def fold_of(self, n_folds: int, seed: int) -> NDArray[np.int64]:
        """Return (n,) the fold that holds each row out (`featx.tables.resampling_units.folds_of_units`)."""
        return folds_of_units(strata_codes(self.facts), self.groups, n_folds, seed)

    def one_of_each(self) -> "TrainRows":
        """Return one row of each unit where most units are single rows; otherwise all rows."""
        if self.groups is None or not are_mostly_single(self.groups):
            return self
        return self.take(np.unique(self.groups, return_index=True)[1])


def check_folds(rows: TrainRows, spec: HeadSpec) -> None:
    """Check that the rows can be folded: every class is learnt in every fold, twice for calibration's own folds.

    Raises
    ------
    DataError
        A class or label has too few rows, or there are fewer rows or groups than folds. Copies of one image count once.
    """
    least = spec.folds if spec.folds > 2 else FEWEST  # what is left of it for learning in each fold is two rows or more
    different = rows.one_of_each()
    what = "train rows" if len(different) == len(rows) else "different train images (copies count once)"
    if len(different) < least:
        raise DataError(
            f"{len(different)} {what} are too few for {spec.folds} folds; add images, or say 'folds = …' in [[head]]"
        )
    for name, counts in _counts(different.facts):
        if counts.min() < least:
            fewer = ", or say 'folds = …' in [[head]]" if counts.min() >= FEWEST else ""
            raise DataError(
                f"{name} has {counts.min()} {what}, {spec.folds} folds need at least {least} of each; add images "
                f"or drop it{fewer}"
            )
    if rows.groups is not None and (n_groups := len(np.unique(rows.groups))) < spec.folds:
        raise DataError(
            f"split.by and copies leave {n_groups} groups in train, {spec.folds} folds need one each; "
            "say 'folds = …' in [[head]]"
        )
    for train, _ in rows.folds(spec.folds, spec.seed):
        for name, counts in _counts(rows.facts.take(train)):
            if counts.min() < 2:
                where = "groups" if rows.groups is not None else "rows"
                raise DataError(
                    f"{name} is in too few {where}: a fold would be without it; add {where} with it, or drop it"
                )


def _counts(facts: TargetValues) -> list[tuple[str, NDArray[np.int64]]]:
    """Return each class with its rows, and each label with the rows that have it and those that do not."""
    if facts.kind == "classes":
        counts = np.bincount(facts.y, minlength=facts.n_outputs)
        return [(f"class {name!r}", counts[[code]]) for code, name in enumerate(facts.names)]
    if facts.kind == "labels":
        having = facts.y.sum(0)
        both = zip(facts.names, having, len(facts) - having, strict=True)
        return [(f"label {name!r}", np.array([yes, no])) for name, yes, no in both]
    return []
