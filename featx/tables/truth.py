"""True values of a target, by id."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.tables.ids import Ids, Kind, as_ids, positions


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


Known = Truth | Numbers
