"""Tables of a target's true values by id, one class for each kind of target."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.tables.ids import Floats, Ids, Kind, as_ids, positions, take_rows


@dataclass(frozen=True, eq=False)
class AnyTruth:
    """The true values of a target for images.

    Attributes
    ----------
    kind
        Kind of the target.
    ids
        (n,) image ids, each once.
    values
        (n,) class codes in 0 … k-1, (n, t) labels 0 or 1, or (n, t) finite numbers.
    names
        Names of the k classes, where code i means ``names[i]``, or of the t columns.
    weights
        (n,) weights ≥ 0 of the images, in training and in weighted scores; None if all weigh the same.
    shares
        (n, k) class probabilities of soft labels, rows sum to 1; `values` are the most probable classes. None for hard
        labels and other kinds.
    ordered
        Whether the classes have an order.
    """

    kind: ClassVar[Kind]
    ids: NDArray[np.object_]
    values: NDArray[Any]
    names: tuple[str, ...]
    weights: Floats | None = None
    shares: Floats | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        as_ids(self.ids)
        for name, column in (("values", self.values), ("weights", self.weights), ("shares", self.shares)):
            if column is not None and len(column) != len(self.ids):
                raise AlignmentError(f"expected {len(self.ids)} {name}, found {len(column)}")

    def take(self, ids: Ids) -> Self:
        """Return the rows of `ids`, in their order."""
        return take_rows(self, positions(self.ids, ids, "labels"))

    def texts(self) -> dict[str, str]:
        """Return image id → true value as text."""
        return dict(zip(self.ids, self._texts(), strict=True))

    def _texts(self) -> Iterable[str]:
        raise NotImplementedError


class Truth(AnyTruth):
    """The true classes of images."""

    kind: ClassVar[Kind] = "classes"

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n,) class codes."""
        return self.values

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the k classes."""
        return self.names

    def _texts(self) -> Iterable[str]:
        return (self.names[code] for code in self.values)


class Numbers(AnyTruth):
    """The true numbers of images."""

    kind: ClassVar[Kind] = "numbers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values.shape != (len(self.ids), len(self.names)):
            raise AlignmentError(f"expected numbers of shape ({len(self.ids)}, {len(self.names)})")

    def _texts(self) -> Iterable[str]:
        return (", ".join(f"{value:g}" for value in row) for row in self.values)


class Labels(Numbers):
    """The true labels of images."""

    kind: ClassVar[Kind] = "labels"

    def _texts(self) -> Iterable[str]:
        rows = ([name for name, has_label in zip(self.names, row, strict=True) if has_label] for row in self.values)
        return (" + ".join(names) or "none" for names in rows)


def class_names(truth: Truth) -> "pd.Series[Any]":
    """Return the name of the class of each image, by id."""
    return pd.Series(np.asarray(truth.classes, dtype=object)[truth.codes], index=pd.Index(truth.ids))
