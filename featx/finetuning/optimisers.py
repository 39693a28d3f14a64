"""Optimisers and learning-rate schedules that specs describe."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer, lr_scheduler

from featx.finetuning.network import FinetunedNetwork
from featx.specs.finetuning import FinetuneSpec, PhaseSpec

OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "adadelta": Adadelta}


def build_optimiser(network: FinetunedNetwork, spec: FinetuneSpec, phase: PhaseSpec) -> Optimizer:
    """Return an optimiser of the trainable parameters: the new layers first, then block by block downwards.

    The learning rate of a block is that of the one above it times ``block_decay``; the topmost has that of the new
    layers.
    """
    groups = [{"params": list(network.layers.parameters()), "lr": phase.lr}]
    for depth, parameters in enumerate(_trainable_by_block(network)):
        groups.append({"params": parameters, "lr": phase.lr * spec.block_decay**depth})
    options: dict[str, Any] = {"weight_decay": spec.weight_decay}
    if spec.optimiser == "sgd":
        options["momentum"] = spec.momentum
    return OPTIMISERS[spec.optimiser](groups, lr=phase.lr, **options)


def _trainable_by_block(network: FinetunedNetwork) -> list[list[nn.Parameter]]:
    """Return the trainable parameters of the trunk, the topmost block first."""
    trunk = network.trunk
    block_of_unit = [number for number, block in enumerate(trunk.blocks) for _ in block.units]
    parameters_by_block: dict[int, list[nn.Parameter]] = {}
    for unit, _, parameter in trunk.parameters_by_unit():
        if parameter.requires_grad:
            parameters_by_block.setdefault(block_of_unit[unit] if block_of_unit else 0, []).append(parameter)
    return [parameters_by_block[number] for number in sorted(parameters_by_block, reverse=True)]


@dataclass(frozen=True)
class LearningRateSchedule:
    """A schedule of torch, and the event after which it advances.

    Attributes
    ----------
    scheduler
        Torch's schedule.
    advances_by
        ``step``: after each step of the optimiser; ``epoch``: after each epoch; ``held_loss``: after each epoch, by
        its held-out loss.
    """

    scheduler: Any
    advances_by: Literal["step", "epoch", "held_loss"]

    def after_step(self) -> None:
        """Advance after a step of the optimiser, if the schedule counts steps."""
        if self.advances_by == "step":
            self.scheduler.step()

    def after_epoch(self, held_loss: float) -> None:
        """Advance after an epoch, unless the schedule counts steps."""
        if self.advances_by == "epoch":
            self.scheduler.step()
        elif self.advances_by == "held_loss":
            self.scheduler.step(held_loss)


@dataclass(frozen=True)
class _ConstantThenExponential:
    """A factor that is 1 for some epochs, and is multiplied by `factor` in each later one."""

    epochs: int
    factor: float

    def __call__(self, epoch: int) -> float:
        return float(self.factor ** max(0, epoch - self.epochs + 1))


def build_schedule(optimiser: Optimizer, spec: FinetuneSpec, epochs: int, n_steps: int) -> LearningRateSchedule:
    """Return the schedule of a phase.

    Parameters
    ----------
    optimiser
        The optimiser whose learning rates it changes.
    spec
        The spec with the kind of schedule.
    epochs
        Number of epochs of the phase.
    n_steps
        Number of steps of the optimiser over all these epochs.
    """
    schedule = spec.schedule
    if schedule.name == "step":
        return LearningRateSchedule(lr_scheduler.StepLR(optimiser, schedule.epochs, schedule.factor), "epoch")
    if schedule.name == "hold":
        hold = _ConstantThenExponential(schedule.epochs, schedule.factor)
        return LearningRateSchedule(lr_scheduler.LambdaLR(optimiser, hold), "epoch")
    if schedule.name == "cosine":
        return LearningRateSchedule(lr_scheduler.CosineAnnealingLR(optimiser, epochs), "epoch")
    if schedule.name == "one-cycle":
        rates = [group["lr"] for group in optimiser.param_groups]
        # The schedule is called once more after the last step.
        total = max(n_steps, 2) + 1
        cycle = lr_scheduler.OneCycleLR(optimiser, rates, total_steps=total, cycle_momentum=False)
        return LearningRateSchedule(cycle, "step")
    if schedule.name == "plateau":
        plateau = lr_scheduler.ReduceLROnPlateau(optimiser, factor=schedule.factor, patience=schedule.epochs)
        return LearningRateSchedule(plateau, "held_loss")
    return LearningRateSchedule(lr_scheduler.ConstantLR(optimiser, factor=1.0), "epoch")
