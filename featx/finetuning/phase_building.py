"""Building of the phases of a run, with their inputs and objectives."""

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.finetuning.checkpoints import NetworkOutputs
from featx.finetuning.finetuning_job import FinetuningJob
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.objective import Objective
from featx.finetuning.phase import Phase
from featx.finetuning.phase_rows import OutputMeasurer, PhaseRows
from featx.finetuning.strategies import trainable_names
from featx.finetuning.task import TrainingTask
from featx.finetuning.training_rows import Inputs
from featx.metrics.definitions import MAIN_SCORES
from featx.metrics.scores import is_score_defined
from featx.specs.finetuning import FinetuneSpec
from featx.study.unit_cuts import held_out


def build_phases(
    job: FinetuningJob, task: TrainingTask, network: FinetunedNetwork
) -> tuple[list[Phase], Inputs, list[str]]:
    """Return the phases, the inputs of all images for the last one, and notes for the user.

    The output of a unit that an earlier phase has trained must not be cached, so boundaries never rise.
    """
    train_rows, held_rows = _split_train_rows(job, task)
    objective, held_objective = task.objective.take(train_rows), task.objective.take(held_rows)
    _check_has_weight(objective, "train rows")
    _check_has_weight(held_objective, "rows held out of train")
    objective = objective.with_mean_weight_one()
    val_rows = job.inputs.n_train + np.arange(len(task.val_targets))
    notes = [*task.notes, *_val_notes(job.spec, task)]
    _check_score_is_defined(job, task, held_rows)
    phases: list[Phase] = []
    changed_units: frozenset[str] = frozenset()
    for number, phase_spec in enumerate(job.spec.training_phases, start=1):
        trainable = trainable_names(phase_spec.trainable, network.trunk)
        changed_units |= trainable
        inputs, note = job.inputs.inputs(network, job.spec, changed_units, phase_spec.epochs)
        if note and note not in notes:
            notes.append(note)
        phases.append(
            Phase(
                number,
                job.spec,
                phase_spec,
                trainable,
                PhaseRows(inputs.take(train_rows), objective, task.targets.take(train_rows)),
                PhaseRows(inputs.take(held_rows), held_objective, task.targets.take(held_rows)),
                PhaseRows(inputs.take(val_rows), task.val_objective, task.val_targets),
                _build_measurer(job, task, network),
                runs_new_layers_only=not changed_units and inputs.unit is not None,
            )
        )
    return phases, inputs, [*notes, *_precision_notes(phases)]


def _precision_notes(phases: list[Phase]) -> list[str]:
    """Return a note if a reduced precision has no effect on some phases."""
    if phases[0].spec.precision == "fp32" or not any(phase.runs_new_layers_only for phase in phases):
        return []
    return [f"new layers on cached vectors are trained in fp32, not in {phases[0].spec.precision}"]


def _build_measurer(job: FinetuningJob, task: TrainingTask, network: FinetunedNetwork) -> OutputMeasurer:
    """Return what measures the outputs: by accuracy or MAE, the metric of the target, and the MAE of each column."""
    metric = job.study.metric(job.target)
    columns = [f"mae.{name}" for name in task.numbers] if len(task.numbers) > 1 else []
    names = tuple(dict.fromkeys([MAIN_SCORES[task.targets.kind], metric, *columns]))
    return OutputMeasurer(NetworkOutputs(task.network_spec(job.request, network.preprocessing)), names, metric)


def _val_notes(spec: FinetuneSpec, task: TrainingTask) -> list[str]:
    """Return a note if the loss of the val rows is not defined.

    Raises
    ------
    DataError
        If this loss, or a val part without weight, is monitored.
    """
    if spec.monitor == "val":
        _check_has_weight(task.val_objective, "val rows")
        if task.val_problem:
            raise DataError(f"monitor = 'val': val rows: {task.val_problem}, or monitor = 'holdout'")
    return [f"the loss of the val rows is not defined: {task.val_problem}"] if task.val_problem else []


def _check_has_weight(objective: Objective, rows_name: str) -> None:
    """Check that at least one row has a weight above 0."""
    if len(objective.weights) and not objective.weights.any():
        raise DataError(
            f"all {len(objective.weights)} {rows_name} weigh 0; check 'weight' and 'confidence' of the target, and "
            "'class_weight'"
        )


def _check_score_is_defined(job: FinetuningJob, task: TrainingTask, held_rows: NDArray[np.intp]) -> None:
    """Check that the score which chooses the epoch is defined for the monitored rows, whatever is predicted."""
    monitors_val = job.spec.monitor == "val"
    targets = task.val_targets if monitors_val else task.targets.take(held_rows)
    if job.spec.choose_by != "score" or not len(targets):
        return
    metric = job.study.metric(job.target)
    if not is_score_defined(metric, targets):
        rows_name, next_step = (
            ("val rows", "monitor = 'holdout'") if monitors_val else ("rows held out of train", "a larger 'holdout'")
        )
        raise DataError(
            f"choose_by = 'score': {metric!r} of {job.target!r} is not defined on the {len(targets)} {rows_name}, "
            f"whose true values differ too little; set choose_by = 'loss', or {next_step}"
        )


def _split_train_rows(job: FinetuningJob, task: TrainingTask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of the train rows to train on, and of those held out for early stopping.

    The held-out rows keep the shares of the classes, and groups stay whole; a class in a single group is trained on.
    """
    n_rows = job.inputs.n_train
    rows = np.arange(n_rows)
    if not job.spec.holdout_share:
        return rows, rows[:0]
    n_held = max(round(job.spec.holdout_share * n_rows), len(np.unique(task.strata)), 1)
    row_ids = rows.astype(str).astype(object)
    held_ids = held_out(row_ids, n_held, task.strata, task.groups, job.spec.seed, "finetune.holdout")
    is_held = np.isin(row_ids, held_ids)
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)
