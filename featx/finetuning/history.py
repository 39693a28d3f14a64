"""The history of a training by epoch: the best epoch, early stopping, and warnings about what went wrong."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.study.run_metrics import EpochMetrics
from featx.study.run_warnings import RunWarning
from featx.tables.decision_rule import DecisionRule, decide_codes

# A held-out loss this many times the lowest one counts as risen.
RISE_FACTOR = 1.05
MIN_RISING_EPOCHS = 3
# A training has diverged if its held-out loss ends at this many times the loss before training.
DIVERGENCE_FACTOR = 1.5
# The network predicts only one class if at least this share of the predictions are that class.
MIN_ONE_CLASS_SHARE = 0.995
# The new layers are dead if predictions for different images differ by less than this, relative to their size.
MIN_SPREAD = 1e-4


@dataclass(frozen=True)
class Epoch:
    """One pass over the train rows.

    Attributes
    ----------
    number
        Number of the epoch, from 1 over all phases; 0 is the network before training.
    phase
        Number of the phase, from 1.
    lr
        Learning rate of the new layers in the last step.
    train_loss
        Mean loss over the steps; nan before training.
    held_loss
        Mean loss of the held-out rows after the epoch. If no rows are held out: `train_loss`, or nan if a weight is not
        finite after the epoch.
    seconds
        Wall-clock time of the epoch in seconds.
    """

    number: int
    phase: int
    lr: float
    train_loss: float
    held_loss: float
    seconds: float

    @property
    def is_finite(self) -> bool:
        """Whether both losses are finite."""
        return math.isfinite(self.train_loss) and math.isfinite(self.held_loss)

    def to_metrics(self) -> EpochMetrics:
        """Return the measurements as ``metrics.json`` contains them."""
        train_loss, held_loss = (loss if math.isfinite(loss) else None for loss in (self.train_loss, self.held_loss))
        return EpochMetrics(
            number=self.number,
            phase=self.phase,
            lr=self.lr,
            train_loss=train_loss,
            held_loss=held_loss,
            seconds=self.seconds,
        )


@dataclass
class TrainingHistory:
    """The epochs of a training so far.

    Parameters
    ----------
    patience
        Epochs without a lower held-out loss after which a phase ends; 0 for no early stopping.
    keeps_last
        Whether the last weights count as the best ones while the loss is finite, because no rows are held out.

    Attributes
    ----------
    epochs
        All epochs in order, the network before training included.
    best
        Number of the epoch with the best weights.
    lowest
        Held-out loss of that epoch.
    phase_best
        Number of the epoch with the lowest held-out loss of the phase.
    phase_lowest
        Held-out loss of that epoch.
    """

    patience: int
    keeps_last: bool = False
    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0
    lowest: float = math.inf
    phase_best: int = 0
    phase_lowest: float = math.inf

    def begin_phase(self) -> None:
        """Restart the count of epochs without a lower loss."""
        self.phase_best, self.phase_lowest = len(self.epochs), math.inf

    def add_epoch(self, epoch: Epoch) -> bool:
        """Append an epoch; return whether its weights are the best so far."""
        self.epochs.append(epoch)
        if not math.isfinite(epoch.held_loss):
            return False
        if epoch.held_loss < self.phase_lowest:
            self.phase_best, self.phase_lowest = epoch.number, epoch.held_loss
        is_best = epoch.held_loss < self.lowest or self.keeps_last
        if is_best:
            self.best, self.lowest = epoch.number, epoch.held_loss
        return is_best

    @property
    def is_phase_over(self) -> bool:
        """Whether the phase should end: patience is exhausted, or a loss is not finite."""
        last = self.epochs[-1]
        if last.number and not last.is_finite:
            return True
        return bool(self.patience) and not self.keeps_last and last.number - self.phase_best >= self.patience

    @property
    def summary(self) -> str:
        """The losses of the last epoch and the lowest one, as a short text."""
        last = self.epochs[-1]
        loss = f"loss {last.train_loss:.4f}"
        return loss if self.keeps_last else f"{loss}, held-out {last.held_loss:.4f}, best {self.lowest:.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Return the history as plain values, for JSON and snapshots."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Return the history that `to_dict` made plain values of."""
        return cls(**fields | {"epochs": [Epoch(**epoch) for epoch in fields["epochs"]]})

    def reset_to(self, fields: dict[str, Any]) -> None:
        """Replace the content of this history by that of another one, given as the result of its `to_dict`."""
        vars(self).update(vars(self.from_dict(fields)))


