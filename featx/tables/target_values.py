"""Target values of rows as arrays, which heads learn and metrics compare with, for every kind of target."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Kind
from featx.tables.truth import AnyTruth, Truth


@dataclass(frozen=True)
class TargetValues:
    """The true values of a target for n rows, without their ids.

    Attributes
    ----------
    kind
        Kind of the target.
    names
        Names of the k classes, t labels or t numbers.
    y
        (n,) class codes, (n, t) labels in {0, 1}, or (n, t) numbers.
    weights
        (n,) weights of the rows in scores; None if all rows weigh the same.
    shares
        (n, k) class probabilities of soft labels; None for hard labels.
    ordered
        Whether the classes have an order.
    decision
        Decision rule of the model that is scored; None for the most probable class.
    """

    kind: Kind
    names: tuple[str, ...]
    y: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    shares: NDArray[np.float64] | None = None
    ordered: bool = False
    decision: DecisionRule | None = None

    @classmethod
    def of(cls, truth: AnyTruth) -> "TargetValues":
        """Return the values of a table of true values, without its ids."""
        if isinstance(truth, Truth):
            return cls("classes", truth.classes, truth.codes, truth.weights, truth.shares, truth.ordered)
        y = truth.values.astype(np.int64) if truth.kind == "labels" else truth.values
        return cls(truth.kind, truth.names, y, truth.weights)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.intp]) -> "TargetValues":
        """Return the rows at the positions `rows`, in their order."""
        weights = None if self.weights is None else self.weights[rows]
        shares = None if self.shares is None else self.shares[rows]
        return replace(self, y=self.y[rows], weights=weights, shares=shares)

    def decided_by(self, rule: DecisionRule | None) -> "TargetValues":
        """Return the same values for scoring a model that decides by `rule`."""
        return replace(self, decision=rule)

    @property
    def n_outputs(self) -> int:
        """Number of columns of a prediction: k classes, or t labels or numbers."""
        return len(self.names)

    @property
    def columns(self) -> list[NDArray[Any]]:
        """The t labels or numbers as (n,) arrays."""
        return list(self.y.T)

    @property
    def memberships(self) -> NDArray[np.float64]:
        """(n, k) class probabilities of the rows; 0 or 1 for hard labels."""
        return np.eye(self.n_outputs)[self.y] if self.shares is None else self.shares
