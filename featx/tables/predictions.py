"""Tables of predictions by id, one class for each kind of target.

`Predictions` of classes are compared with a `Truth`, `Estimates` of numbers with `Numbers`, and `LabelProba`, for
images with several labels, with `Labels`. `AnyPredictions` is the base class of these tables of predictions, and
`AnyTruth` that of the tables of true values.

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
from featx.tables.ids import Floats, Ids, Kind, as_ids, positions, take_rows
from featx.tables.target_values import TARGET_KINDS
from featx.tables.truth import AnyTruth

# Prefixes of the columns on disk: numbers, probabilities of labels and of classes, class weights of the decision rule.
VALUE = "value."
HAS = "has."
PROBA = "proba."
DECISION = "decision."


@dataclass(frozen=True, eq=False)
class AnyPredictions:
    """One model's predictions for images that it was not trained on.

    Attributes
    ----------
    kind, prefix
        Kind of the target, and the prefix of the columns on disk.
    quantity, requirement
        Noun for the values, and the condition on them, for messages.
    ids
        (n,) image ids, each once.
    values
        (n, k) float64 class probabilities, whose rows sum to 1, (n, t) label probabilities, or (n, t) numbers.
    names
        Names of the columns.
    part
        (n,) ``oof`` (out-of-fold train rows, in the chosen setting), ``val`` or ``test``.
    fold
        (n,) number of the fold that held the row out; -1 for val and test.
    decision
        Decision rule of a model of classes; None for the most probable class, and for other kinds.
    """

    kind: ClassVar[Kind]
    prefix: ClassVar[str]
    quantity: ClassVar[str] = "probabilities"
    requirement: ClassVar[str] = "finite"
    ids: NDArray[np.object_]
    values: Floats
    names: tuple[str, ...]
    part: NDArray[np.object_]
    fold: NDArray[np.int64]
    decision: DecisionRule | None = None

    def __post_init__(self) -> None:
        as_ids(self.ids)
        n, k = len(self.ids), len(self.names)
        if self.values.shape != (n, k) or len(self.part) != n or len(self.fold) != n:
            raise AlignmentError(f"expected {self.quantity} of shape ({n}, {k}), found {self.values.shape}")
        if n_invalid := int((~np.isfinite(self.values).all(1) | self._are_invalid()).sum()):
            raise DataError(f"{n_invalid} of {n} rows of {self.quantity} are not {self.requirement}")
        if self.decision is not None and len(self.decision.weights) != k:
            raise AlignmentError(f"expected {k} weights in the decision rule, found {len(self.decision.weights)}")

    def _are_invalid(self) -> NDArray[np.bool_]:
        """Return (n,) whether finite values are none of this kind."""
        return np.zeros(len(self.ids), dtype=bool)

    @classmethod
    def of_part(  # noqa: PLR0913 - the columns of the table
        cls,
        part: str,
        ids: Ids,
        values: NDArray[Any],
        names: Sequence[str],
        fold: NDArray[np.int64] | None = None,
        decision: DecisionRule | None = None,
    ) -> Self:
        """Return a table whose rows all belong to one part; class probabilities are scaled to sum to 1 in float64."""
        n = len(ids)
        values = TARGET_KINDS[cls.kind].normalise(np.asarray(values, dtype=np.float64))
        parts, folds = np.full(n, part, dtype=object), np.full(n, -1) if fold is None else fold
        return cls(as_ids(ids), values, tuple(names), parts, folds, decision)

    def with_outputs(
        self, names: tuple[str, ...], outputs: Floats, decision: DecisionRule | None = None
    ) -> "AnyPredictions":
        """Return a table of other predictions for the same rows; class probabilities are scaled to sum to 1."""
        return replace(self, values=TARGET_KINDS[self.kind].normalise(outputs), names=names, decision=decision)

    def take(self, ids: Ids) -> Self:
        """Return the rows of `ids`, in their order."""
        return take_rows(self, positions(self.ids, ids, "predictions"))

    def of(self, part: str) -> Self:
        """Return the rows of one part; the result may be empty."""
        return take_rows(self, np.flatnonzero(self.part == part))

    def ordered(self, names: Sequence[str]) -> Self:
        """Return the same rows with the columns in the order of `names`.

        Raises
        ------
        AlignmentError
            `names` is not the same set of names.
        """
        columns = column_order(self.kind, self.names, names)
        decision = None if self.decision is None else self.decision.ordered(columns)
        return replace(self, values=self.values[:, columns], names=tuple(names), decision=decision)

    def to_frame(self) -> pd.DataFrame:
        """Return one flat frame for Parquet.

        Columns of numbers are prefixed ``value.``, of labels ``has.`` and of classes ``proba.``. With a decision rule,
        columns prefixed ``decision.`` hold its class weights, equal in all rows.
        """
        frame = pd.DataFrame({"id": self.ids, "part": self.part, "fold": self.fold})
        frame = frame.join(pd.DataFrame(self.values, columns=[f"{self.prefix}{name}" for name in self.names]))
        weights = () if self.decision is None else zip(self.names, self.decision.weights, strict=True)
        return frame.assign(**{f"{DECISION}{name}": weight for name, weight in weights})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """Return the table that `to_frame` turned into a frame."""
        columns = [name for name in frame.columns if name.startswith(cls.prefix)]
        names = tuple(name.removeprefix(cls.prefix) for name in columns)
        weights = [name for name in frame.columns if name.startswith(DECISION)] if len(frame) else []
        return cls(
            frame["id"].to_numpy(object),
            frame[columns].to_numpy(np.float64),
            names,
            frame["part"].to_numpy(object),
            frame["fold"].to_numpy(np.int64),
            DecisionRule(weights=tuple(map(float, frame[weights].iloc[0]))) if weights else None,
        )


class Predictions(AnyPredictions):
    """One model's class probabilities."""

    kind: ClassVar[Kind] = "classes"
    prefix: ClassVar[str] = PROBA
    requirement: ClassVar[str] = "finite, ≥ 0 and of sum 1"

    def _are_invalid(self) -> NDArray[np.bool_]:
        return np.asarray((self.values < 0).any(1) | (abs(self.values.sum(1) - 1) > 1e-5))

    @property
    def proba(self) -> Floats:
        """(n, k) class probabilities."""
        return self.values

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the k classes."""
        return self.names

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n,) codes of the predicted classes."""
        return decide_codes(self.values, self.decision)


