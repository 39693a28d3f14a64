"""Optimisers and schedules from a spec."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer
from torch.optim import lr_scheduler as schedules

from featx.finetuning.network import FinetunedNetwork
from featx.specs.finetuning import FinetuneSpec, PhaseSpec

MAKERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "adadelta": Adadelta}


def optimiser(network: FinetunedNetwork, spec: FinetuneSpec, phase: PhaseSpec) -> Optimizer:
    """Return an optimiser of what learns: the new layers first, then block by block downwards, each slower.

    The learning rate of a block is that of the one above it times ``block_decay``; the topmost has that of the new
    layers.
    """
    groups = [{"params": list(network.layers.parameters()), "lr": phase.lr}]
    for depth, parameters in enumerate(_by_block(network)):
        groups.append({"params": parameters, "lr": phase.lr * spec.block_decay**depth})
    options: dict[str, Any] = {"weight_decay": spec.weight_decay}
    if spec.optimiser == "sgd":
        options["momentum"] = spec.momentum
    return MAKERS[spec.optimiser](groups, lr=phase.lr, **options)


def _by_block(network: FinetunedNetwork) -> list[list[nn.Parameter]]:
    """Return the trunk's parameters that learn, the topmost block first."""
    trunk = network.trunk
    block_of = [number for number, block in enumerate(trunk.blocks) for _ in block.units]
    found: dict[int, list[nn.Parameter]] = {}
    for unit, _, parameter in trunk.parameters_by_unit():
        if parameter.requires_grad:
            found.setdefault(block_of[unit] if block_of else 0, []).append(parameter)
    return [found[number] for number in sorted(found, reverse=True)]


@dataclass(frozen=True)
class Advance:
    """A schedule, and when it goes on.

    Attributes
    ----------
    by
        After each ``step`` or ``epoch``, or after an epoch by its ``held_loss``.
    """

    schedule: Any
    by: Literal["step", "epoch", "held_loss"]

    def after_step(self) -> None:
        """Go on after a step of the optimiser."""
        if self.by == "step":
            self.schedule.step()

    def after_epoch(self, held_loss: float) -> None:
        """Go on after an epoch."""
        if self.by == "epoch":
            self.schedule.step()
        elif self.by == "held_loss":
            self.schedule.step(held_loss)


@dataclass(frozen=True)
class _Hold:
    """Constant for some epochs, then × factor in each."""

    epochs: int
    factor: float

    def __call__(self, epoch: int) -> float:
        return float(self.factor ** max(0, epoch - self.epochs + 1))


def schedule(made: Optimizer, spec: FinetuneSpec, epochs: int, steps: int) -> Advance:
    """Return the schedule of a phase.

    Parameters
    ----------
    epochs, steps
        Of the phase; `steps` are the optimiser's, over all its epochs.
    """
    how = spec.schedule
    if how.name == "step":
        return Advance(schedules.StepLR(made, how.epochs, how.factor), "epoch")
    if how.name == "hold":
        return Advance(schedules.LambdaLR(made, _Hold(how.epochs, how.factor)), "epoch")
    if how.name == "cosine":
        return Advance(schedules.CosineAnnealingLR(made, epochs), "epoch")
    if how.name == "one-cycle":
        rates = [group["lr"] for group in made.param_groups]
        total = max(steps, 2) + 1  # the schedule is asked once more after the last step
        return Advance(schedules.OneCycleLR(made, rates, total_steps=total, cycle_momentum=False), "step")
    if how.name == "plateau":
        return Advance(schedules.ReduceLROnPlateau(made, factor=how.factor, patience=how.epochs), "held_loss")
    return Advance(schedules.ConstantLR(made, factor=1.0), "epoch")
