"""Training of all phases in order, by the loop that fits each, up to the best weights."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from featx.embeddings.engine import is_out_of_memory
from featx.errors import DataError, DeviceError
from featx.finetuning.epochs import Epoch, PartMeasurement
from featx.finetuning.history import TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.phase import Phase, TrainingEnvironment, TrainingState, measure_parts
from featx.finetuning.vector_loop import train_on_vectors


def train(
    network: FinetunedNetwork, phases: Sequence[Phase], state: TrainingState, environment: TrainingEnvironment
) -> tuple[TrainingHistory, list[str]]:
    """Train phase by phase, each from the best weights before it; `network` ends with the best of all.

    Returns
    -------
    TrainingHistory, list of str
        The history of the training, and notes for the user.
    """
    # With channels last, the training of convolutions is up to twice as fast.
    network.to(environment.device).to(memory_format=torch.channels_last)
    notes: list[str] = []
    n_finished, history = state.load_finished()
    if history is None:
        history = _start_history(network, phases[0], state, environment)
    else:
        state.restore_phase_start(network, history, n_finished + 1)
    for phase in phases[n_finished:]:
        network.trunk.set_trainable(phase.trainable, phase.spec.keeps_statistics)
        history.begin_phase()
        notes += _run_phase(network, phase, history, state, environment)
        state.save_last(network)
        state.restore_best(network, history)
        state.finish_phase(phase.number, history)
    return history, notes


def _start_history(
    network: FinetunedNetwork, phase: Phase, state: TrainingState, environment: TrainingEnvironment
) -> TrainingHistory:
    """Return a history with the network before training, whose weights are kept if training goes wrong."""
    history = TrainingHistory(phase.spec.patience, phase.choice)
    parts = {"held": phase.held, "val": phase.val}
    if phase.choice.keeps_last:
        parts["train"] = phase.train
    measurements = measure_parts(network, parts, phase.measurer, phase.batch_size, environment.device)
    train = measurements.get("train", PartMeasurement())
    history.add_epoch(Epoch(0, 0, 0.0, train, 0.0, held=measurements.get("held"), val=measurements.get("val")))
    state.save_best(network, 0)
    state.finish_phase(0, history)
    return history


def _run_phase(
    network: FinetunedNetwork,
    phase: Phase,
    history: TrainingHistory,
    state: TrainingState,
    environment: TrainingEnvironment,
) -> list[str]:
    """Run a phase and return notes for the user; out of memory, repeat it with smaller batches and equal steps."""
    notes: list[str] = []
    history_at_start = history.to_dict()
    while True:
        try:
            if phase.runs_new_layers_only:
                train_on_vectors(network, phase, history, state, environment)
            else:
                # Lightning takes seconds to import.
                from featx.finetuning.lightning_loop import train_network

                train_network(network, phase, history, state, environment)
        except Exception as error:
            if "more than 1 value per channel" in str(error):
                raise DataError(
                    "BatchNorm cannot learn its statistics from a batch of one image; set a larger batch_size, or "
                    "batch_norm = 'keep'"
                ) from error
            if not is_out_of_memory(error):
                raise
            phase = _halve_batches(phase, error)
            note = f"out of memory: batches of {phase.batch_size}, {phase.n_accumulated} per step, instead"
            notes.append(note)
            environment.progress(phase.title, 0, 1, note)
            history.reset_to(history_at_start)
            state.restore_phase_start(network, history, phase.number)
            torch.cuda.empty_cache()
        else:
            return notes


def _halve_batches(phase: Phase, error: Exception) -> Phase:
    """Return the phase with batches of half the size, twice as many of them per step; the steps stay the same."""
    if phase.batch_size < 2:
        raise DeviceError(
            "the network ran out of memory with one image; set a smaller size_px, or train fewer blocks"
        ) from error
    return replace(phase, n_divisions=2 * phase.n_divisions)
