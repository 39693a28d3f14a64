"""One phase of a training made ready: what learns, from what input, towards what."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from featx.embeddings.engine import is_out_of_memory
from featx.files.atomic import whole_file
from featx.files.seals import read_sealed, write_sealed
from featx.finetuning.history import TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.objective import Objective
from featx.finetuning.training_rows import Inputs, Rows
from featx.progress import ProgressCallback
from featx.specs.finetuning import FinetuneSpec, PhaseSpec

LAST = "last.safetensors"
Snapshot = dict[str, Any]  # tensors, numbers and texts


def nothing(course: TrainingHistory) -> None:
    """Do nothing after an epoch."""


@dataclass(frozen=True)
class Machine:
    """Where a network is trained, and who is told of it.

    Attributes
    ----------
    gpus
        At once; on a CPU, processes.
    tensorboard
        The folder for TensorBoard's logs, if they are wanted.
    after_epoch
        Told of each epoch; may raise to end the training.
    """

    device: torch.device
    gpus: int
    progress: ProgressCallback
    tensorboard: Path | None = None
    after_epoch: Callable[[TrainingHistory], None] = nothing


@dataclass(frozen=True)
class Phase:
    """A phase.

    Attributes
    ----------
    number
        From 1.
    learns
        Names of the trunk's parameters.
    train, held
        Inputs of the rows that teach, and of those that say when to stop; the latter may be none.
    goal, held_goal
        Of the same rows.
    of_vectors
        Whether only the new layers run.
    """

    number: int
    spec: FinetuneSpec
    phase: PhaseSpec
    learns: frozenset[str]
    train: Inputs
    held: Inputs
    goal: Objective
    held_goal: Objective
    of_vectors: bool = False

    @property
    def title(self) -> str:
        """What progress is shown under."""
        return f"finetune {self.phase.learns}"

    def batches(self, epoch: int) -> list[list[Rows]]:
        """Return the rows of each step of an epoch, in as many passes as are accumulated.

        Rows are shuffled by seed and epoch. Steps are as many as full ones would be, and all of nearly one size: a rest
        of a row or two would teach with the noise of its few images.
        """
        order = np.random.default_rng([self.spec.seed, epoch]).permutation(len(self.train))
        return [np.array_split(rows, self.passes) for rows in np.array_split(order, self.steps)]

    def to(self, device: torch.device) -> "Phase":
        """Return the same with its goals on a device."""
        return replace(self, goal=self.goal.to(device), held_goal=self.held_goal.to(device))

    @property
    def steps(self) -> int:
        """Of the optimiser in one epoch."""
        return math.ceil(len(self.train) / (self.spec.batch_size * self.spec.accumulate))

    @property
    def passes(self) -> int:
        """Through the network in each step."""
        return min(self.spec.accumulate, len(self.train) // self.steps)

    def seed(self, epoch: int) -> None:
        """Make torch's chances those of an epoch, whenever it is begun."""
        torch.manual_seed(int(np.random.SeedSequence([self.spec.seed, epoch]).generate_state(1)[0]))


def in_turn(n: int, size: int) -> Iterator[Rows]:
    """Yield the numbers of n rows in order, some at a time."""
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


