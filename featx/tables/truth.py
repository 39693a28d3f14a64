"""Tables of a target's true values, by id."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.tables.ids import Ids, Kind, as_ids, positions


@dataclass(frozen=True, eq=False)
class Truth:
    """The true classes of images.

    Attributes
    ----------
    ids
        (n,) image ids, each once.
    codes
        (n,) class codes in 0 … k-1.
    classes
        k class names; code i means ``classes[i]``.
    weights
        (n,) weights ≥ 0 of the images, in training and in weighted scores; None if all weigh the same.
    shares
        (n, k) class probabilities of soft labels, rows sum to 1; `codes` are the most probable classes.
    ordered
        Whether the classes have an order.
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
        for name, values in (("codes", self.codes), ("weights", self.weights), ("shares", self.shares)):
            if values is not None and len(values) != len(self.ids):
                raise AlignmentError(f"expected {len(self.ids)} {name}, found {len(values)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of predictions: the classes."""
        return self.classes

    def take(self, ids: Ids) -> "Truth":
        """Return the rows of `ids`, in their order."""
        rows = positions(self.ids, ids, "labels")
        weights = None if self.weights is None else self.weights[rows]
        shares = None if self.shares is None else self.shares[rows]
        return Truth(self.ids[rows], self.codes[rows], self.classes, weights, shares, self.ordered)


@dataclass(frozen=True, eq=False)
class Numbers:
    """The true numbers of images.

    Attributes
    ----------
    ids
        (n,) image ids, each once.
    values
        (n, t) finite numbers.
    names
        Names of the t columns.
    weights
        (n,) weights ≥ 0 of the images, in training and in weighted scores; None if all weigh the same.
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
        rows = positions(self.ids, ids, "labels")
        weights = None if self.weights is None else self.weights[rows]
        return type(self)(self.ids[rows], self.values[rows], self.names, weights)


AnyTruth = Truth | Numbers
