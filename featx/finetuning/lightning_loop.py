"""The loop for everything that runs a network, on pytorch-lightning."""

import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from featx.finetuning.history import Epoch, TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.optimisers import optimiser, schedule
from featx.finetuning.phase import Machine, Phase, Snapshot, TrainingState, in_turn, nothing
from featx.finetuning.training_rows import Inputs
from featx.progress import no_progress

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
Batch = tuple[Tensor, Tensor, float]  # what the network takes, which rows, and the factor of their summed losses


class _Batches(IterableDataset[Batch]):
    """The batches of the epoch that a course has come to; of several devices each takes its share of every batch.

    The first batch is asked for before an epoch is said to start, so the course alone tells which one it is.
    """

    def __init__(self, leg: Phase, course: TrainingHistory) -> None:
        self.leg = leg
        self.course = course
        self.share = (0, 1)

    def __len__(self) -> int:
        return self.leg.steps * self.leg.passes

    def __iter__(self) -> Iterator[Batch]:
        mine, of = self.share
        epoch = len(self.course.epochs)
        for step in self.leg.batches(epoch):
            n_rows = sum(map(len, step))
            for rows in step:
                # Gradients of several devices are averaged, those of their shares of the rows are to be added.
                is_shared = len(rows) >= of
                at = rows[mine::of] if is_shared else rows
                factor = (of if is_shared else 1) / n_rows
                yield self.leg.train.batch(at, epoch), torch.from_numpy(at), factor


class _InTurn(IterableDataset[Batch]):
    """All held-out rows, as they are."""

    def __init__(self, inputs: Inputs, size: int) -> None:
        self.inputs = inputs
        self.size = size

    def __len__(self) -> int:
        return math.ceil(len(self.inputs) / self.size)

    def __iter__(self) -> Iterator[Batch]:
        for at in in_turn(len(self.inputs), self.size):
            yield self.inputs.batch(at), torch.from_numpy(at), 1.0


