"""How a training goes, epoch by epoch: what was best, when to stop, what went wrong and what to try."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.study.run_warnings import RunWarning
from featx.tables.decision_rule import DecisionRule, decided_codes

RISEN = 1.05  # times the lowest held-out loss: what counts as risen
RISING_EPOCHS = 3
DIVERGED = 1.5  # times the loss before training
ONE_CLASS = 0.995  # share of the answers
NO_SPREAD = 1e-4  # of probabilities over images: all get the same answer


@dataclass(frozen=True)
class Epoch:
    """One pass over the train rows.

    Attributes
    ----------
    number
        From 1 over all phases; 0 is the network before training.
    phase
        From 1.
    lr
        Of the new layers in the last step.
    train_loss
        Mean over the steps; nan before training.
    held_loss
        Of the held-out rows after it. Where none are held out, `train_loss` if the weights after it are finite, or nan.
    seconds
        Wall clock.
    """

    number: int
    phase: int
    lr: float
    train_loss: float
    held_loss: float
    seconds: float

    def to_json(self) -> dict[str, float | None]:
        """Return its fields; JSON knows no numbers that are not finite."""
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}


@dataclass
class TrainingHistory:
    """The epochs so far.

    Parameters
    ----------
    patience
        Epochs without a lower held-out loss after which a phase is over; 0 for no end.
    keeps_last
        No rows are held out: the last weights count as the best ones while the loss is finite.

    Attributes
    ----------
    epochs
        In order.
    best
        Number of the epoch with the best weights.
    """

    patience: int
    keeps_last: bool = False
    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0
    lowest: float = math.inf
    phase_best: int = 0
    phase_lowest: float = math.inf

    def begin_phase(self) -> None:
        """Let patience start anew."""
        self.phase_best, self.phase_lowest = len(self.epochs), math.inf

    def take(self, epoch: Epoch) -> bool:
        """Note an epoch; return whether its weights are the best so far."""
        self.epochs.append(epoch)
        if not math.isfinite(epoch.held_loss):
            return False
        if epoch.held_loss < self.phase_lowest:
            self.phase_best, self.phase_lowest = epoch.number, epoch.held_loss
        improved = epoch.held_loss < self.lowest or self.keeps_last
        if improved:
            self.best, self.lowest = epoch.number, epoch.held_loss
        return improved

    @property
    def is_over(self) -> bool:
        """Whether the phase should end: patience is out, or a loss is not finite."""
        last = self.epochs[-1]
        if last.number and not (math.isfinite(last.held_loss) and math.isfinite(last.train_loss)):
            return True
        return bool(self.patience) and not self.keeps_last and last.number - self.phase_best >= self.patience

    @property
    def news(self) -> str:
        """What the last epoch brought, in a few words."""
        last = self.epochs[-1]
        loss = f"loss {last.train_loss:.4f}"
        return loss if self.keeps_last else f"{loss}, held-out {last.held_loss:.4f}, best {self.lowest:.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON and checkpoints know."""
        return asdict(self)

    @classmethod
    def from_dict(cls, written: dict[str, Any]) -> Self:
        """Undo `to_dict`."""
        return cls(**written | {"epochs": [Epoch(**one) for one in written["epochs"]]})


def findings(
    course: TrainingHistory,
    classes: Sequence[str],
    answers: NDArray[np.floating],
    varied: bool,
    decision: DecisionRule | None = None,
) -> list[RunWarning]:
    """Return what went wrong in a training.

    Parameters
    ----------
    classes
        Names of the answers' columns; empty where they are numbers.
    answers
        (n, k) of the chosen weights on rows that were not learnt from.
    varied
        Whether the truth of those rows is not all the same.
    decision
        The rule by which the network decides for a class.
    """
    found = [*_not_finite(course), *_diverged(course), *_over_fitted(course)]
    spread = float(np.ptp(answers, axis=0).max()) if len(answers) else 1.0
    scale = max(1.0, float(np.abs(answers).max())) if len(answers) else 1.0
    if varied and spread < NO_SPREAD * scale:
        found.append(
            RunWarning(
                "dead head",
                f"every image gets the same answer (to {spread:.1g}): the new layers are dead; try a lower lr, fewer "
                "hidden layers, or batch_norm = true",
            )
        )
    elif varied and classes and len(answers):
        counts = np.bincount(decided_codes(answers, decision), minlength=len(classes))
        if counts.max() >= ONE_CLASS * len(answers):
            name = classes[int(counts.argmax())]
            found.append(
                RunWarning(
                    "one class",
                    f"{counts.max() / len(answers):.1%} of the answers are {name!r}: the network fell back on one "
                    "class; try a lower lr, or class_weight = 'balanced'",
                )
            )
    return found


def _not_finite(course: TrainingHistory) -> list[RunWarning]:
    odd = [one for one in course.epochs[1:] if not (math.isfinite(one.train_loss) and math.isfinite(one.held_loss))]
    if not odd:
        return []
    kept = f"the weights of epoch {course.best} are kept" if course.best else "the weights are those before training"
    return [
        RunWarning(
            "nan", f"the loss is not finite in epoch {odd[0].number}; {kept}; try a lower lr, or precision = 'fp32'"
        )
    ]


def _diverged(course: TrainingHistory) -> list[RunWarning]:
    finite = [one for one in course.epochs if math.isfinite(one.held_loss)]
    if len(finite) < 2 or finite[-1].held_loss <= DIVERGED * max(finite[0].held_loss, course.lowest):
        return []
    return [
        RunWarning(
            "diverged",
            f"the held-out loss ended at {finite[-1].held_loss:.3g}, it was {finite[0].held_loss:.3g} before training; "
            "try a tenth of the lr",
        )
    ]


def _over_fitted(course: TrainingHistory) -> list[RunWarning]:
    finite = [one for one in course.epochs[1:] if math.isfinite(one.held_loss)]
    if course.keeps_last or not finite:
        return []
    lowest = min(finite, key=lambda one: one.held_loss)
    after = [one for one in finite if one.number > lowest.number]
    rising = len(after) >= RISING_EPOCHS and min(one.held_loss for one in after[-2:]) > RISEN * lowest.held_loss
    if not rising or after[-1].train_loss >= lowest.train_loss:
        return []
    return [
        RunWarning(
            "over-fitting",
            f"the held-out loss rose from {lowest.held_loss:.4g} in epoch {lowest.number} to "
            f"{after[-1].held_loss:.4g}, while that of train fell; the weights of epoch {course.best} are kept; try "
            "augmentation, more dropout, or fewer epochs",
        )
    ]