class LabelProba(AnyPredictions):
    """One model's probabilities that an image has each label."""

    kind: ClassVar[Kind] = "labels"
    prefix: ClassVar[str] = HAS
    requirement: ClassVar[str] = "in [0, 1]"

    def _are_invalid(self) -> NDArray[np.bool_]:
        return np.asarray(((self.values < 0) | (self.values > 1)).any(1))


class Estimates(AnyPredictions):
    """One model's predictions of numbers."""

    kind: ClassVar[Kind] = "numbers"
    prefix: ClassVar[str] = VALUE
    quantity: ClassVar[str] = "numbers"


PREDICTION_TABLES: dict[Kind, type[AnyPredictions]] = {
    table.kind: table for table in (LabelProba, Estimates, Predictions)
}


def column_order(kind: Kind, names: Sequence[str], expected_names: Sequence[str]) -> list[int]:
    """Return the positions of the columns `names` in the order that is expected.

    Raises
    ------
    AlignmentError
        `expected_names` is not the same set of names.
    """
    if set(names) != set(expected_names):
        raise AlignmentError(f"expected the {kind} {list(expected_names)!r}, found {list(names)!r}")
    return [list(names).index(name) for name in expected_names]


def predictions_from_frame(frame: pd.DataFrame) -> AnyPredictions:
    """Return the table of any kind that `to_frame` turned into a frame."""
    tables = PREDICTION_TABLES.values()
    matching_tables = (table for table in tables if any(name.startswith(table.prefix) for name in frame.columns))
    return next(matching_tables, Predictions).from_frame(frame)


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
    return PREDICTION_TABLES[truth.kind].of_part(part, ids, outputs, truth.names, fold, decision)


def selection_rows(predictions: AnyPredictions) -> AnyPredictions:
    """Return the selection rows, by which runs are chosen: val, or without a val split the out-of-fold rows."""
    val = predictions.of("val")
    return val if len(val.ids) else predictions.of("oof")


def concatenate_predictions(tables: Sequence[AnyPredictions]) -> AnyPredictions:
    """Return one table of all rows of tables with the same columns and decision rule; ids must differ."""
    first_table = tables[0]
    ordered_tables = [table.ordered(first_table.names) for table in tables]
    if any(table.decision != first_table.decision for table in ordered_tables):
        raise AlignmentError("expected tables with one decision rule, found several rules")
    ids, values, part, fold = (
        np.concatenate([getattr(table, name) for table in ordered_tables]) for name in ("ids", "values", "part", "fold")
    )
    return replace(first_table, ids=ids, values=values, part=part, fold=fold)