@torch.inference_mode()
def outputs(network: FinetunedNetwork, inputs: Inputs, size: int, device: torch.device) -> Tensor:
    """Return (n, m) raw outputs in float32 on the CPU, the network as in prediction.

    Parameters
    ----------
    size
        Images in a pass; fewer where memory does not do.
    """
    network.eval()
    try:
        batches = (inputs.batch(at).to(device) for at in in_turn(len(inputs), size))
        return torch.cat([network.beyond(x, inputs.unit).float().cpu() for x in batches])
    except Exception as error:
        if not is_out_of_memory(error) or size == 1:
            raise
    return outputs(network, inputs, size // 2, device)


@torch.inference_mode()
def mean_loss(network: FinetunedNetwork, leg: Phase, device: torch.device) -> float:
    """Return the weighted mean loss over the held-out rows, or where there are none over those that teach."""
    inputs, goal = (leg.held, leg.held_goal) if len(leg.held) else (leg.train, leg.goal)
    return float(goal.mean(outputs(network, inputs, leg.spec.batch_size, device), goal.rows))


class FinishedPhase(BaseModel):
    """What ``course.json`` holds: the number of the last finished phase, and the course up to there."""

    phase: int
    course: dict[str, Any]


class TrainingState:
    """What a training has come to, on disk: the best weights, and the state after the last finished phase.

    Parameters
    ----------
    folder
        Its own; made when first written to.
    unit
        The first that learns in any phase: those below stay what they were.
    """

    def __init__(self, folder: Path, unit: int) -> None:
        self.folder = folder
        self._unit = unit

    def state(self, network: FinetunedNetwork) -> dict[str, Tensor]:
        """Return a copy of all that training may change."""
        kept = tuple(f"trunk.units.{number}." for number in range(self._unit, len(network.trunk.units)))
        every = network.state_dict().items()
        return {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in every
            if name.startswith((*kept, "layers."))
        }

    def restore(self, network: FinetunedNetwork, state: dict[str, Tensor]) -> None:
        """Put a copy back."""
        odd = network.load_state_dict(state, strict=False).unexpected_keys
        assert not odd, odd  # else something would be left as it is

    def best_file(self, number: int) -> Path:
        """Return where the weights of an epoch lie."""
        return self.folder / f"epoch-{number}.safetensors"

    def keep_best(self, network: FinetunedNetwork, number: int) -> None:
        """Write the weights of an epoch that is the best so far."""
        from safetensors.torch import save_file

        with whole_file(self.best_file(number)) as private:
            save_file(self.state(network), private)

    def keep_last(self, network: FinetunedNetwork) -> None:
        """Write the weights that training ended with."""
        from safetensors.torch import save_file

        with whole_file(self.folder / LAST) as private:
            save_file(self.state(network), private)

    def restore_best(self, network: FinetunedNetwork, course: TrainingHistory) -> None:
        """Put the best weights back."""
        from safetensors.torch import load_file

        self.restore(network, load_file(self.best_file(course.best)))

    def go_back(self, network: FinetunedNetwork, course: TrainingHistory, phase: int) -> None:
        """Put back what a phase began with; one that has a snapshot goes on from there by itself."""
        if not self._snapshot_file(phase).is_file():
            self.restore_best(network, course)

    def _keep_only(self, number: int) -> None:
        for file in self.folder.glob("epoch-*.safetensors"):
            if file != self.best_file(number):
                file.unlink()

    def _snapshot_file(self, phase: int) -> Path:
        return self.folder / f"phase-{phase}.pt"

    def keep_snapshot(self, phase: int, content: Snapshot) -> None:
        """Write all that a phase needs to go on after an epoch."""
        with whole_file(self._snapshot_file(phase)) as private:
            torch.save(content, private)
        self._keep_only(content["course"]["best"])

    def snapshot(self, phase: int) -> Snapshot | None:
        """Return what was kept last in a phase that was cut short."""
        file = self._snapshot_file(phase)
        return torch.load(file, weights_only=True) if file.is_file() else None

    def finish_phase(self, phase: int, course: TrainingHistory) -> None:
        """Note that a phase is over; its best weights are those to go on from."""
        write_sealed(self.folder / "course.json", {"phase": phase, "course": course.to_dict()})
        self._keep_only(course.best)
        self._snapshot_file(phase).unlink(missing_ok=True)

    def finished(self) -> tuple[int, TrainingHistory | None]:
        """Return the last finished phase and the course up to there; 0 and None before the first."""
        file = self.folder / "course.json"
        if not file.is_file():
            return 0, None
        written = read_sealed(file, "run 'featx finetune --force'", FinishedPhase)
        return written.phase, TrainingHistory.from_dict(written.course)
