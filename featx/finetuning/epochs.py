"""Epochs of a training with their measurements, and the rule by which the best one is chosen."""

import math
from dataclasses import dataclass, field
from typing import Any

from featx.study.run_metrics import EpochMetrics


@dataclass(frozen=True)
class PartMeasurement:
    """Loss and scores of the rows of one part at an epoch.

    Attributes
    ----------
    loss
        Weighted mean loss; nan if it is not defined.
    scores
        Name of each score → its value.
    """

    loss: float = math.nan
    scores: dict[str, float] = field(default_factory=dict)


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
    train
        Measurement of the rows that are trained on.
    seconds
        Wall-clock time of the epoch in seconds, measurements included.
    held
        Measurement of the rows held out of train after the epoch; None if no rows are held out.
    val
        Measurement of the val rows after the epoch.
    has_finite_weights
        Whether all weights are finite after the epoch.
    """

    number: int
    phase: int
    lr: float
    train: PartMeasurement
    seconds: float
    held: PartMeasurement | None = None
    val: PartMeasurement | None = None
    has_finite_weights: bool = True

    @property
    def parts(self) -> dict[str, PartMeasurement]:
        """The measured parts by name: ``train``, ``held`` and ``val``."""
        parts = {"train": self.train, "held": self.held, "val": self.val}
        return {name: part for name, part in parts.items() if part is not None}

    def to_metrics(self) -> EpochMetrics:
        """Return the measurements as ``metrics.json`` contains them."""
        measurements: dict[str, Any] = {}
        for name, part in self.parts.items():
            measurements[f"{name}_loss"] = _none_unless_finite(part.loss)
            measurements[f"{name}_scores"] = {score: _none_unless_finite(value) for score, value in part.scores.items()}
        return EpochMetrics(number=self.number, phase=self.phase, lr=self.lr, seconds=self.seconds, **measurements)

    def to_row(self) -> dict[str, Any]:
        """Return the measurements as a row of ``log.csv``."""
        row: dict[str, Any] = {"number": self.number, "phase": self.phase, "lr": self.lr}
        for name, part in self.parts.items():
            row[f"{name}_loss"] = part.loss
            row |= {f"{name}_{score}": value for score, value in part.scores.items()}
        return row | {"seconds": self.seconds}


def _none_unless_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class EpochChoice:
    """The rule by which the best epoch is chosen.

    Attributes
    ----------
    part
        Part whose measurement decides: ``held``, ``val``, or ``train`` if no rows are monitored.
    score
        Name of the score that decides, and the loss among equal ones; None for the loss alone.
    greater_is_better
        Whether greater values of this score are better.
    """

    part: str = "held"
    score: str | None = None
    greater_is_better: bool = True

    @property
    def keeps_last(self) -> bool:
        """Whether the last finite weights are kept, because no rows are monitored."""
        return self.part == "train"

    @property
    def loss_name(self) -> str:
        """The name of the monitored loss in messages."""
        return {"held": "held-out loss", "val": "val loss", "train": "train loss"}[self.part]

    @property
    def value_name(self) -> str:
        """The name of the monitored value in messages."""
        names = {"held": "held-out", "val": "val", "train": "train"}
        return self.loss_name if self.score is None else f"{names[self.part]} {self.score.replace('_', ' ')}"

    def loss(self, epoch: Epoch) -> float:
        """Return the monitored loss of an epoch; nan if it has none or a weight is not finite."""
        part = epoch.parts.get(self.part)
        return part.loss if part is not None and epoch.has_finite_weights else math.nan

    def cost(self, epoch: Epoch) -> float:
        """Return the monitored value of an epoch, negated if greater is better; nan if it is not finite."""
        loss = self.loss(epoch)
        if self.score is None or not math.isfinite(loss):
            return loss if math.isfinite(loss) else math.nan
        value = epoch.parts[self.part].scores.get(self.score, math.nan)
        return -value if self.greater_is_better else value

    def is_better(self, epoch: Epoch, other_epoch: Epoch) -> bool:
        """Return whether an epoch is better than another one; equal scores are decided by the loss."""
        cost, other_cost = self.cost(epoch), self.cost(other_epoch)
        if math.isnan(cost) or math.isnan(other_cost):
            return not math.isnan(cost)
        return (cost, self.loss(epoch)) < (other_cost, self.loss(other_epoch))


def epoch_from_dict(fields: dict[str, Any]) -> Epoch:
    """Return the epoch that `dataclasses.asdict` made plain values of."""
    parts = {name: PartMeasurement(**fields[name]) for name in ("train", "held", "val") if fields[name] is not None}
    return Epoch(**fields | parts)
