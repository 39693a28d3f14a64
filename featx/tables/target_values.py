"""Target values of rows as arrays, one class for each kind of target.

The class of a kind knows what predictions of it mean: how outputs are decided, and how wrong outputs and decisions are.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax, xlogy

from featx.tables.decision_rule import DecisionRule, decide_codes
from featx.tables.ids import Floats, Kind, take_rows
from featx.tables.truth import AnyTruth

MIN_PROBABILITY = 1e-15
# An image is predicted to have a label from this probability on.
MIN_LABEL_PROBABILITY = 0.5
N_NUMBER_STRATA = 5
# Parts and folds cannot keep the share of a stratum with fewer images than this.
MIN_IMAGES_PER_STRATUM = 10


@dataclass(frozen=True)
class TargetValues(ABC):
    """The true values of a target for n rows, without their ids.

    Probabilities and decisions are those of classes or labels; of numbers, only `errors` have a meaning.

    Attributes
    ----------
    kind, noun
        Kind of the target, and the noun for one of its names.
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

    kind: ClassVar[Kind]
    noun: ClassVar[str]
    names: tuple[str, ...]
    y: NDArray[Any]
    weights: Floats | None = None
    shares: Floats | None = None
    ordered: bool = False
    decision: DecisionRule | None = None

    @staticmethod
    def of(truth: AnyTruth) -> "TargetValues":
        """Return the values of a table of true values, without its ids."""
        y = truth.values.astype(np.int64) if truth.kind == "labels" else truth.values
        return TARGET_KINDS[truth.kind](truth.names, y, truth.weights, truth.shares, truth.ordered)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return the rows at the positions `rows`, in their order."""
        return take_rows(self, rows)

    def decided_by(self, rule: DecisionRule | None) -> Self:
        """Return the same values for scoring a model that decides by `rule`."""
        return replace(self, decision=rule)

    @property
    def n_outputs(self) -> int:
        """Number of columns of a prediction: k classes, or t labels or numbers."""
        return len(self.names)

    @property
    def row_weights(self) -> Floats:
        """(n,) weights of the rows, 1 if all rows weigh the same."""
        return np.ones(len(self)) if self.weights is None else self.weights

    @property
    def columns(self) -> list[NDArray[Any]]:
        """The t labels or numbers as (n,) arrays."""
        return list(self.y.T)

    @property
    def memberships(self) -> Floats:
        """(n, k) probability of each class or label in each row, 0 or 1 unless labels are soft."""
        return self.y.astype(np.float64)

    @staticmethod
    def normalise(outputs: Floats) -> Floats:
        """Return (…, n, k) outputs as predictions hold them: probabilities of classes are scaled to sum to 1."""
        return outputs

    @staticmethod
    def from_logits(logits: Floats) -> Floats:
        """Return the (n, k) outputs of (n, k) log-odds, of which two classes may have one column; numbers stay."""
        return logits

    @staticmethod
    def decide(outputs: Floats, rule: DecisionRule | None) -> NDArray[Any]:
        """Return the decisions for (…, n, k) outputs: (…, n) class codes, (…, n, t) labels, or the same numbers."""
        return outputs

    def decisions(self, outputs: Floats) -> NDArray[Any]:
        """Return the decisions for outputs, by the decision rule of the model that is scored."""
        return self.decide(outputs, self.decision)

    @staticmethod
    def indicators(decisions: NDArray[Any], n_outputs: int) -> NDArray[Any]:
        """Return (…, n, k) whether each class or label is predicted, as 0 or 1."""
        return decisions

    def are_right(self, outputs: Floats) -> NDArray[np.bool_]:
        """Return whether decisions are right, (n,) of classes or (n, t) of labels; soft labels by `y`."""
        return np.asarray(self.decisions(outputs) == self.y)

    def correctness(self, outputs: Floats) -> Floats:
        """Return (n,) correctness: 1 for a right decision, 0 for a wrong one; of labels, the share of right ones.

        With soft labels, the correctness is the probability of the predicted class.
        """
        return np.asarray(self.are_right(outputs).mean(1))

    def log_losses(self, outputs: Floats) -> Floats:
        """Return (n,) log losses: -log of the probability of the truth, in nats; probabilities are clipped at 1e-15.

        Soft labels weigh each class by its probability. With several labels, the loss is the mean over the labels.
        """
        proba, complement = (np.clip(side, MIN_PROBABILITY, 1.0) for side in (outputs, 1 - outputs))
        return np.asarray(-(xlogy(self.y, proba) + xlogy(1 - self.y, complement)).mean(1))

    def squared_distances(self, outputs: Floats) -> Floats:
        """Return (n,) squared distances of the probabilities to the truth: sums over classes, or means over labels."""
        return np.asarray(np.square(outputs - self.memberships).mean(1))

    def predicted_and_observed(self, outputs: Floats) -> tuple[Floats, Floats]:
        """Return the probabilities to calibrate and the observed shares: (n, 1) of classes, or (n, t) of labels."""
        return outputs, self.memberships

    def errors(self, outputs: Floats) -> Floats:
        """Return (n,) errors of rows: 1 minus the correctness, or the mean absolute error of numbers."""
        return 1 - self.correctness(outputs)

    @abstractmethod
    def extreme_outputs(self, outputs: Floats) -> tuple[Floats, Floats]:
        """Return the best and the worst outputs; the worst numbers are at the farther end of the range of values."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows of each class, or with each label; empty for numbers."""
        return {}

    @property
    def counts_to_learn(self) -> dict[str, int]:
        """Number of rows from which each class, or each label's rarer value, is learnt; empty for numbers."""
        return self.counts

    @abstractmethod
    def strata(self) -> NDArray[np.int64]:
        """Return (n,) stratum codes 0 … s-1, whose shares parts and folds keep."""


