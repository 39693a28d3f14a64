"""A plain training loop for new layers on cached vectors, where nothing of the backbone runs."""

import time
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from featx.finetuning.epochs import Epoch
from featx.finetuning.history import TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.optimisers import LearningRateSchedule, build_optimiser, build_schedule
from featx.finetuning.phase import Phase, TrainingEnvironment, TrainingState, measure_parts
from featx.finetuning.phase_rows import PhaseRows
from featx.finetuning.training_rows import LoadedRows, all_rows

# Number of vectors that are measured at once.
MEASURED_BATCH = 4096


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
    parts = {name: _loaded(rows) for name, rows in (("train", phase.train), ("held", phase.held), ("val", phase.val))}
    phase = replace(phase, train=parts["train"])
    epochs = phase.phase_spec.epochs
    optimiser = build_optimiser(network, phase.spec, phase.phase_spec)
    schedule = build_schedule(optimiser, phase.spec, epochs, phase.n_steps * epochs)
    # Gradients of a batch that ran out of memory are no part of the first step.
    optimiser.zero_grad()
    first_epoch = len(history.epochs)
    for number in range(first_epoch, first_epoch + epochs):
        start, lr = time.perf_counter(), optimiser.param_groups[0]["lr"]
        _run_epoch(network, phase, optimiser, schedule, number)
        measurements = measure_parts(network, parts, phase.measurer, MEASURED_BATCH, environment.device)
        epoch = Epoch(
            number,
            phase.number,
            lr,
            **measurements,
            seconds=time.perf_counter() - start,
            has_finite_weights=not history.choice.keeps_last or network.has_finite_weights,
        )
        if history.add_epoch(epoch):
            state.save_best(network, number)
        schedule.after_epoch(history.choice.cost(epoch))
        environment.progress(phase.title, number - first_epoch + 1, epochs, history.summary)
        environment.after_epoch(history)
        if history.is_phase_over:
            break


def _loaded(rows: PhaseRows) -> PhaseRows:
    """Return rows whose vectors are in memory; those with augmented views, which differ by epoch, stay in the store."""
    if rows.inputs.has_views or not len(rows):
        return rows
    x = rows.inputs.batch(all_rows(rows.inputs)).float().to(rows.objective.targets.device)
    return replace(rows, inputs=LoadedRows(x, rows.inputs.unit))


def _run_epoch(
    network: FinetunedNetwork, phase: Phase, optimiser: Optimizer, schedule: LearningRateSchedule, number: int
) -> None:
    """Run the steps of one epoch."""
    phase.seed_torch(number)
    layers = network.layers.train()
    inputs, objective = phase.train.inputs, phase.train.objective
    x: Tensor = inputs.batch(all_rows(inputs), number).float().to(objective.targets.device)
    for batches in phase.rows_by_step(number):
        n_rows = sum(map(len, batches))
        for batch in batches:
            rows = torch.from_numpy(batch).to(x.device)
            loss = objective.total_loss(layers(x[rows]), rows)
            (loss / n_rows).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        schedule.after_step()