def find_warnings(
    history: TrainingHistory,
    classes: Sequence[str],
    predictions: NDArray[np.floating],
    has_varied_labels: bool,
    decision: DecisionRule | None = None,
) -> list[RunWarning]:
    """Return warnings about what went wrong in a training.

    Parameters
    ----------
    history
        The history of the training.
    classes
        Names of the columns of `predictions`; empty for numbers.
    predictions
        (n, k) predictions of the best weights for rows that were not trained on.
    has_varied_labels
        Whether the labels of those rows differ.
    decision
        The rule by which the network decides for a class.
    """
    warnings = [*_warn_not_finite(history), *_warn_diverged(history), *_warn_over_fitted(history)]
    if has_varied_labels and len(predictions):
        warnings += _warn_constant(classes, predictions, decision)
    return warnings


def _warn_constant(
    classes: Sequence[str], predictions: NDArray[np.floating], decision: DecisionRule | None
) -> list[RunWarning]:
    """Warn if all images get the same prediction or the same class."""
    spread = float(np.ptp(predictions, axis=0).max())
    if spread < MIN_SPREAD * max(1.0, float(np.abs(predictions).max())):
        return [
            RunWarning(
                "dead head",
                f"every image gets the same prediction (to {spread:.1g}): the new layers are dead; try a lower lr, "
                "fewer hidden layers, or batch_norm = true",
            )
        ]
    if not classes:
        return []
    counts = np.bincount(decide_codes(predictions, decision), minlength=len(classes))
    if counts.max() < MIN_ONE_CLASS_SHARE * len(predictions):
        return []
    return [
        RunWarning(
            "one class",
            f"{counts.max() / len(predictions):.1%} of the predictions are {classes[int(counts.argmax())]!r}: the "
            "network collapsed to one class; try a lower lr, or class_weight = 'balanced'",
        )
    ]


def _warn_not_finite(history: TrainingHistory) -> list[RunWarning]:
    not_finite = [epoch for epoch in history.epochs[1:] if not epoch.is_finite]
    if not not_finite:
        return []
    weights = (
        f"the weights of epoch {history.best} are kept" if history.best else "the weights before training are kept"
    )
    return [
        RunWarning(
            "nan",
            f"the loss is not finite in epoch {not_finite[0].number}; {weights}; try a lower lr, or precision = 'fp32'",
        )
    ]


def _warn_diverged(history: TrainingHistory) -> list[RunWarning]:
    losses = [epoch.held_loss for epoch in history.epochs if math.isfinite(epoch.held_loss)]
    if len(losses) < 2 or losses[-1] <= DIVERGENCE_FACTOR * max(losses[0], history.lowest):
        return []
    return [
        RunWarning(
            "diverged",
            f"the held-out loss ended at {losses[-1]:.3g}, it was {losses[0]:.3g} before training; try a tenth of the "
            "lr",
        )
    ]


def _warn_over_fitted(history: TrainingHistory) -> list[RunWarning]:
    finite = [epoch for epoch in history.epochs[1:] if math.isfinite(epoch.held_loss)]
    if history.keeps_last or not finite:
        return []
    lowest = min(finite, key=lambda epoch: epoch.held_loss)
    later = [epoch for epoch in finite if epoch.number > lowest.number]
    has_risen = (
        len(later) >= MIN_RISING_EPOCHS
        and min(epoch.held_loss for epoch in later[-2:]) > RISE_FACTOR * lowest.held_loss
    )
    if not has_risen or later[-1].train_loss >= lowest.train_loss:
        return []
    return [
        RunWarning(
            "over-fitting",
            f"the held-out loss rose from {lowest.held_loss:.4g} in epoch {lowest.number} to "
            f"{later[-1].held_loss:.4g}, while the train loss fell; the weights of epoch {history.best} are kept; try "
            "augmentation, more dropout, or fewer epochs",
        )
    ]
