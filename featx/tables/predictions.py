"""The three tables between the stages: `Manifest` → `Embeddings` → `Predictions`, and the `Truth` they are held to.

Where a target is numbers, `Estimates` are held to `Numbers`; where it is labels of which an image may have several,
`LabelProba` to `Labels`. `Known` and `Answered` are what all kinds have in common.

Rows are known by id and nothing else. Each table is checked once, when it is made, and ``take(ids)`` is the only
way to put rows in an order, so that a row can never be taken for its neighbour.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import AlignmentError, DataError
from featx.tables.decision_rule import DecisionRule, decided_codes
from featx.tables.ids import Ids, Kind, as_ids, positions
from featx.tables.truth import Known, Numbers, Truth

VALUE = "value."  # how a column of numbers begins
HAS = "has."  # one of the probability of a label
PROBA = "proba."  # and of a class
DECISION = "decision."  # a column that holds the weight of a class in the decision rule


@dataclass(frozen=True, eq=False)
class Labels(Numbers):
    """Which labels some images have: `values` (n, t) are 0 or 1, `names` those of the labels."""

    kind: ClassVar[Kind] = "labels"


@dataclass(frozen=True, eq=False)
class Estimates:
    """What one model says of images that it did not learn from, in numbers.

    Attributes
    ----------
    ids
        (n,).
    values
        (n, t) finite float64.
    names
        Of the t columns.
    part
        As of `Predictions`.
    fold
        As of `Predictions`.
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
        if bad := int((~np.isfinite(self.values).all(1)).sum()):
            raise DataError(f"{bad} of {n} rows of numbers are not finite")

    @classmethod
    def of_part(
        cls, part: str, ids: Ids, values: NDArray[Any], names: Sequence[str], fold: NDArray[np.int64] | None = None
    ) -> Self:
        """Make a table whose rows are all of one part."""
        n = len(ids)
        parts, folds = np.full(n, part, dtype=object), np.full(n, -1) if fold is None else fold
        return cls(as_ids(ids), np.asarray(values, dtype=np.float64), tuple(names), parts, folds)

    @classmethod
    def concatenate(cls, tables: Sequence[Self]) -> Self:
        """Stack tables over the same columns; ids must differ."""
        joined = (np.concatenate([getattr(one, name) for one in tables]) for name in ("ids", "values", "part", "fold"))
        ids, values, part, fold = joined
        return cls(ids, values, tables[0].names, part, fold)

    def _rows(self, at: NDArray[Any]) -> Self:
        return type(self)(self.ids[at], self.values[at], self.names, self.part[at], self.fold[at])

    def take(self, ids: Ids) -> Self:
        """Return the rows of `ids`, in their order."""
        return self._rows(positions(self.ids, ids, "predictions"))

    def of(self, part: str) -> Self:
        """Return the rows of one part; there may be none."""
        return self._rows(np.flatnonzero(self.part == part))

    def to_frame(self) -> pd.DataFrame:
        """Return one flat frame, fit for Parquet; a number's column is prefixed ``value.``, a label's ``has.``."""
        frame = pd.DataFrame({"id": self.ids, "part": self.part, "fold": self.fold})
        return frame.join(pd.DataFrame(self.values, columns=[f"{self.prefix}{name}" for name in self.names]))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """Undo `to_frame`; frames of an older featx have no folds."""
        names = [name for name in frame.columns if name.startswith(cls.prefix)]
        fold = frame["fold"].to_numpy(np.int64) if "fold" in frame else np.full(len(frame), -1)
        return cls(
            frame["id"].to_numpy(object),
            frame[names].to_numpy(np.float64),
            tuple(name.removeprefix(cls.prefix) for name in names),
            frame["part"].to_numpy(object),
            fold,
        )