class ClassTargets(TargetValues):
    """True classes."""

    kind: ClassVar[Kind] = "classes"
    noun: ClassVar[str] = "class"

    @property
    def memberships(self) -> Floats:
        """(n, k) probability of each class in each row, 0 or 1 for hard labels."""
        return np.eye(self.n_outputs)[self.y] if self.shares is None else self.shares

    @staticmethod
    def normalise(outputs: Floats) -> Floats:
        """Return (…, n, k) probabilities, scaled to sum to 1."""
        return np.asarray(outputs / outputs.sum(axis=-1, keepdims=True))

    @staticmethod
    def from_logits(logits: Floats) -> Floats:
        """Return the (n, k) probabilities of (n, k) log-odds, or of (n, 1) log-odds of the second of two classes."""
        if logits.shape[1] > 1:
            return np.asarray(softmax(logits, axis=1))
        return np.hstack([1 - expit(logits), expit(logits)])

    @staticmethod
    def decide(outputs: Floats, rule: DecisionRule | None) -> NDArray[Any]:
        """Return the (…, n) codes of the predicted classes."""
        return decide_codes(outputs, rule)

    @staticmethod
    def indicators(decisions: NDArray[Any], n_outputs: int) -> NDArray[Any]:
        """Return (…, n, k) whether each class is predicted, as 0 or 1."""
        return np.asarray(np.eye(n_outputs)[decisions])

    def correctness(self, outputs: Floats) -> Floats:
        """Return the (n,) true probabilities of the predicted classes."""
        return self.true_shares(self.decisions(outputs))

    def log_losses(self, outputs: Floats) -> Floats:
        """Return the (n,) log losses; soft labels weigh each class by its probability."""
        proba = np.clip(outputs, MIN_PROBABILITY, 1.0)
        if self.shares is not None:
            return np.asarray(-xlogy(self.shares, proba).sum(1))
        return np.asarray(-np.log(proba[np.arange(len(self)), self.y]))

    def squared_distances(self, outputs: Floats) -> Floats:
        """Return the (n,) squared distances, summed over the classes."""
        return np.asarray(np.square(outputs - self.memberships).sum(1))

    def predicted_and_observed(self, outputs: Floats) -> tuple[Floats, Floats]:
        """Return the (n, 1) probabilities of the second of two classes, or of the most probable class, and its shares.

        In bins of the larger probability of two classes, the errors of both would cancel.
        """
        if self.n_outputs == 2:
            return outputs[:, 1:], self.memberships[:, 1:]
        return outputs.max(1)[:, None], self.true_shares(outputs.argmax(1))[:, None]

    def true_shares(self, codes: NDArray[np.integer]) -> Floats:
        """Return the (n,) true probabilities of the classes `codes`: 0 or 1 for hard labels."""
        if self.shares is None:
            return np.asarray(codes == self.y, dtype=np.float64)
        return np.asarray(self.shares[np.arange(len(self)), codes])

    def extreme_outputs(self, outputs: Floats) -> tuple[Floats, Floats]:
        """Return the probabilities of a certain model that is always right, and of one that is as wrong as possible."""
        k = self.n_outputs
        return np.eye(k)[self.y], np.eye(k)[np.where(2 * self.y < k - 1 + (k == 1), k - 1, 0)]

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows of each class."""
        return dict(zip(self.names, np.bincount(self.y, minlength=self.n_outputs).tolist(), strict=True))

    def strata(self) -> NDArray[np.int64]:
        """Return the (n,) class codes: each class is a stratum."""
        return self.y.astype(np.int64)


class LabelTargets(TargetValues):
    """True labels."""

    kind: ClassVar[Kind] = "labels"
    noun: ClassVar[str] = "label"

    @staticmethod
    def from_logits(logits: Floats) -> Floats:
        """Return the probabilities of log-odds."""
        return np.asarray(expit(logits))

    @staticmethod
    def decide(outputs: Floats, rule: DecisionRule | None) -> NDArray[Any]:
        """Return the (…, n, t) predicted labels in {0, 1}: those with a probability of at least 0.5."""
        return (outputs >= MIN_LABEL_PROBABILITY).astype(np.int64)

    def extreme_outputs(self, outputs: Floats) -> tuple[Floats, Floats]:
        """Return the probabilities of a certain model that is always right, and of one that is always wrong."""
        return self.memberships, 1.0 - self.memberships

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows with each label."""
        return dict(zip(self.names, self.y.sum(0).tolist(), strict=True))

    @property
    def counts_to_learn(self) -> dict[str, int]:
        """Number of rows with each label, or without it if these are fewer."""
        return {name: min(count, len(self) - count) for name, count in self.counts.items()}

    def strata(self) -> NDArray[np.int64]:
        """Return the (n,) rarest label of each row; strata of fewer than 10 rows join the largest one."""
        rarity_order = np.argsort(self.y.sum(0), kind="stable")
        rarest_labels = rarity_order[self.y[:, rarity_order].argmax(1)]
        codes = np.where(self.y.any(1), rarest_labels, self.n_outputs)
        counts = np.bincount(codes)
        codes = np.where(counts[codes] < MIN_IMAGES_PER_STRATUM, counts.argmax(), codes)
        return np.asarray(np.unique(codes, return_inverse=True)[1], dtype=np.int64)