class _Learner(pl.LightningModule):
    """A network that learns for one phase, and keeps its own notes."""

    def __init__(
        self, network: FinetunedNetwork, leg: Phase, course: TrainingHistory, work: TrainingState, machine: Machine
    ) -> None:
        super().__init__()
        self.network = network
        self._leg = leg
        self._course = course
        self._work = work
        self._machine = machine
        self._optimiser = optimiser(network, leg.spec, leg.phase)
        self._advance = schedule(self._optimiser, leg.spec, leg.phase.epochs, leg.steps * leg.phase.epochs)
        self._goals = (leg.goal, leg.held_goal)
        self.batches = _Batches(leg, course)
        self._losses: list[Tensor] = []
        self._held: list[Tensor] = []
        self._begun = 0.0
        self._scaler: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_machine": replace(self._machine, progress=no_progress, after_epoch=nothing)}

    @property
    def n_left(self) -> int:
        """Epochs of the phase that are still to come; a resumed one has had some."""
        return self._leg.phase.epochs - sum(epoch.phase == self._leg.number for epoch in self._course.epochs)

    def resume(self, kept: Snapshot) -> None:
        """Go on from what was kept after an epoch."""
        self._work.restore(self.network, kept["weights"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._advance.schedule.load_state_dict(kept["schedule"])
        self._scaler = kept["scaler"]

    def configure_optimizers(self) -> Optimizer:
        return self._optimiser

    def on_fit_start(self) -> None:
        self._goals = (self._leg.goal.to(self.device), self._leg.held_goal.to(self.device))
        self.batches.share = (self.trainer.global_rank, self.trainer.world_size)
        if self._scaler:
            self.trainer.precision_plugin.load_state_dict(self._scaler)

    def on_train_epoch_start(self) -> None:
        self._begun = time.perf_counter()
        self.network.train()  # Lightning leaves modes as it finds them

    def on_train_batch_start(self, _batch: Any, number: int) -> None:
        if number == 0:  # not before: a loader that begins draws a number as well
            self._leg.seed(len(self._course.epochs))

    def training_step(self, batch: Batch, _number: int) -> Tensor:
        x, at, factor = batch
        goal = self._goals[0]
        loss = goal.total(self.network.beyond(x, self._leg.train.unit), at)
        self._losses.append(torch.stack([loss.detach(), goal.weights[at].sum()]))
        return loss * (factor * self._leg.passes)  # Lightning divides by them

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self._advance.after_step()

    def on_train_batch_end(self, _outputs: Any, _batch: Any, number: int) -> None:
        each, epochs = self._leg.steps * self._leg.passes, self._leg.phase.epochs
        news = self._course.news if len(self._course.epochs) > 1 else ""
        self._machine.progress(self._leg.title, (epochs - self.n_left) * each + number + 1, epochs * each, news)

    def validation_step(self, batch: Batch, _number: int) -> None:
        x, at, _ = batch
        goal = self._goals[1]
        losses = goal.losses(self.network.beyond(x, self._leg.held.unit), at)
        self._held.append(torch.stack([(losses * goal.weights[at]).sum(), goal.weights[at].sum()]))

    def on_train_epoch_end(self) -> None:
        # of several devices each has seen its share of train, and all that is held out
        sums = self.trainer.strategy.reduce(torch.stack(self._losses).sum(0), reduce_op="sum")
        train_loss = float(sums[0] / sums[1])
        held = torch.stack(self._held).sum(0) if self._held else None
        held_loss = self.network.loss_without_held_rows(train_loss) if held is None else float(held[0] / held[1])
        # One device decides for all: their BatchNorm statistics, and so their losses, may differ a little.
        held_loss = self.trainer.strategy.broadcast(held_loss)
        self._losses, self._held = [], []
        lr, seconds = self._optimiser.param_groups[0]["lr"], time.perf_counter() - self._begun
        self._advance.after_epoch(held_loss)
        number = len(self._course.epochs)
        is_best = self._course.take(Epoch(number, self._leg.number, lr, train_loss, held_loss, seconds))
        self.log_dict({"train_loss": train_loss, "held_loss": held_loss, "lr": lr}, rank_zero_only=True)
        if self.trainer.is_global_zero:
            if is_best:
                self._work.keep_best(self.network, number)
            self._work.keep_snapshot(
                self._leg.number,
                {
                    "weights": self._work.state(self.network),
                    "optimiser": self._optimiser.state_dict(),
                    "schedule": self._advance.schedule.state_dict(),
                    "scaler": self.trainer.precision_plugin.state_dict(),
                    "course": self._course.to_dict(),
                },
            )
        self._machine.after_epoch(self._course)
        self.trainer.should_stop = self._course.is_over


def train_network(
    network: FinetunedNetwork, leg: Phase, course: TrainingHistory, work: TrainingState, machine: Machine
) -> None:
    """Train for one phase; `network` ends with its last weights, and `work` has the best.

    A phase that a kill cut short goes on after its last whole epoch.

    Raises
    ------
    KeyboardInterrupt
        after Ctrl-C; the last whole epoch is kept.
    """
    kept = work.snapshot(leg.number)
    if kept is not None:
        vars(course).update(vars(TrainingHistory.from_dict(kept["course"])))
    learner = _Learner(network, leg, course, work, machine)
    if kept is not None:
        learner.resume(kept)
    if not learner.n_left or course.is_over:
        return
    if machine.gpus > 1:
        machine.progress(leg.title, 0, leg.phase.epochs, f"on {machine.gpus} devices; shown when the phase is over")
    pin = machine.device.type == "cuda"
    train = DataLoader(learner.batches, batch_size=None, pin_memory=pin)
    in_order = _InTurn(leg.held, leg.spec.batch_size)
    held = DataLoader(in_order, batch_size=None, pin_memory=pin) if len(leg.held) else None
    with _quiet():
        trainer = _trainer(leg, machine, learner.n_left)
        trainer.fit(learner, train, held)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if machine.gpus > 1 and (last := work.snapshot(leg.number)) is not None:  # the other processes' notes
        vars(course).update(vars(TrainingHistory.from_dict(last["course"])))
        work.restore(network, last["weights"])


def _trainer(leg: Phase, machine: Machine, epochs: int) -> pl.Trainer:
    index = machine.device.index
    devices: Any = machine.gpus if machine.gpus > 1 or index is None else [index]
    logger: Any = False
    if machine.tensorboard is not None:
        logger = TensorBoardLogger(str(machine.tensorboard), name="", version=f"phase-{leg.number}")
    return pl.Trainer(
        accelerator="gpu" if machine.device.type == "cuda" else "cpu",
        devices=devices,
        strategy="ddp_spawn" if machine.gpus > 1 else "auto",
        precision=PRECISIONS[leg.spec.precision],  # type: ignore[arg-type]
        accumulate_grad_batches=leg.passes,
        max_epochs=epochs,
        logger=logger,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic="warn" if machine.device.type == "cuda" else None,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Lightning says of itself, of workers and of devices from the terminal."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", module="torch")
        try:
            yield
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from error
        finally:
            logger.setLevel(level)
