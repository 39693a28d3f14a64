"""The training loop for everything that runs the backbone, on pytorch-lightning."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from featx.finetuning.adversarial import FreePerturbations, n_perturbed, perturb
from featx.finetuning.epochs import Epoch, PartMeasurement
from featx.finetuning.history import TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.optimisers import build_optimiser, build_schedule
from featx.finetuning.phase import (
    Phase,
    Snapshot,
    TrainingEnvironment,
    TrainingState,
    do_nothing,
    measure_parts,
)
from featx.progress import no_progress

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
# The input of the network, the numbers of its rows, and the factor of the sum of their losses.
Batch = tuple[Tensor, Tensor, float]


class _TrainBatches(IterableDataset[Batch]):
    """The batches of the next epoch of a history; each of several devices takes its share of every batch.

    Lightning asks for the first batch before it announces the start of an epoch, so only the history states which epoch
    is next.

    Attributes
    ----------
    rank
        Number of this device, from 0.
    n_devices
        Number of devices that share each batch.
    """

    def __init__(self, phase: Phase, history: TrainingHistory) -> None:
        self.phase = phase
        self.history = history
        self.rank = 0
        self.n_devices = 1

    def __len__(self) -> int:
        return self.phase.n_updates * self.phase.n_accumulated

    def __iter__(self) -> Iterator[Batch]:
        epoch = len(self.history.epochs)
        for batches in self.phase.rows_by_step(epoch):
            n_rows = sum(map(len, batches))
            for batch in batches * self.phase.n_replays:
                # Lightning averages the gradients of devices, but the gradients of shares of a batch must be added.
                is_shared = len(batch) >= self.n_devices
                rows = batch[self.rank :: self.n_devices] if is_shared else batch
                factor = (self.n_devices if is_shared else 1) / n_rows
                yield self.phase.train.inputs.batch(rows, epoch), torch.from_numpy(rows), factor


class _Learner(pl.LightningModule):
    """A network in training for one phase, which updates the history and the training state itself."""

    def __init__(
        self,
        network: FinetunedNetwork,
        phase: Phase,
        history: TrainingHistory,
        state: TrainingState,
        environment: TrainingEnvironment,
    ) -> None:
        super().__init__()
        self.network = network
        self._phase = phase
        self._history = history
        self._state = state
        self._environment = environment
        self._optimiser = build_optimiser(network, phase.spec, phase.phase_spec)
        epochs = phase.phase_spec.epochs
        self._schedule = build_schedule(self._optimiser, phase.spec, epochs, phase.n_updates * epochs)
        self._objective = phase.train.objective
        self.batches = _TrainBatches(phase, history)
        self._adversarial = phase.spec.adversarial
        self._free = FreePerturbations(self._adversarial) if phase.n_replays > 1 and self._adversarial else None
        self._train_sums: list[Tensor] = []
        # The last column counts on how many devices a row has been processed.
        self._train_outputs = torch.zeros(len(phase.train), self._objective.n_outputs + 1)
        self._epoch_start = 0.0
        self._scaler_state: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Callbacks cannot be sent to other processes.
        return {**vars(self), "_environment": replace(self._environment, progress=no_progress, after_epoch=do_nothing)}

    @property
    def n_epochs_left(self) -> int:
        """Number of epochs of the phase that are still to run; a resumed phase has run some already."""
        n_finished = sum(epoch.phase == self._phase.number for epoch in self._history.epochs)
        return self._phase.phase_spec.epochs - n_finished

    def resume(self, snapshot: Snapshot) -> None:
        """Continue from the snapshot of an epoch."""
        self._state.restore_weights(self.network, snapshot["weights"])
        self._optimiser.load_state_dict(snapshot["optimiser"])
        self._schedule.scheduler.load_state_dict(snapshot["schedule"])
        self._scaler_state = snapshot["scaler"]

    def configure_optimizers(self) -> Optimizer:
        return self._optimiser

    def on_fit_start(self) -> None:
        # Processes of other devices begin with torch's default, TF32.
        torch.backends.cudnn.allow_tf32 = False
        self._objective = self._phase.train.to(self.device).objective
        self._train_outputs = self._train_outputs.to(self.device)
        self.batches.rank, self.batches.n_devices = self.trainer.global_rank, self.trainer.world_size
        if self._scaler_state:
            self.trainer.precision_plugin.load_state_dict(self._scaler_state)

    def on_train_epoch_start(self) -> None:
        self._epoch_start = time.perf_counter()
        self._train_outputs.zero_()
        self._train_sums = []
        # Lightning leaves the modes of modules unchanged.
        self.network.train()

    def on_train_batch_start(self, _batch: Any, number: int) -> None:
        # The seed is set here and not before the epoch, because a loader draws a random number when it starts.
        if number == 0:
            self._phase.seed_torch(len(self._history.epochs))

    def training_step(self, batch: Batch, number: int) -> Tensor:
        x, rows, factor = batch
        position, replay = number % self._phase.n_accumulated, self._replay(number)
        if self._adversarial is not None:
            x = self._perturbed(x, rows, position, replay)
        outputs = self.network.run_from(x, self._phase.train.inputs.unit)
        loss = self._objective.total_loss(outputs, rows)
        # Of several replays, only the last one is measured.
        if replay == self._phase.n_replays - 1:
            self._train_sums.append(torch.stack([loss.detach(), self._objective.weights[rows].sum()]))
        self._train_outputs[rows, :-1] = outputs.detach().float()
        self._train_outputs[rows, -1] = 1.0
        # Lightning divides the loss by the number of accumulated batches.
        return loss * (factor * self._phase.n_accumulated)

    def _replay(self, number: int) -> int:
        """Return the number of the replay of a batch of the epoch."""
        return number // self._phase.n_accumulated % self._phase.n_replays

    def _perturbed(self, x: Tensor, rows: Tensor, position: int, replay: int) -> Tensor:
        """Return (b, h, w, 3) pixels in [0, 255], of which the share to perturb comes first."""
        assert self._adversarial is not None
        pixels = x.float() / 255
        attacked_pixels, clean_pixels = pixels.tensor_split([n_perturbed(len(pixels), self._adversarial.share)])
        if self._free is not None:
            attacked_pixels = self._free.add_to(attacked_pixels, position, is_first=replay == 0)
        else:
            # In eval mode, perturbations change no statistics, and are made for the network that predicts.
            self.network.eval()
            attacked_pixels = perturb(
                attacked_pixels, partial(self._row_losses, rows[: len(attacked_pixels)]), self._adversarial
            )
            self.network.train()
        return 255 * torch.cat([attacked_pixels, clean_pixels])

    def _row_losses(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Return the (b,) losses of pixels in [0, 1] for some rows."""
        return self._objective.row_losses(self.network.run_from(255 * pixels, None), rows)

    def on_after_backward(self) -> None:
        if self._free is not None:
            self._free.after_backward()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self._schedule.after_step()

    def on_train_batch_end(self, _outputs: Any, _batch: Any, number: int) -> None:
        n_batches, epochs = len(self.batches), self._phase.phase_spec.epochs
        note = self._history.summary if len(self._history.epochs) > 1 else ""
        n_done = (epochs - self.n_epochs_left) * n_batches + number + 1
        self._environment.progress(self._phase.title, n_done, epochs * n_batches, note)

    def on_train_epoch_end(self) -> None:
        epoch = self._measured_epoch()
        self._schedule.after_epoch(self._history.choice.cost(epoch))
        is_best = self._history.add_epoch(epoch)
        if self.trainer.is_global_zero:
            if is_best:
                self._state.save_best(self.network, epoch.number)
            self._state.save_snapshot(
                self._phase.number,
                {
                    "weights": self._state.copy_weights(self.network),
                    "optimiser": self._optimiser.state_dict(),
                    "schedule": self._schedule.scheduler.state_dict(),
                    "scaler": self.trainer.precision_plugin.state_dict(),
                    "history": self._history.to_dict(),
                },
            )
        self._environment.after_epoch(self._history)
        self.trainer.should_stop = self._history.is_phase_over

    def _measured_epoch(self) -> Epoch:
        """Return the epoch that has just ended with its measurements, equal on all devices."""
        phase = self._phase
        parts = {"held": phase.held, "val": phase.val}
        measurements = {} if phase.measures_train_after else {"train": self._measured_steps()}
        if phase.measures_train_after:
            parts["train"] = phase.train
        with self.trainer.precision_plugin.forward_context():
            measurements |= measure_parts(self.network, parts, phase.measurer, phase.batch_size, self.device)
        epoch = Epoch(
            len(self._history.epochs),
            phase.number,
            self._optimiser.param_groups[0]["lr"],
            **measurements,
            seconds=time.perf_counter() - self._epoch_start,
            has_finite_weights=not self._history.choice.keeps_last or self.network.has_finite_weights,
        )
        # One device decides for all: their BatchNorm statistics, and so their losses, may differ a little.
        return self.trainer.strategy.broadcast(epoch)

    def _measured_steps(self) -> PartMeasurement:
        """Return the measurement of the outputs of the epoch's steps, each as it was before its step."""
        # Each device has processed its share of the train rows, or all rows of a batch that is too small to share.
        reduce = partial(self.trainer.strategy.reduce, reduce_op="sum")
        loss_sum, weight_sum = reduce(torch.stack(self._train_sums).sum(0))
        outputs = reduce(self._train_outputs)
        phase, loss = self._phase, float(loss_sum / weight_sum)
        return phase.measurer.measure(phase.train, outputs[:, :-1] / outputs[:, -1:], loss)


