"""Tables of predictions by id, one class for each kind of target.

`Predictions` of classes are compared with a `Truth`, `Estimates` of numbers with `Numbers`, and `LabelProba`, for
images with several labels, with `Labels`. `AnyPredictions` is any of these tables of predictions, and
`AnyTruth` any of the tables of true values.

Rows are identified by id, never by position. Each table is checked when it is created, and ``take(ids)`` is the only
way to order rows, so that rows of two tables cannot be mixed up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import AlignmentError, DataError
from featx.tables.decision_rule import DecisionRule, decide_codes
from featx.tables.ids import Ids, Kind, as_ids, positions
from featx.tables.truth import AnyTruth, Numbers, Truth

# Prefixes of the columns on disk: numbers, probabilities of labels and of classes, class weights of the decision rule.
VALUE = "value."
HAS = "has."
PROBA = "proba."
DECISION = "decision."


@dataclass(frozen=True, eq=False)
class Labels(Numbers):
    """The true labels of images: `values` (n, t) are 0 or 1, and `names` are the t labels."""

    kind: ClassVar[Kind] = "labels"


@dataclass(frozen=True, eq=False)
class Estimates:
    """One model's predictions of numbers for images that it was not trained on.

    Attributes
    ----------
    ids
        (n,) image ids, each once.
    values
        (n, t) finite float64 predictions.
    names
        Names of the t columns.
    part
        (n,) ``oof`` (out-of-fold train rows, in the chosen setting), ``val`` or ``test``.
    fold
        (n,) number of the fold that held the row out; -1 for val and test.
    """

    prefix: ClassVar[str] = VALUE
    ids: NDArray[np.object_]
    values: NDArray[np.float64]
    names: tuple[str, ...]
    part: NDArray[np.object_]
    fold: NDArray[np.int64]

    def __post_init__(self) -> None:
        as_ids(self.ids)
        n, t = len(self.ids), len(self.names)
        if self.values.shape != (n, t) or len(self.part) != n or len(self.fold) != n:
            raise AlignmentError(f"expected numbers of shape ({n}, {t}), found {self.values.shape}")
        if n_invalid := int((~np.isfinite(self.values).all(1)).sum()):
            raise DataError(f"{n_invalid} of {n} rows of numbers are not finite")

    @classmethod
    def of_part(
        cls, part: str, ids: Ids, values: NDArray[Any], names: Sequence[str], fold: NDArray[np.int64] | None = None
    ) -> Self:
        """Return a table whose rows all belong to one part."""
        n = len(ids)
        parts, folds = np.full(n, part, dtype=object), np.full(n, -1) if fold is None else fold
        return cls(as_ids(ids), np.asarray(values, dtype=np.float64), tuple(names), parts, folds)

    @classmethod
    def concatenate(cls, tables: Sequence[Self]) -> Self:
        """Return one table of all rows of tables with the same columns; ids must differ."""
        ids, values, part, fold = (
            np.concatenate([getattr(table, name) for table in tables]) for name in ("ids", "values", "part", "fold")
        )
        return cls(ids, values, tables[0].names, part, fold)

    def _take_rows(self, rows: NDArray[Any]) -> Self:
        return replace(self, ids=self.ids[rows], values=self.values[rows], part=self.part[rows], fold=self.fold[rows])

    def take(self, ids: Ids) -> Self:
        """Return the rows of `ids`, in their order."""
        return self._take_rows(positions(self.ids, ids, "predictions"))

    def of(self, part: str) -> Self:
        """Return the rows of one part; the result may be empty."""
        return self._take_rows(np.flatnonzero(self.part == part))

    def to_frame(self) -> pd.DataFrame:
        """Return one flat frame for Parquet; columns of numbers are prefixed ``value.``, of labels ``has.``."""
        frame = pd.DataFrame({"id": self.ids, "part": self.part, "fold": self.fold})
        return frame.join(pd.DataFrame(self.values, columns=[f"{self.prefix}{name}" for name in self.names]))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """Return the table that `to_frame` turned into a frame."""
        names = [name for name in frame.columns if name.startswith(cls.prefix)]
        return cls(
            frame["id"].to_numpy(object),
            frame[names].to_numpy(np.float64),
            tuple(name.removeprefix(cls.prefix) for name in names),
            frame["part"].to_numpy(object),
            frame["fold"].to_numpy(np.int64),
        )


@dataclass(frozen=True, eq=False)
class LabelProba(Estimates):
    """One model's probabilities of labels: `values` (n, t) are the probabilities that an image has each label."""

    prefix: ClassVar[str] = HAS

    def __post_init__(self) -> None:
        super().__post_init__()
        if n_invalid := int(((self.values < 0) | (self.values > 1)).any(1).sum()):
            raise DataError(f"{n_invalid} of {len(self.ids)} rows of probabilities are not in [0, 1]")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's class probabilities for images that it was not trained on.

    Attributes
    ----------
    ids
        (n,) image ids, each once.
    proba
        (n, k) float64 class probabilities; rows sum to 1.
    classes
        k class names in the order of the columns.
    part
        (n,) ``oof`` (out-of-fold train rows, in the chosen setting), ``val`` or ``test``.
    fold
        (n,) number of the fold that held the row out; -1 for val and test.
    decision
        Decision rule of the model; None for the most probable class.
    """

    ids: NDArray[np.object_]
    proba: NDArray[np.float64]
    classes: tuple[str, ...]
    part: NDArray[np.object_]
    fold: NDArray[np.int64]
    decision: DecisionRule | None = None

    def __post_init__(self) -> None:
        as_ids(self.ids)
        n, k = len(self.ids), len(self.classes)
        if self.proba.shape != (n, k) or len(self.part) != n or len(self.fold) != n:
            raise AlignmentError(f"expected probabilities of shape ({n}, {k}), found {self.proba.shape}")
        invalid = ~np.isfinite(self.proba).all(1) | (self.proba < 0).any(1) | (abs(self.proba.sum(1) - 1) > 1e-5)
        if n_invalid := int(invalid.sum()):
            raise DataError(f"{n_invalid} of {n} rows of probabilities are not finite, are negative or do not sum to 1")
        if self.decision is not None and len(self.decision.weights) != k:
            raise AlignmentError(f"expected {k} weights in the decision rule, found {len(self.decision.weights)}")

    @classmethod
    def of_part(  # noqa: PLR0913 - the columns of the table
        cls,
        part: str,
        ids: Ids,
        proba: NDArray[Any],
        classes: Sequence[str],
        fold: NDArray[np.int64] | None = None,
        decision: DecisionRule | None = None,
    ) -> "Predictions":
        """Return a table whose rows all belong to one part; probabilities are scaled to sum to 1 in float64."""
        n = len(ids)
        proba = np.asarray(proba, dtype=np.float64)
        return cls(
            as_ids(ids),
            proba / proba.sum(axis=1, keepdims=True),
            tuple(classes),
            np.full(n, part, dtype=object),
            np.full(n, -1) if fold is None else fold,
            decision,
        )

    @classmethod
    def concatenate(cls, tables: Sequence["Predictions"]) -> "Predictions":
        """Return one table of all rows of tables with the same classes and decision rule; ids must differ."""
        first = tables[0]
        ordered = [table.ordered(first.classes) for table in tables]
        if any(table.decision != first.decision for table in ordered):
            raise AlignmentError("expected tables with one decision rule, found several rules")
        ids, proba, part, fold = (
            np.concatenate([getattr(table, name) for table in ordered]) for name in ("ids", "proba", "part", "fold")
        )
        return cls(ids, proba, first.classes, part, fold, first.decision)

    def _take_rows(self, rows: NDArray[Any]) -> "Predictions":
        return replace(self, ids=self.ids[rows], proba=self.proba[rows], part=self.part[rows], fold=self.fold[rows])

    def take(self, ids: Ids) -> "Predictions":
        """Return the rows of `ids`, in their order."""
        return self._take_rows(positions(self.ids, ids, "predictions"))

    def of(self, part: str) -> "Predictions":
        """Return the rows of one part; the result may be empty."""
        return self._take_rows(np.flatnonzero(self.part == part))

    def ordered(self, classes: Sequence[str]) -> "Predictions":
        """Return the same rows with the columns in the order of `classes`.

        Raises
        ------
        AlignmentError
            `classes` is not the same set of classes.
        """
        if set(classes) != set(self.classes):
            raise AlignmentError(f"expected the classes {list(classes)!r}, found {list(self.classes)!r}")
        columns = [self.classes.index(name) for name in classes]
        decision = None if self.decision is None else self.decision.ordered(columns)
        return replace(self, proba=self.proba[:, columns], classes=tuple(classes), decision=decision)

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n,) codes of the predicted classes."""
        return decide_codes(self.proba, self.decision)

    def to_frame(self) -> pd.DataFrame:
        """Return one flat frame for Parquet.

        Columns of classes are prefixed ``proba.``. With a decision rule, columns prefixed ``decision.`` hold its class
        weights, equal in all rows.
        """
        frame = pd.DataFrame({"id": self.ids, "part": self.part, "fold": self.fold})
        frame = frame.join(pd.DataFrame(self.proba, columns=[f"{PROBA}{name}" for name in self.classes]))
        if self.decision is None:
            return frame
        weights = zip(self.classes, self.decision.weights, strict=True)
        return frame.assign(**{f"{DECISION}{name}": weight for name, weight in weights})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Predictions":
        """Return the table that `to_frame` turned into a frame."""
        columns = [name for name in frame.columns if name.startswith(PROBA)]
        classes = tuple(name.removeprefix(PROBA) for name in columns)
        weights = [f"{DECISION}{name}" for name in classes]
        is_weighted = weights[0] in frame.columns and len(frame) > 0
        return cls(
            frame["id"].to_numpy(object),
            frame[columns].to_numpy(np.float64),
            classes,
            frame["part"].to_numpy(object),
            frame["fold"].to_numpy(np.int64),
            DecisionRule(weights=tuple(map(float, frame[weights].iloc[0]))) if is_weighted else None,
        )


