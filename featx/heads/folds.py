"""The train rows of a head and their folds."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.scores import is_score_defined, resolve_metric
from featx.specs.head import HeadSpec
from featx.tables.decision_rule import DecisionRule, rule_from_weights
from featx.tables.ids import Floats
from featx.tables.resampling_units import are_mostly_single, assign_folds
from featx.tables.sample_weights import multiply_weights
from featx.tables.target_values import TargetValues

# Row numbers of one fold: train, held out.
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
# Rows that a class needs for two folds: two train rows in each.
MIN_CLASS_ROWS = 4


@dataclass(frozen=True)
class TrainingData:
    """Samples that an estimator or a calibration is fitted on; where labels are soft, a row may occur more than once.

    Attributes
    ----------
    row_numbers
        (m,) row number of each sample.
    y
        (m,) class codes, (m, t) labels, or (m, t) numbers.
    weights
        (m,) sample weights ≥ 0; None if all are equal.
    """

    row_numbers: NDArray[np.intp]
    y: NDArray[Any]
    weights: Floats | None


@dataclass(frozen=True)
class TrainRows:
    """Features, target values and weights of the rows that a head is fitted on.

    Attributes
    ----------
    x
        (n, d) features.
    targets
        Target values of the rows; each class and label occurs at least once in the train rows of every fold.
    weights
        (n,) weight of each row in training, ≥ 0, mean 1, without class weights; None if all are equal.
    groups
        (n,) resampling unit of each row: groups and copies are never divided between train and held-out rows. None if
        every row is a unit.
    class_weights
        (k,) weight of each class in training and in decisions, > 0; None if all are equal.
    balancing_factors
        (k,) factors by which `class_weights` are multiplied in training only (`featx.tables.sample_weights`); None if
        all are 1.
    """

    x: NDArray[np.float32]
    targets: TargetValues
    weights: Floats | None = None
    groups: NDArray[Any] | None = None
    class_weights: Floats | None = None
    balancing_factors: Floats | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, row_numbers: NDArray[np.intp]) -> "TrainRows":
        """Return the rows with these numbers."""
        weights, groups = (None if array is None else array[row_numbers] for array in (self.weights, self.groups))
        return replace(
            self, x=self.x[row_numbers], targets=self.targets.take(row_numbers), weights=weights, groups=groups
        )

    def training_data(self) -> TrainingData:
        """Return the samples to fit on: where labels are soft, each row once for each class that has a share in it."""
        return self._training_data(self.weights, multiply_weights(self.class_weights, self.balancing_factors))

    def calibration_data(self) -> TrainingData:
        """Return the same samples for calibration, weighted by the target's own weights only.

        Weights of classes and groups change how often each class occurs; probabilities calibrated by them would be
        those of another population.
        """
        return self._training_data(self.targets.weights, None)

    def _training_data(self, weights: Floats | None, class_weights: Floats | None) -> TrainingData:
        if self.targets.shares is None:
            row_numbers, codes, sample_weights = np.arange(len(self)), self.targets.y, weights
        else:
            row_numbers, codes = np.nonzero(self.targets.shares)
            shares = self.targets.shares[row_numbers, codes]
            sample_weights = shares if weights is None else shares * weights[row_numbers]
        if class_weights is not None:
            weight_of_code = class_weights[codes]
            sample_weights = weight_of_code if sample_weights is None else sample_weights * weight_of_code
        return TrainingData(row_numbers, codes, sample_weights)

    @property
    def decision_rule(self) -> DecisionRule | None:
        """The rule by which a model of these rows predicts a class; None for the most probable class."""
        return rule_from_weights(self.class_weights)

    def folds(self, n_folds: int, seed: int) -> list[Fold]:
        """Return the train and held-out row numbers of each fold; folds are stratified and do not divide units."""
        numbers = self.fold_numbers(n_folds, seed)
        return [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(n_folds)]

    def fold_numbers(self, n_folds: int, seed: int) -> NDArray[np.int64]:
        """Return (n,) the fold that holds each row out (`featx.tables.resampling_units.assign_folds`)."""
        return assign_folds(self.targets.strata(), self.groups, n_folds, seed)

    @property
    def n_units(self) -> int:
        """Number of resampling units."""
        return len(self) if self.groups is None else len(np.unique(self.groups))

    def n_fold_rows(self, n_folds: int, seed: int) -> int:
        """Return the number of train rows of the fold that has the fewest: large groups make folds of unequal sizes."""
        return len(self) - int(np.bincount(self.fold_numbers(n_folds, seed)).max())

    def drop_copies(self) -> "TrainRows":
        """Return one row of each unit if most units are single rows; otherwise all rows."""
        if self.groups is None or not are_mostly_single(self.groups):
            return self
        return self.take(np.unique(self.groups, return_index=True)[1])


def n_calibration_folds(rows: TrainRows, min_class_rows: int, spec: HeadSpec) -> int:
    """Return the number of folds of a calibration within some rows, which the rarest class and the groups limit."""
    return min(spec.folds, min_class_rows, rows.n_units)


def check_folds(rows: TrainRows, spec: HeadSpec, *, calibrates_trials: bool = False) -> None:
    """Check that every class occurs in the train rows of every fold, twice where calibration makes folds of its own.

    With nested cross-validation, the outer folds are checked as well, and the folds within the train rows of each.

    Parameters
    ----------
    calibrates_trials
        Whether the trials of the search make folds within each fold for calibration; by default False.

    Raises
    ------
    DataError
        A class or label has too few rows, there are fewer rows or groups than folds, a fold has fewer rows than the
        components or neighbours of the spec, or the metric is not defined on the held-out rows of a fold. Copies of one
        image count once.
    """
    _check_search_folds(rows, spec, calibrates_trials)
    if spec.nested:
        _check_nested_folds(rows, spec, calibrates_trials)
    n_rows = count_smallest_fold_rows(rows, spec)
    for name in ("components", "n_neighbors"):
        if (value := spec.largest_value(name)) > n_rows:
            raise DataError(
                f"[[head]] {spec.name!r}: {name} = {value}, but one fold is trained on {n_rows} rows; expected at most "
                f"{n_rows}"
            )


def count_smallest_fold_rows(rows: TrainRows, spec: HeadSpec) -> int:
    """Return the number of train rows of the fold of a search that has the fewest, nested searches included."""
    searched_rows = [rows]
    if spec.nested:
        searched_rows += [rows.take(train) for train, _ in rows.folds(spec.nested, spec.seed)]
    return min(some_rows.n_fold_rows(spec.folds, spec.seed) for some_rows in searched_rows)


def _check_nested_folds(rows: TrainRows, spec: HeadSpec, calibrates_trials: bool) -> None:
    next_step = "set a smaller 'nested' in [[head]] or with 'featx fit --nested'"
    _check_units(rows, spec.nested, next_step)
    _check_metric_of_folds(rows, spec, spec.nested, next_step)
    for train, _ in rows.folds(spec.nested, spec.seed):
        try:
            _check_search_folds(rows.take(train), spec, calibrates_trials)
        except DataError as error:
            raise DataError(f"in the train rows of one of {spec.nested} nested folds: {error}") from error


def _check_search_folds(rows: TrainRows, spec: HeadSpec, calibrates_trials: bool) -> None:
    # The train rows of each fold then hold two rows or more of every class.
    min_rows = spec.folds if spec.folds > 2 else MIN_CLASS_ROWS
    unique_rows = rows.drop_copies()
    rows_text = "train rows" if len(unique_rows) == len(rows) else "different train images (copies count once)"
    if len(unique_rows) < min_rows:
        raise DataError(
            f"{len(unique_rows)} {rows_text} are too few for {spec.folds} folds; add images, or set 'folds = …' in "
            "[[head]]"
        )
    noun = rows.targets.noun
    for name, count in unique_rows.targets.counts_to_learn.items():
        if count < min_rows:
            fewer_folds = ", or set 'folds = …' in [[head]]" if count >= MIN_CLASS_ROWS else ""
            raise DataError(
                f"{noun} {name!r} has {count} {rows_text}, {spec.folds} folds need at least {min_rows} of each; add "
                f"images or drop it{fewer_folds}"
            )
    _check_units(rows, spec.folds, "set 'folds = …' in [[head]]")
    _check_train_rows_of_folds(rows, spec)
    if spec.trials:
        _check_metric_of_folds(rows, spec, spec.folds, "set fewer 'folds' in [[head]]")
    if calibrates_trials and rows.groups is not None:
        _check_calibration_folds(rows, spec)


def _check_units(rows: TrainRows, n_folds: int, next_step: str) -> None:
    if rows.n_units < n_folds:
        count_text = f"train has {rows.n_units} rows"
        if rows.groups is not None:
            count_text = f"split.by and copies leave {rows.n_units} groups in train"
        raise DataError(f"{count_text}, {n_folds} folds need one each; {next_step}")


def _check_train_rows_of_folds(rows: TrainRows, spec: HeadSpec) -> None:
    for train, _ in rows.folds(spec.folds, spec.seed):
        for name, count in rows.targets.take(train).counts_to_learn.items():
            if count < 2:
                unit = "groups" if rows.groups is not None else "rows"
                raise DataError(
                    f"{rows.targets.noun} {name!r} is in too few {unit}: one fold would be trained without it; "
                    f"add {unit} with it, or drop it"
                )


def _check_metric_of_folds(rows: TrainRows, spec: HeadSpec, n_folds: int, next_step: str) -> None:
    """Check that the metric is defined on the held-out rows of each fold, whatever is predicted."""
    metric = resolve_metric(rows.targets, spec.metric)
    for _, held_out in rows.folds(n_folds, spec.seed):
        if not is_score_defined(metric, rows.targets.take(held_out)):
            raise DataError(
                f"metric {metric!r} of head {spec.name!r} is not defined on the {len(held_out)} held-out rows of one "
                f"of {n_folds} folds, whose true values differ too little or which all weigh 0; set another "
                f"'metric' in [[head]], or {next_step}"
            )


def _check_calibration_folds(rows: TrainRows, spec: HeadSpec) -> None:
    for train, _ in rows.folds(spec.folds, spec.seed):
        train_rows = rows.take(train)
        counts = train_rows.targets.counts_to_learn
        n_folds = n_calibration_folds(train_rows, min(counts.values(), default=spec.folds), spec)
        folds = train_rows.folds(n_folds, spec.seed) if n_folds > 1 else []
        fold_counts = [train_rows.targets.take(fold_train).counts_to_learn for fold_train, _ in folds]
        for name in counts:
            if not folds or not all(fold[name] for fold in fold_counts):
                raise DataError(
                    f"{rows.targets.noun} {name!r} is in too few groups to calibrate head {spec.name!r} within "
                    f"each fold for metric = {spec.metric!r}; add groups with it, or set another metric"
                )
