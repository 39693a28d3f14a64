"""The history of a training by epoch: the best epoch, early stopping, and warnings about what went wrong."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.finetuning.epochs import Epoch, EpochChoice, epoch_from_dict
from featx.metrics.score_texts import ScoreFormat
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


@dataclass
class TrainingHistory:
    """The epochs of a training so far.

    Parameters
    ----------
    patience
        Epochs without a better monitored value after which a phase ends; 0 for no early stopping.
    choice
        The rule by which the best epoch is chosen.

    Attributes
    ----------
    epochs
        All epochs in order, the network before training included.
    best
        Number of the epoch with the best weights.
    phase_best
        Number of the best epoch of the phase.
    """

    patience: int
    choice: EpochChoice = field(default_factory=EpochChoice)
    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0
    phase_best: int = 0

    def begin_phase(self) -> None:
        """Restart the count of epochs without a better value."""
        self.phase_best = len(self.epochs)

    def add_epoch(self, epoch: Epoch) -> bool:
        """Append an epoch; return whether its weights are the best so far."""
        self.epochs.append(epoch)
        if self.choice.is_better(epoch, self.epochs[self.phase_best]):
            self.phase_best = epoch.number
        is_best = self.choice.is_better(epoch, self.epochs[self.best])
        if self.choice.keeps_last:
            is_best = not math.isnan(self.choice.cost(epoch))
        if is_best:
            self.best = epoch.number
        return is_best

    @property
    def lowest(self) -> float:
        """The monitored loss of the best epoch."""
        return self.choice.loss(self.epochs[self.best])

    @property
    def is_phase_over(self) -> bool:
        """Whether the phase should end: patience is exhausted, or a monitored value is not finite."""
        # The last epoch is of an earlier phase, and the phase starts from the best weights before it.
        if self.phase_best == len(self.epochs):
            return False
        last_epoch = self.epochs[-1]
        if last_epoch.number and not self._is_finite(last_epoch):
            return True
        return (
            bool(self.patience) and not self.choice.keeps_last and last_epoch.number - self.phase_best >= self.patience
        )

    def _is_finite(self, epoch: Epoch) -> bool:
        """Return whether the train loss and the monitored loss of an epoch are finite."""
        return math.isfinite(epoch.train.loss) and math.isfinite(self.choice.loss(epoch))

    @property
    def not_finite_epochs(self) -> list[Epoch]:
        """The epochs after which the train loss, the monitored loss or a weight is not finite."""
        return [epoch for epoch in self.epochs[1:] if not self._is_finite(epoch)]

    @property
    def summary(self) -> str:
        """The monitored value of the last epoch and of the best one, and the train loss, as a short text."""
        last_epoch, choice = self.epochs[-1], self.choice
        text = f"loss {last_epoch.train.loss:.4f}"
        if choice.keeps_last:
            return text
        last_value, best_value = (
            abs(choice.cost(epoch)) if choice.score is not None else choice.loss(epoch)
            for epoch in (last_epoch, self.epochs[self.best])
        )
        score_format = ScoreFormat() if choice.score is None else ScoreFormat.of(choice.score, [best_value])
        last_text, best_text = map(score_format.show, (last_value, best_value))
        return f"{text}, {choice.value_name} {last_text}, best {best_text}"

    def to_metrics(self) -> tuple[EpochMetrics, ...]:
        """Return the epochs as ``metrics.json`` contains them."""
        return tuple(epoch.to_metrics() for epoch in self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Return the history as plain values, for JSON and snapshots."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Return the history that `to_dict` made plain values of."""
        epochs = [epoch_from_dict(epoch) for epoch in fields["epochs"]]
        return cls(**fields | {"epochs": epochs, "choice": EpochChoice(**fields["choice"])})

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
    not_finite = history.not_finite_epochs
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
    losses = [loss for epoch in history.epochs if math.isfinite(loss := history.choice.loss(epoch))]
    if len(losses) < 2 or not _exceeds(losses[-1], DIVERGENCE_FACTOR, max(losses[0], history.lowest)):
        return []
    return [
        RunWarning(
            "diverged",
            f"the {history.choice.loss_name} ended at {losses[-1]:.3g}, it was {losses[0]:.3g} before training; try a "
            "tenth of the lr",
        )
    ]


def _exceeds(loss: float, factor: float, reference_loss: float) -> bool:
    """Return whether a loss is above another one times a factor; losses such as Poisson's may be negative."""
    return loss - reference_loss > (factor - 1) * abs(reference_loss)


def _warn_over_fitted(history: TrainingHistory) -> list[RunWarning]:
    epoch_loss = history.choice.loss
    finite_epochs = [epoch for epoch in history.epochs[1:] if math.isfinite(epoch_loss(epoch))]
    if history.choice.keeps_last or not finite_epochs:
        return []
    min_loss_epoch = min(finite_epochs, key=epoch_loss)
    later_epochs = [epoch for epoch in finite_epochs if epoch.number > min_loss_epoch.number]
    last_losses = [epoch_loss(epoch) for epoch in later_epochs[-2:]]
    has_risen = len(later_epochs) >= MIN_RISING_EPOCHS and _exceeds(
        min(last_losses), RISE_FACTOR, epoch_loss(min_loss_epoch)
    )
    if not has_risen or later_epochs[-1].train.loss >= min_loss_epoch.train.loss:
        return []
    return [
        RunWarning(
            "over-fitting",
            f"the {history.choice.loss_name} rose from {epoch_loss(min_loss_epoch):.4g} in epoch "
            f"{min_loss_epoch.number} to {epoch_loss(later_epochs[-1]):.4g}, while the train loss fell; the weights "
            f"of epoch {history.best} are "
            "kept; try augmentation, more dropout, or fewer epochs",
        )
    ]
