"""What is known of some rows, in arrays: what a head learns and metrics compare with, whatever the kind of target."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.tables import Kind, Known, Truth


@dataclass(frozen=True)
class Facts:
    """The answers to n rows, as `featx.tables` has them by id.

    Attributes
    ----------
    kind
        Of the target.
    names
        Of the k classes, t labels or t numbers.
    y
        (n,) codes of classes, (n, t) labels in {0, 1}, or (n, t) numbers.
    weights
        (n,) how much each row counts in scores; None where all count the same.
    shares
        (n, k) probability of each class, where labels are soft.
    ordered
        Whether the classes stand in an order.
    """

    kind: Kind
    names: tuple[str, ...]
    y: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    shares: NDArray[np.float64] | None = None
    ordered: bool = False

    @classmethod
    def of(cls, known: Known) -> "Facts":
        """Leave out the ids."""
        if isinstance(known, Truth):
            return cls("classes", known.classes, known.codes, known.weights, known.shares, known.ordered)
        y = known.values.astype(np.int64) if known.kind == "labels" else known.values
        return cls(known.kind, known.names, y, known.weights)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, at: NDArray[np.intp]) -> "Facts":
        """Return some of the rows."""
        weights = None if self.weights is None else self.weights[at]
        shares = None if self.shares is None else self.shares[at]
        return Facts(self.kind, self.names, self.y[at], weights, shares, self.ordered)

    @property
    def n_outputs(self) -> int:
        """How many columns an answer has."""
        return len(self.names)

    @property
    def columns(self) -> list[NDArray[Any]]:
        """The labels or numbers, one array each."""
        return list(self.y.T)
