"""A plain training loop for new layers on cached vectors, where nothing of the backbone runs."""

import time

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from featx.finetuning.history import Epoch, TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.optimisers import LearningRateSchedule, build_optimiser, build_schedule
from featx.finetuning.phase import Phase, TrainingEnvironment, TrainingState


def train_on_vectors(
    network: FinetunedNetwork,
    phase: Phase,
    history: TrainingHistory,
    state: TrainingState,
    environment: TrainingEnvironment,
) -> None:
    """Train the new layers for one phase; `network` ends with its last weights, and `state` has the best.

    Vectors are small: those of each epoch are loaded into memory. The phase takes seconds, and restarts from its
    beginning after a kill.
    """
    phase = phase.to(environment.device)
    epochs = phase.phase_spec.epochs
    optimiser = build_optimiser(network, phase.spec, phase.phase_spec)
    schedule = build_schedule(optimiser, phase.spec, epochs, phase.n_steps * epochs)
    n_held = len(phase.held_inputs)
    held_x = phase.held_inputs.batch(np.arange(n_held)).float().to(environment.device) if n_held else None
    first = len(history.epochs)
    for number in range(first, first + epochs):
        start, lr = time.perf_counter(), optimiser.param_groups[0]["lr"]
        train_loss = _run_epoch(network, phase, optimiser, schedule, number)
        held_loss = network.loss_without_held_rows(train_loss) if held_x is None else _held_loss(network, phase, held_x)
        schedule.after_epoch(held_loss)
        epoch = Epoch(number, phase.number, lr, train_loss, held_loss, time.perf_counter() - start)
        if history.add_epoch(epoch):
            state.save_best(network, number)
        environment.progress(phase.title, number - first + 1, epochs, history.summary)
        environment.after_epoch(history)
        if history.is_phase_over:
            break


def _run_epoch(
    network: FinetunedNetwork, phase: Phase, optimiser: Optimizer, schedule: LearningRateSchedule, number: int
) -> float:
    """Run one epoch and return the weighted mean loss of its rows, each as it was before its step."""
    phase.seed_torch(number)
    layers = network.layers.train()
    inputs, objective = phase.train_inputs, phase.objective
    x = inputs.batch(np.arange(len(inputs)), number).float().to(objective.targets.device)
    losses = []
    for batches in phase.rows_by_step(number):
        n_rows = sum(map(len, batches))
        for batch in batches:
            rows = torch.from_numpy(batch).to(x.device)
            loss = objective.total_loss(layers(x[rows]), rows)
            (loss / n_rows).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        optimiser.step()
        optimiser.zero_grad()
        schedule.after_step()
    return float(torch.stack(losses).sum() / objective.weights.sum())


@torch.inference_mode()
def _held_loss(network: FinetunedNetwork, phase: Phase, held_x: Tensor) -> float:
    """Return the weighted mean loss of the held-out rows."""
    objective = phase.held_objective
    return float(objective.mean_loss(network.layers.eval()(held_x), objective.all_rows))
