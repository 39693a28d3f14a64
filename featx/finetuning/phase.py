"""Phases of a training, with the parameters, inputs and objective of each, and the state of the training on disk."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from featx.embeddings.engine import is_out_of_memory
from featx.files.atomic import atomic_file
from featx.files.seals import read_sealed, write_sealed
from featx.finetuning.epochs import EpochChoice, PartMeasurement
from featx.finetuning.history import TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.phase_rows import OutputMeasurer, PhaseRows
from featx.finetuning.training_rows import Inputs, Rows
from featx.metrics.definitions import find_score
from featx.progress import ProgressCallback
from featx.specs.finetuning import FinetuneSpec, PhaseSpec

LAST_WEIGHTS = "last.safetensors"
HISTORY_FILE = "history.json"
Snapshot = dict[str, Any]  # tensors, numbers and texts


def do_nothing(history: TrainingHistory) -> None:
    """Do nothing after an epoch."""


@dataclass(frozen=True)
class TrainingEnvironment:
    """The devices that train a network, and the callbacks that follow the training.

    Attributes
    ----------
    device
        The device, or the kind of devices.
    n_devices
        Number of devices at once; on a CPU, of processes.
    progress
        Callback for progress.
    after_epoch
        Callback with the history after each epoch; it may raise to end the training.
    """

    device: torch.device
    n_devices: int
    progress: ProgressCallback
    after_epoch: Callable[[TrainingHistory], None] = do_nothing


@dataclass(frozen=True)
class Phase:
    """A part of a training with its own trainable parameters and learning rate.

    Attributes
    ----------
    number
        Number of the phase, from 1.
    spec
        The spec of the whole training.
    phase_spec
        Strategy, learning rate and number of epochs of the phase.
    trainable
        Names of the trainable parameters of the trunk.
    train
        The rows that are trained on.
    held
        The rows held out of train for early stopping; may be empty.
    val
        The val rows.
    measurer
        Measures the network's outputs by loss and scores.
    runs_new_layers_only
        Whether only the new layers run, on cached vectors.
    n_divisions
        Number of parts into which each batch is divided, so that it fits into memory.
    """

    number: int
    spec: FinetuneSpec
    phase_spec: PhaseSpec
    trainable: frozenset[str]
    train: PhaseRows
    held: PhaseRows
    val: PhaseRows
    measurer: OutputMeasurer
    runs_new_layers_only: bool = False
    n_divisions: int = 1

    @property
    def title(self) -> str:
        """The name of the phase in progress bars."""
        return f"finetune {self.phase_spec.trainable}"

    def rows_by_step(self, epoch: int) -> list[list[Rows]]:
        """Return the rows of each step of an epoch, in as many batches as are accumulated.

        Rows are shuffled by seed and epoch. The number of steps is that of full ones, and all steps have nearly the
        same size: a last step of one or two rows would add the noise of its few images.
        """
        order = np.random.default_rng([self.spec.seed, epoch]).permutation(len(self.train))
        return [np.array_split(rows, self.n_accumulated) for rows in np.array_split(order, self.n_steps)]

    def to(self, device: torch.device) -> "Phase":
        """Return the same phase with its objectives on a device."""
        return replace(self, train=self.train.to(device), held=self.held.to(device), val=self.val.to(device))

    @property
    def measures_train_after(self) -> bool:
        """Whether the train rows are measured after an epoch from cached activations, without dropout and augmentation.

        Where the whole network runs on pixels, that would take as long as a third of the epoch; the outputs of the
        epoch's steps are measured instead.
        """
        return self.train.inputs.unit is not None

    @property
    def choice(self) -> EpochChoice:
        """The rule by which the best epoch is chosen."""
        rows, part = (self.val, "val") if self.spec.monitor == "val" else (self.held, "held")
        if not len(rows):
            return EpochChoice("train")
        if self.spec.choose_by == "loss":
            return EpochChoice(part)
        score = self.measurer.chosen_score(rows.targets)
        return EpochChoice(part, score, find_score(self.measurer.metric).greater_is_better)

    @property
    def n_steps(self) -> int:
        """Number of steps of the optimiser in one epoch."""
        return math.ceil(len(self.train) / (self.spec.batch_size * self.spec.accumulate))

    @property
    def n_accumulated(self) -> int:
        """Number of batches whose gradients are accumulated in each step."""
        return min(self.spec.accumulate * self.n_divisions, len(self.train) // self.n_steps)

    @property
    def batch_size(self) -> int:
        """Largest number of images in a batch, after the divisions for lack of memory."""
        return math.ceil(self.spec.batch_size / self.n_divisions)

    @property
    def n_replays(self) -> int:
        """Number of times that each step is repeated with other perturbations of its images."""
        return 1 if self.spec.adversarial is None else self.spec.adversarial.n_replays

    @property
    def n_updates(self) -> int:
        """Number of updates of the weights in one epoch: the steps with their replays."""
        return self.n_steps * self.n_replays

    def seed_torch(self, epoch: int) -> None:
        """Seed torch for an epoch, so that a resumed training draws the same random numbers."""
        torch.manual_seed(int(np.random.SeedSequence([self.spec.seed, epoch]).generate_state(1)[0]))


def batches_in_order(n_rows: int, batch_size: int) -> Iterator[Rows]:
    """Yield the numbers of all rows in order, batch by batch."""
    for start in range(0, n_rows, batch_size):
        yield np.arange(start, min(start + batch_size, n_rows))


@torch.inference_mode()
def compute_outputs(network: FinetunedNetwork, inputs: Inputs, batch_size: int, device: torch.device) -> Tensor:
    """Return (n, m) raw outputs of a network in eval mode, in float32 on the CPU.

    Parameters
    ----------
    network
        The network, on `device`.
    inputs
        Inputs of n images.
    batch_size
        Images per batch; halved as often as memory requires.
    device
        The device that runs the network.
    """
    network.eval()
    try:
        batches = (inputs.batch(rows).to(device) for rows in batches_in_order(len(inputs), batch_size))
        return torch.cat([network.run_from(x, inputs.unit).float().cpu() for x in batches])
    except Exception as error:
        if not is_out_of_memory(error) or batch_size == 1:
            raise
    return compute_outputs(network, inputs, batch_size // 2, device)


def measure_parts(
    network: FinetunedNetwork,
    parts: Mapping[str, PhaseRows],
    measurer: OutputMeasurer,
    batch_size: int,
    device: torch.device,
) -> dict[str, PartMeasurement]:
    """Return the loss and the scores of each part that has rows, of a network in eval mode."""
    return {
        name: measurer.measure(rows, compute_outputs(network, rows.inputs, batch_size, device))
        for name, rows in parts.items()
        if len(rows)
    }


class FinishedPhase(BaseModel):
    """The content of ``history.json``: the number of the last finished phase, and the history up to its end."""

    phase: int
    history: dict[str, Any]


class TrainingState:
    """The state of a training on disk: the best weights, and the state after the last finished phase.

    Parameters
    ----------
    folder
        Folder of this training alone; created when it is first written to.
    unit
        Number of the first unit that is trained in any phase; the units below never change.
    """

    def __init__(self, folder: Path, unit: int) -> None:
        self.folder = folder
        self._unit = unit

    def copy_weights(self, network: FinetunedNetwork) -> dict[str, Tensor]:
        """Return a copy of all tensors that training may change, on the CPU."""
        n_units = len(network.trunk.units)
        prefixes = (*(f"trunk.units.{number}." for number in range(self._unit, n_units)), "layers.")
        return {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in network.state_dict().items()
            if name.startswith(prefixes)
        }

    def restore_weights(self, network: FinetunedNetwork, weights: dict[str, Tensor]) -> None:
        """Load a copy of the weights into a network."""
        unexpected_keys = network.load_state_dict(weights, strict=False).unexpected_keys
        # A tensor under another name would leave one of the network unchanged without an error.
        assert not unexpected_keys, unexpected_keys

    def _best_file(self, number: int) -> Path:
        """Return the file with the weights of an epoch."""
        return self.folder / f"epoch-{number}.safetensors"

    def save_best(self, network: FinetunedNetwork, number: int) -> None:
        """Write the weights of an epoch that is the best so far."""
        self._save_weights(network, self._best_file(number))

    def save_last(self, network: FinetunedNetwork) -> None:
        """Write the weights at the end of a phase."""
        self._save_weights(network, self.folder / LAST_WEIGHTS)

    def _save_weights(self, network: FinetunedNetwork, file: Path) -> None:
        from safetensors.torch import save_file

        with atomic_file(file) as private:
            save_file(self.copy_weights(network), private)

    def restore_best(self, network: FinetunedNetwork, history: TrainingHistory) -> None:
        """Load the best weights into a network."""
        from safetensors.torch import load_file

        self.restore_weights(network, load_file(self._best_file(history.best)))

    def restore_phase_start(self, network: FinetunedNetwork, history: TrainingHistory, phase: int) -> None:
        """Load the weights at the start of a phase, unless the phase has a snapshot, from which it resumes."""
        if not self._snapshot_file(phase).is_file():
            self.restore_best(network, history)

    def _remove_all_but(self, number: int) -> None:
        """Remove the weights of all epochs but one."""
        for file in self.folder.glob("epoch-*.safetensors"):
            if file != self._best_file(number):
                file.unlink()

    def _snapshot_file(self, phase: int) -> Path:
        return self.folder / f"phase-{phase}.pt"

    def save_snapshot(self, phase: int, content: Snapshot) -> None:
        """Write all that is needed to resume a phase after an epoch."""
        with atomic_file(self._snapshot_file(phase)) as private:
            torch.save(content, private)
        self._remove_all_but(content["history"]["best"])

    def load_snapshot(self, phase: int) -> Snapshot | None:
        """Return the last snapshot of an interrupted phase; None if there is none."""
        file = self._snapshot_file(phase)
        return torch.load(file, map_location="cpu", weights_only=True) if file.is_file() else None

    def finish_phase(self, phase: int, history: TrainingHistory) -> None:
        """Record that a phase is finished; the next one starts from its best weights."""
        write_sealed(self.folder / HISTORY_FILE, {"phase": phase, "history": history.to_dict()})
        self._remove_all_but(history.best)
        self._snapshot_file(phase).unlink(missing_ok=True)

    def load_finished(self) -> tuple[int, TrainingHistory | None]:
        """Return the number of the last finished phase and the history up to its end; 0 and None before the first."""
        file = self.folder / HISTORY_FILE
        if not file.is_file():
            return 0, None
        finished_phase = read_sealed(file, "run 'featx finetune --force'", FinishedPhase)
        return finished_phase.phase, TrainingHistory.from_dict(finished_phase.history)
