"""All phases of one training, in whichever loop fits, to the best weights."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from featx.embeddings.engine import is_out_of_memory
from featx.errors import DataError, DeviceError
from featx.finetuning.history import Epoch, TrainingHistory
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.phase import Machine, Phase, TrainingState, mean_loss
from featx.finetuning.vector_loop import train_on_vectors


def train(
    network: FinetunedNetwork, legs: Sequence[Phase], work: TrainingState, machine: Machine
) -> tuple[TrainingHistory, list[str]]:
    """Train phase by phase, each from the best weights before it; `network` ends with the best of all.

    Returns
    -------
    Course, list of str
        how it went, and what should be known of it.
    """
    network.to(machine.device).to(memory_format=torch.channels_last)  # convolutions learn up to twice as fast so
    notes: list[str] = []
    done, course = work.finished()
    if course is None:
        course = _begun(network, legs[0], work, machine)
    else:
        work.go_back(network, course, done + 1)
    for leg in legs[done:]:
        network.trunk.let_learn(leg.learns, leg.spec.keeps_statistics)
        course.begin_phase()
        _run(network, leg, course, work, machine, notes)
        work.keep_last(network)
        work.restore_best(network, course)
        work.finish_phase(leg.number, course)
    return course, notes


def _begun(network: FinetunedNetwork, leg: Phase, work: TrainingState, machine: Machine) -> TrainingHistory:
    """Note how the network is before training: what a training that goes wrong falls back on."""
    course = TrainingHistory(leg.spec.patience, keeps_last=not len(leg.held))
    loss = mean_loss(network, leg, machine.device)
    course.take(Epoch(0, 0, 0.0, float("nan"), loss, 0.0))
    work.keep_best(network, 0)
    work.finish_phase(0, course)
    return course


def _run(  # noqa: PLR0913 (all that a phase is made of)
    network: FinetunedNetwork,
    leg: Phase,
    course: TrainingHistory,
    work: TrainingState,
    machine: Machine,
    notes: list[str],
) -> None:
    """Run a phase; where memory does not do for its batches, with smaller ones that add up to the same steps."""
    begun = course.to_dict()
    while True:
        try:
            if leg.of_vectors:
                train_on_vectors(network, leg, course, work, machine)
            else:
                from featx.finetuning.lightning_loop import train_network  # Lightning takes seconds to import

                train_network(network, leg, course, work, machine)
        except Exception as error:
            if "more than 1 value per channel" in str(error):
                raise DataError(
                    "BatchNorm cannot learn its statistics from a batch of one image; say a larger batch_size, or "
                    "batch_norm = 'keep'"
                ) from error
            if not is_out_of_memory(error):
                raise
            leg = _halved(leg, error)
            note = f"out of memory: batches of {leg.spec.batch_size}, {leg.spec.accumulate} to a step, instead"
            notes.append(note)
            machine.progress(leg.title, 0, 1, note)
            vars(course).update(vars(TrainingHistory.from_dict(begun)))
            work.go_back(network, course, leg.number)
            torch.cuda.empty_cache()
        else:
            return


def _halved(leg: Phase, error: Exception) -> Phase:
    spec = leg.spec
    if spec.batch_size < 2:
        raise DeviceError(
            "the network ran out of memory with one image; say a smaller size_px, or learn fewer blocks"
        ) from error
    half = {"batch_size": spec.batch_size // 2, "accumulate": spec.accumulate * 2}
    return replace(leg, spec=spec.model_copy(update=half))
