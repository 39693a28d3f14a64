"""The three tables between the stages: `Manifest` → `Embeddings` → `Predictions`, and the `Truth` they are held to.

Where a target is numbers, `Estimates` are held to `Numbers`; where it is labels of which an image may have several,
`LabelProba` to `Labels`. `Known` and `Answered` are what all kinds have in common.

Rows are known by id and nothing else. Each table is checked once, when it is made, and ``take(ids)`` is the only
way to put rows in an order, so that a row can never be taken for its neighbour.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import AlignmentError, DataError
from featx.tables.decision_rule import DecisionRule, decided_codes

VALUE = "value."  # how a column of numbers begins
HAS = "has."  # one of the probability of a label
PROBA = "proba."  # and of a class
DECISION = "decision."  # a column that holds the weight of a class in the decision rule
Kind = Literal["classes", "labels", "numbers"]  # of a target
Ids = NDArray[np.object_] | Sequence[str]


def as_ids(ids: Ids) -> NDArray[np.object_]:
    """Return ids as (n,) array of str.

    Raises
    ------
    DataError
        an id stands twice.
    """
    array = np.asarray(ids, dtype=object)
    index = pd.Index(array)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise DataError(f"{len(twice)} ids stand more than once, first {twice[0]!r}; expected each image once")
    return array


def positions(ids: Ids, wanted: Ids, what: str) -> NDArray[np.intp]:
    """Return where each id of `wanted` stands in `ids`.

    Raises
    ------
    AlignmentError
        some are not there; `what` names the table in the message.
    """
    found: NDArray[np.intp] = pd.Index(np.asarray(ids, dtype=object)).get_indexer(
        pd.Index(np.asarray(wanted, dtype=object))
    )
    if (lost := np.flatnonzero(found < 0)).size:
        first = np.asarray(wanted, dtype=object)[lost[0]]
        raise AlignmentError(f"{lost.size} of {len(wanted)} ids are not in the {what}, first {first!r}")
    return found


@dataclass(frozen=True, eq=False)
class Manifest:
    """All images of a source, readable or not.

    Attributes
    ----------
    ids
        (n,) stable, readable names: the path relative to the source.
    uris
        (n,) where the bytes are.
    labels
        n rows of label columns as they were read, by id.
    digests
        (n,) 32 hex digits of each image's content; empty where it could not be read or was not looked at yet.
    """

    ids: NDArray[np.object_]
    uris: NDArray[np.object_]
    labels: pd.DataFrame
    digests: NDArray[np.object_]

    def __post_init__(self) -> None:
        as_ids(self.ids)
        if not len(self.ids) == len(self.uris) == len(self.labels) == len(self.digests):
            raise AlignmentError("ids, uris, labels and digests of a manifest differ in length")
        if not self.labels.index.equals(pd.Index(self.ids)):
            raise AlignmentError("the labels of a manifest are not in the order of its ids")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, ids: Ids) -> "Manifest":
        """Return the rows of `ids`, in their order."""
        at = positions(self.ids, ids, "manifest")
        return Manifest(self.ids[at], self.uris[at], self.labels.iloc[at], self.digests[at])

    def column(self, name: str) -> "pd.Series[Any]":
        """Return a label column by id.

        Raises
        ------
        DataError
            there is no such column; names those that there are.
        """
        if name not in self.labels.columns:
            known = ", ".join(map(str, self.labels.columns)) or "none"
            raise DataError(f"no label column is called {name!r}; columns: {known}")
        return self.labels[name]

    def to_frame(self) -> pd.DataFrame:
        """Return one flat frame, fit for Parquet; label columns are prefixed ``label.``."""
        frame = pd.DataFrame({"id": self.ids, "uri": self.uris, "digest": self.digests})
        return frame.join(self.labels.reset_index(drop=True).add_prefix("label."))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Manifest":
        """Undo `to_frame`."""
        labels = frame[[name for name in frame.columns if name.startswith("label.")]]
        labels = labels.rename(columns=lambda name: name.removeprefix("label.")).set_index(pd.Index(frame["id"]))
        ids, uris, digests = (frame[name].to_numpy(object) for name in ("id", "uri", "digest"))
        return cls(ids, uris, labels, digests)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector an image.

    Attributes
    ----------
    ids
        (n,).
    x
        (n, d) float32.
    fingerprints
        Of the embeddings that stand side by side in `x`.
    """

    ids: NDArray[np.object_]
    x: NDArray[np.float32]
    fingerprints: tuple[str, ...]

    def __post_init__(self) -> None:
        as_ids(self.ids)
        if self.x.ndim != 2 or len(self.x) != len(self.ids):
            raise AlignmentError(f"expected x of shape ({len(self.ids)}, d), found {self.x.shape}")

    def take(self, ids: Ids) -> "Embeddings":
        """Return the rows of `ids`, in their order."""
        at = positions(self.ids, ids, "embeddings")
        return Embeddings(self.ids[at], self.x[at], self.fingerprints)


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of some images.

    Attributes
    ----------
    ids
        (n,).
    codes
        (n,) integers in 0 … k-1.
    classes
        k names; code i means classes[i].
    weights
        (n,) numbers ≥ 0: how much each image counts, in learning and in weighted scores; None where all count the same.
    shares
        (n, k) rows sum to 1: the probability of each class, where labels are soft; codes are the largest.
    ordered
        Whether the classes stand in an order.
    """

    kind: ClassVar[Kind] = "classes"
    ids: NDArray[np.object_]
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    weights: NDArray[np.float64] | None = None
    shares: NDArray[np.float64] | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        as_ids(self.ids)
        for what, values in (("codes", self.codes), ("weights", self.weights), ("shares", self.shares)):
            if values is not None and len(values) != len(self.ids):
                raise AlignmentError(f"expected {len(self.ids)} {what}, found {len(values)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns of what answers it."""
        return self.classes

    def take(self, ids: Ids) -> "Truth":
        """Return the rows of `ids`, in their order."""
        at = positions(self.ids, ids, "labels")
        weights = None if self.weights is None else self.weights[at]
        shares = None if self.shares is None else self.shares[at]
        return Truth(self.ids[at], self.codes[at], self.classes, weights, shares, self.ordered)


@dataclass(frozen=True, eq=False)
class Numbers:
    """What is known of some images, in numbers.

    Attributes
    ----------
    ids
        (n,).
    values
        (n, t) finite.
    names
        Of the t columns.
    weights
        As of `Truth`.
    """

    kind: ClassVar[Kind] = "numbers"
    ids: NDArray[np.object_]
    values: NDArray[np.float64]
    names: tuple[str, ...]
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        as_ids(self.ids)
        if self.values.shape != (len(self.ids), len(self.names)):
            raise AlignmentError(f"expected numbers of shape ({len(self.ids)}, {len(self.names)})")

    def take(self, ids: Ids) -> Self:
        """Return the rows of `ids`, in their order."""
        at = positions(self.ids, ids, "labels")
        weights = None if self.weights is None else self.weights[at]
        return type(self)(self.ids[at], self.values[at], self.names, weights)


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


Known = Truth | Numbers
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
