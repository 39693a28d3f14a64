"""The plain loop: new layers on cached vectors, where nothing of the backbone runs."""

import time

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from featx.finetuning.history import Epoch, TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.optimisers import Advance, optimiser, schedule
from featx.finetuning.phase import Machine, Phase, TrainingState


def train_on_vectors(
    network: FinetunedNetwork, leg: Phase, course: TrainingHistory, work: TrainingState, machine: Machine
) -> None:
    """Train the new layers for one phase; `network` ends with its last weights, and `work` has the best.

    Vectors are small: each epoch's are held in memory. The phase takes seconds, and is begun anew after a kill.
    """
    leg = leg.to(machine.device)
    made = optimiser(network, leg.spec, leg.phase)
    advance = schedule(made, leg.spec, leg.phase.epochs, leg.steps * leg.phase.epochs)
    held = leg.held.batch(np.arange(len(leg.held))).float().to(machine.device) if len(leg.held) else None
    first = len(course.epochs)
    for number in range(first, first + leg.phase.epochs):
        start, lr = time.perf_counter(), made.param_groups[0]["lr"]
        train_loss = _epoch(network, leg, made, advance, number)
        held_loss = network.loss_without_held_rows(train_loss) if held is None else _held_loss(network, leg, held)
        advance.after_epoch(held_loss)
        if course.take(Epoch(number, leg.number, lr, train_loss, held_loss, time.perf_counter() - start)):
            work.keep_best(network, number)
        machine.progress(leg.title, number - first + 1, leg.phase.epochs, course.news)
        machine.after_epoch(course)
        if course.is_over:
            break


def _epoch(network: FinetunedNetwork, leg: Phase, made: Optimizer, advance: Advance, number: int) -> float:
    """Run one epoch and return the weighted mean loss of its rows, each as it was before its step."""
    leg.seed(number)
    layers = network.layers.train()
    x = leg.train.batch(np.arange(len(leg.train)), number).float().to(leg.goal.targets.device)
    losses = []
    for step in leg.batches(number):
        n_rows = sum(map(len, step))
        for rows in step:
            at = torch.from_numpy(rows).to(x.device)
            loss = leg.goal.total(layers(x[at]), at)
            (loss / n_rows).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        made.step()
        made.zero_grad()
        advance.after_step()
    return float(torch.stack(losses).sum() / leg.goal.weights.sum())


@torch.inference_mode()
def _held_loss(network: FinetunedNetwork, leg: Phase, held: Tensor) -> float:
    return float(leg.held_goal.mean(network.layers.eval()(held), leg.held_goal.rows))
