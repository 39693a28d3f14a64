"""Training of one network, from a spec to its run folder."""

import math
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from featx.artifacts.header import NETWORK_PACKAGES, provenance
from featx.artifacts.learning_curves import write_curves
from featx.artifacts.rescoring import update_val_scores
from featx.embeddings.devices import find_device
from featx.files.atomic import file_lock, write_table
from featx.finetuning.checkpoints import NetworkOutputs, write_network
from featx.finetuning.finetuning_job import FinetuningJob
from featx.finetuning.grid_search import RunStopped
from featx.finetuning.history import TrainingHistory, find_warnings
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.phase import LAST_WEIGHTS, TrainingEnvironment, TrainingState, compute_outputs
from featx.finetuning.phase_building import build_phases
from featx.finetuning.speed import measure_images_per_s
from featx.finetuning.task import TrainingTask, build_task
from featx.finetuning.training import train
from featx.metrics.conformal import ConformalSpec
from featx.metrics.scores import scores
from featx.specs.finetuning import NetworkSpec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import NetworkMetrics
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Ids
from featx.tables.predictions import AnyPredictions, concatenate_predictions, predictions_of_part
from featx.tables.truth import AnyTruth, Truth


@dataclass(frozen=True)
class FinetuningResult:
    """The result of one run.

    Attributes
    ----------
    run
        Name of the run.
    target
        Name of the target.
    path
        Path of the run folder.
    settings
        The keys in which the runs of the recipe differ, and their values.
    is_new
        False if an equal run existed already.
    n_epochs
        Number of epochs that were run.
    best_epoch
        Number of the epoch whose weights were kept; 0 for those before training.
    held_loss
        Loss of the best epoch on the rows held out of train.
    metric
        Name of the score: ``accuracy``, or ``mae`` for numbers.
    val_score
        Score on val.
    flags
        Warnings about the training, one or two words each.
    warnings
        The same warnings as sentences.
    notes
        Decisions that were made during the run.
    train_s
        Time of the whole run in seconds.

    Notes
    -----
    A run that a search stopped has no folder: its path is empty, its scores are nan.
    """

    run: str
    target: str
    path: str
    settings: dict[str, str]
    is_new: bool
    n_epochs: int
    best_epoch: int
    held_loss: float
    metric: str
    val_score: float
    flags: list[str]
    warnings: list[str]
    notes: list[str]
    train_s: float


def run_job(job: FinetuningJob) -> FinetuningResult:
    """Return the result of a job; its network is trained unless the run exists already."""
    run_spec = job.run_spec()
    # An interrupted training resumes from this folder.
    state_folder = job.study.folder / f".finetune-{run_spec.fingerprint()}"
    stem = job.stem
    # A second process waits for the first, and then finds its run.
    with file_lock(state_folder.with_suffix(".lock")):
        if job.force:
            shutil.rmtree(state_folder, ignore_errors=True)
        run = None if job.force else job.study.find_run(stem, run_spec)
        if is_new := run is None:
            try:
                with job.study.new_run(stem, run_spec) as folder:
                    _train_and_write(job, state_folder, folder)
            except RunStopped:
                shutil.rmtree(state_folder, ignore_errors=True)
                raise
        shutil.rmtree(state_folder, ignore_errors=True)
    run = RunFolder(job.study.run_path(stem, run_spec)) if run is None else update_val_scores(job.study, run)
    return _result(run, job, is_new)


@dataclass(frozen=True)
class _TrainedNetwork:
    """A trained network with all that is written about its training.

    Attributes
    ----------
    network
        The network with its best weights.
    spec
        The spec from which it can be built again.
    history
        The history of its training.
    notes
        Notes for the user.
    predictions
        (n, k) predictions for the val and test rows.
    images_per_s
        Images per second of the whole network; None if it could not be measured.
    """

    network: FinetunedNetwork
    spec: NetworkSpec
    history: TrainingHistory
    notes: list[str]
    predictions: NDArray[np.float32]
    images_per_s: float | None


def _train_and_write(job: FinetuningJob, state_folder: Path, folder: Path) -> None:
    """Train a network, predict val and test, and write the run into `folder`."""
    start = time.perf_counter()
    task = build_task(job.study, job.target, job.spec, job.group_columns)
    with torch.random.fork_rng():
        torch.manual_seed(job.spec.seed)
        trained = _train_network(job, task, state_folder, folder)
    _write_run(job, task, trained, folder, start)
    (state_folder / LAST_WEIGHTS).rename(folder / LAST_WEIGHTS)