AnyPredictions = Predictions | Estimates


def predictions_from_frame(frame: pd.DataFrame) -> AnyPredictions:
    """Return the table of any kind that `to_frame` turned into a frame."""
    if any(name.startswith(HAS) for name in frame.columns):
        return LabelProba.from_frame(frame)
    has_numbers = any(name.startswith(VALUE) for name in frame.columns)
    return Estimates.from_frame(frame) if has_numbers else Predictions.from_frame(frame)


def predictions_of_part(  # noqa: PLR0913 - the columns of the table
    truth: AnyTruth,
    part: str,
    ids: Ids,
    outputs: NDArray[Any],
    fold: NDArray[np.int64] | None = None,
    decision: DecisionRule | None = None,
) -> AnyPredictions:
    """Return a model's outputs as the kind of table that fits `truth`; all rows belong to one part.

    Parameters
    ----------
    outputs
        (n, k) class probabilities, (n, t) label probabilities, or (n, t) numbers.
    fold
        (n,) number of the fold that held the row out; -1 by default.
    decision
        Decision rule of the model, for classes only; None for the most probable class.
    """
    if isinstance(truth, Truth):
        return Predictions.of_part(part, ids, outputs, truth.classes, fold, decision)
    table = LabelProba if isinstance(truth, Labels) else Estimates
    return table.of_part(part, ids, outputs, truth.names, fold)


def selection_rows(predictions: AnyPredictions) -> AnyPredictions:
    """Return the selection rows, by which runs are chosen: val, or without a val split the out-of-fold rows."""
    val = predictions.of("val")
    return val if len(val.ids) else predictions.of("oof")


def concatenate_predictions(tables: Sequence[AnyPredictions]) -> AnyPredictions:
    """Return one table of all rows of tables of one kind."""
    return type(tables[0]).concatenate(tables)  # type: ignore[arg-type]