class NumberTargets(TargetValues):
    """True numbers."""

    kind: ClassVar[Kind] = "numbers"
    noun: ClassVar[str] = "number"

    def errors(self, outputs: Floats) -> Floats:
        """Return the (n,) mean absolute errors of the rows."""
        return np.asarray(np.abs(outputs - self.y).mean(1))

    def extreme_outputs(self, outputs: Floats) -> tuple[Floats, Floats]:
        """Return the true numbers, and for each the farther end of the range of all values."""
        values = np.concatenate([self.y, outputs])
        low, high = values.min(axis=0), values.max(axis=0)
        high = np.where(high > low, high, low + np.maximum(np.abs(low), 1.0))
        return self.y, np.where(self.y - low > high - self.y, low, high)

    def strata(self) -> NDArray[np.int64]:
        """Return the (n,) fifths of the first column's numbers."""
        values = self.y[:, 0]
        edges = np.unique(np.quantile(values, np.linspace(0, 1, N_NUMBER_STRATA + 1)[1:-1]))
        codes = np.searchsorted(edges, values, side="right")
        return np.asarray(np.unique(codes, return_inverse=True)[1], dtype=np.int64)


TARGET_KINDS: dict[Kind, type[TargetValues]] = {
    "classes": ClassTargets,
    "labels": LabelTargets,
    "numbers": NumberTargets,
}
