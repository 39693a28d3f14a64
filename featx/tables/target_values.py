"""What is known of some rows, in arrays: what a head learns and metrics compare with, whatever the kind of target."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Kind
from featx.tables.truth import Known, Truth


@dataclass(frozen=True)
class TargetValues:
    """The answers to n rows, as `featx.tables.predictions` has them by id.

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
    decision
        The rule by which the model that is scored decides for a class; None for the most probable class.
    """

    kind: Kind
    names: tuple[str, ...]
    y: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    shares: NDArray[np.float64] | None = None
    ordered: bool = False
    decision: DecisionRule | None = None

    @classmethod
    def of(cls, known: Known) -> "TargetValues":
        """Leave out the ids."""
        if isinstance(known, Truth):
            return cls("classes", known.classes, known.codes, known.weights, known.shares, known.ordered)
        y = known.values.astype(np.int64) if known.kind == "labels" else known.values
        return cls(known.kind, known.names, y, known.weights)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, at: NDArray[np.intp]) -> "TargetValues":
        """Return some of the rows."""
        weights = None if self.weights is None else self.weights[at]
        shares = None if self.shares is None else self.shares[at]
        return replace(self, y=self.y[at], weights=weights, shares=shares)

    def decided_by(self, rule: DecisionRule | None) -> "TargetValues":
        """Return the same rows for a model that decides by a rule."""
        return replace(self, decision=rule)

    @property
    def n_outputs(self) -> int:
        """How many columns an answer has."""
        return len(self.names)

    @property
    def columns(self) -> list[NDArray[Any]]:
        """The labels or numbers, one array each."""
        return list(self.y.T)

    @property
    def memberships(self) -> NDArray[np.float64]:
        """(n, k) the share that each row has in each class: 0 or 1 where labels are not soft."""
        return np.eye(self.n_outputs)[self.y] if self.shares is None else self.shares