def _train_network(job: FinetuningJob, task: TrainingTask, state_folder: Path, folder: Path) -> _TrainedNetwork:
    """Train a network in all its phases, and predict the val and test rows."""
    network = FinetunedNetwork(job.request, job.spec.layers, task.n_outputs)
    phases, last_inputs, notes = build_phases(job, task, network)
    if job.request.weights == "none":
        notes.append("random weights: the network learns from these images alone")
    notes += [network.weights_note] if network.weights_note else []
    for note in notes:
        job.progress("note", 0, 1, note)
    first_unit = min(network.trunk.first_unit(phase.trainable) for phase in phases)
    logs = folder / "tensorboard" if job.tensorboard else None
    device = find_device(job.engine.device)
    environment = TrainingEnvironment(device, job.engine.gpus, job.progress, logs, job.after_epoch)
    history, training_notes = train(network, phases, TrainingState(state_folder, first_unit), environment)
    network_spec = task.network_spec(job.request, network.preprocessing)
    eval_inputs = last_inputs.take(np.arange(job.inputs.n_train, len(job.inputs.ids)))
    outputs = compute_outputs(network, eval_inputs, job.spec.batch_size, device)
    predictions = NetworkOutputs(network_spec)(outputs).numpy()
    images_per_s = measure_images_per_s(network, device)
    return _TrainedNetwork(network, network_spec, history, [*notes, *training_notes], predictions, images_per_s)


def _write_run(job: FinetuningJob, task: TrainingTask, trained: _TrainedNetwork, folder: Path, start: float) -> None:
    """Write log, scores, predictions, figure and network of a run that began at `start`."""
    study, history = job.study, trained.history
    train_ids, eval_ids = np.split(job.inputs.ids, [job.inputs.n_train])
    predictions = _predictions(job, eval_ids, trained.predictions, task.decision)
    val = predictions.of("val")
    labels = study.labels(job.target)
    val_labels = labels.take(val.ids)
    warnings = find_warnings(history, task.classes, val.values, _is_varied(val_labels), task.decision)
    pd.DataFrame([vars(epoch) for epoch in history.epochs]).to_csv(folder / "log.csv", index=False)
    metrics = NetworkMetrics(
        finished=datetime.now(UTC).isoformat(),
        run_warnings=tuple(warnings),
        oof=None,
        val=scores(labels, val),
        val_state=study.val_state(job.target),
        epochs=tuple(epoch.to_metrics() for epoch in history.epochs),
        best_epoch=history.best,
        notes=[*trained.notes, *_notes_about_val(val_labels)],
        train_s=round(time.perf_counter() - start, 2),
        images_per_s=trained.images_per_s,
    )
    title = f"{job.spec.backbone} {job.spec.strategy}"
    write_curves(folder / "curves.png", title, metrics.epochs, history.best)
    metrics.write(folder)
    write_table(folder / "predictions.parquet", predictions.to_frame())
    header = provenance(train_ids, NETWORK_PACKAGES) | {
        "target": job.target,
        "classes": task.classes,
        "numbers": task.numbers,
        "metrics": metrics.scores_by_part,
        "decision": task.decision,
        "conformal": ConformalSpec.of(labels, predictions, study.groups),
    }
    write_network(folder, trained.network.cpu(), trained.spec, header)


def _predictions(
    job: FinetuningJob, ids: Ids, predictions: NDArray[np.float32], decision: DecisionRule | None
) -> AnyPredictions:
    """Return the table of predictions for val and test."""
    part = job.study.split.reindex(pd.Index(ids)).to_numpy(object)
    labels = job.study.labels(job.target)
    return concatenate_predictions(
        [
            predictions_of_part(labels, name, ids[part == name], predictions[part == name], decision=decision)
            for name in ("val", "test")
            if (part == name).any()
        ]
    )


def _is_varied(labels: AnyTruth) -> bool:
    """Return whether the labels are not all the same."""
    values = labels.codes if isinstance(labels, Truth) else labels.values
    return len(np.unique(values)) > 1


def _notes_about_val(labels: AnyTruth) -> list[str]:
    """Return a note if all val rows have the same label."""
    if _is_varied(labels):
        return []
    return ["all val rows have the same label: scores on them say nothing; give val more rows, or stratify the split"]


def stopped_result(job: FinetuningJob, epoch: int) -> FinetuningResult:
    """Return the result of a run that a search stopped after an epoch."""
    return FinetuningResult(
        run="(stopped)",
        target=job.target,
        path="",
        settings=job.settings,
        is_new=True,
        n_epochs=epoch,
        best_epoch=epoch,
        held_loss=math.nan,
        metric="",
        val_score=math.nan,
        flags=["fell behind"],
        warnings=[],
        notes=[],
        train_s=0.0,
    )


def _result(run: RunFolder, job: FinetuningJob, is_new: bool) -> FinetuningResult:
    """Return the result that a run folder holds."""
    metrics = run.metrics
    assert isinstance(metrics, NetworkMetrics)
    assert metrics.val is not None
    metric = "mae" if "mae" in metrics.val else "accuracy"
    held_loss = metrics.epochs[metrics.best_epoch].held_loss
    return run.make_result(
        FinetuningResult,
        settings=job.settings,
        is_new=is_new,
        n_epochs=len(metrics.epochs) - 1,
        held_loss=math.nan if held_loss is None else held_loss,
        metric=metric,
        val_score=metrics.val[metric],
    )