@dataclass(frozen=True, eq=False)
class LabelProba(Estimates):
    """The same of labels: `values` (n, t) are the probability that an image has each."""

    prefix: ClassVar[str] = HAS

    def __post_init__(self) -> None:
        super().__post_init__()
        if bad := int(((self.values < 0) | (self.values > 1)).any(1).sum()):
            raise DataError(f"{bad} of {len(self.ids)} rows of probabilities are not in [0, 1]")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model says of images that it did not learn from.

    Attributes
    ----------
    ids
        (n,).
    proba
        (n, k) float64; rows sum to 1.
    classes
        k names in the order of the columns.
    part
        (n,) ``oof`` (train rows, out of fold, in the chosen setting), ``val`` or ``test``.
    fold
        (n,) the fold that held the row out; -1 for val and test.
    decision
        The rule by which the model decides for a class; None for the most probable class.
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
        odd = ~np.isfinite(self.proba).all(1) | (self.proba < 0).any(1) | (abs(self.proba.sum(1) - 1) > 1e-5)
        if bad := int(odd.sum()):
            raise DataError(f"{bad} of {n} rows of probabilities are not finite, are negative or do not sum to 1")
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
        """Make a table whose rows are all of one part; probabilities are scaled to sum to 1 in float64."""
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
        """Stack tables over the same classes that are decided by the same rule; ids must differ."""
        first = tables[0]
        ordered = [table.ordered(first.classes) for table in tables]
        if any(table.decision != first.decision for table in ordered):
            raise AlignmentError("expected tables that are decided by one rule, found several rules")
        return cls(
            np.concatenate([t.ids for t in ordered]),
            np.concatenate([t.proba for t in ordered]),
            first.classes,
            np.concatenate([t.part for t in ordered]),
            np.concatenate([t.fold for t in ordered]),
            first.decision,
        )

    def _rows(self, at: NDArray[Any]) -> "Predictions":
        return replace(self, ids=self.ids[at], proba=self.proba[at], part=self.part[at], fold=self.fold[at])

    def take(self, ids: Ids) -> "Predictions":
        """Return the rows of `ids`, in their order."""
        return self._rows(positions(self.ids, ids, "predictions"))

    def of(self, part: str) -> "Predictions":
        """Return the rows of one part; there may be none."""
        return self._rows(np.flatnonzero(self.part == part))

    def ordered(self, classes: Sequence[str]) -> "Predictions":
        """Return the same rows with the columns in the order of `classes`.

        Raises
        ------
        AlignmentError
            the classes are not the same set.
        """
        if set(classes) != set(self.classes):
            raise AlignmentError(f"expected the classes {list(classes)!r}, found {list(self.classes)!r}")
        columns = [self.classes.index(name) for name in classes]
        decision = None if self.decision is None else self.decision.ordered(columns)
        return replace(self, proba=self.proba[:, columns], classes=tuple(classes), decision=decision)

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n,) the class that each row is decided for."""
        return decided_codes(self.proba, self.decision)

    def to_frame(self) -> pd.DataFrame:
        """Return one flat frame, fit for Parquet.

        The column of a class is prefixed ``proba.``; where a decision rule has weights, these are the same in all rows
        and their columns are prefixed ``decision.``.
        """
        frame = pd.DataFrame({"id": self.ids, "part": self.part, "fold": self.fold})
        frame = frame.join(pd.DataFrame(self.proba, columns=[f"{PROBA}{name}" for name in self.classes]))
        if self.decision is None:
            return frame
        weights = zip(self.classes, self.decision.weights, strict=True)
        return frame.assign(**{f"{DECISION}{name}": weight for name, weight in weights})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Predictions":
        """Undo `to_frame`."""
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


Answered = Predictions | Estimates


def answers_from_frame(frame: pd.DataFrame) -> Answered:
    """Undo any table's `to_frame`."""
    if any(name.startswith(HAS) for name in frame.columns):
        return LabelProba.from_frame(frame)
    of_numbers = any(name.startswith(VALUE) for name in frame.columns)
    return Estimates.from_frame(frame) if of_numbers else Predictions.from_frame(frame)


def answers_of_part(  # noqa: PLR0913 - the columns of the table
    known: Known,
    part: str,
    ids: Ids,
    outputs: NDArray[Any],
    fold: NDArray[np.int64] | None = None,
    decision: DecisionRule | None = None,
) -> Answered:
    """Make the table that answers `known`, all rows of one part.

    Parameters
    ----------
    outputs
        (n, k) probabilities of classes, (n, t) of labels, or (n, t) numbers.
    decision
        The rule by which the model decides for a class.
    """
    if isinstance(known, Truth):
        return Predictions.of_part(part, ids, outputs, known.classes, fold, decision)
    kind = LabelProba if isinstance(known, Labels) else Estimates
    return kind.of_part(part, ids, outputs, known.names, fold)


def choosing(answered: Answered) -> Answered:
    """Return the rows that choose between runs: val, or where there is no val split the out-of-fold rows."""
    val = answered.of("val")
    return val if len(val.ids) else answered.of("oof")


def concatenated(tables: Sequence[Answered]) -> Answered:
    """Stack tables of one kind."""
    return type(tables[0]).concatenate(tables)  # type: ignore[arg-type]