def train_network(
    network: FinetunedNetwork,
    phase: Phase,
    history: TrainingHistory,
    state: TrainingState,
    environment: TrainingEnvironment,
) -> None:
    """Train for one phase; `network` ends with its last weights, and `state` has the best.

    An interrupted phase resumes after its last complete epoch.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; the last complete epoch is saved.
    """
    snapshot = state.load_snapshot(phase.number)
    if snapshot is not None:
        history.reset_to(snapshot["history"])
    learner = _Learner(network, phase, history, state, environment)
    if snapshot is not None:
        learner.resume(snapshot)
    if not learner.n_epochs_left or history.is_phase_over:
        return
    n_devices = environment.n_devices
    if n_devices > 1:
        note = f"on {n_devices} devices; shown when the phase is over"
        environment.progress(phase.title, 0, phase.phase_spec.epochs, note)
    uses_cuda = environment.device.type == "cuda"
    train_loader = DataLoader(learner.batches, batch_size=None, pin_memory=uses_cuda)
    with _quiet():
        trainer = _build_trainer(phase, environment, learner.n_epochs_left)
        trainer.fit(learner, train_loader)
    if trainer.interrupted:
        raise KeyboardInterrupt
    # Lightning moves the network to the CPU when it ends.
    network.to(environment.device)
    # With several devices the training ran in other processes, which saved its result.
    if n_devices > 1 and (last_snapshot := state.load_snapshot(phase.number)) is not None:
        history.reset_to(last_snapshot["history"])
        state.restore_weights(network, last_snapshot["weights"])


def _build_trainer(phase: Phase, environment: TrainingEnvironment, epochs: int) -> pl.Trainer:
    """Return Lightning's trainer for so many epochs of a phase."""
    index = environment.device.index
    uses_cuda = environment.device.type == "cuda"
    devices: Any = environment.n_devices if environment.n_devices > 1 or index is None else [index]
    return pl.Trainer(
        accelerator="gpu" if uses_cuda else "cpu",
        devices=devices,
        strategy="ddp_spawn" if environment.n_devices > 1 else "auto",
        precision=PRECISIONS[phase.spec.precision],  # type: ignore[arg-type]
        accumulate_grad_batches=phase.n_accumulated,
        max_epochs=epochs,
        logger=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # Statistics of BatchNorm are those of the whole batch, as on one device; torch has this for GPUs only.
        sync_batchnorm=uses_cuda and environment.n_devices > 1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic="warn" if uses_cuda else None,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the messages of Lightning about itself, workers and devices."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", module="torch")
        try:
            yield
        # Lightning exits the process after Ctrl-C; the code of a loss or a network may exit too.
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise
        finally:
            logger.setLevel(level)
