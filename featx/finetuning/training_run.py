"""Training of one network, from a spec to its run folder."""

import math
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from featx.artifacts.header import NETWORK_PACKAGES, provenance
from featx.artifacts.learning_curves import write_curves
from featx.artifacts.rescoring import update_val_scores
from featx.embeddings.devices import find_device, full_fp32
from featx.files.atomic import file_lock, write_table
from featx.finetuning.checkpoints import NetworkOutputs, write_network
from featx.finetuning.distillation import distil, read_teacher
from featx.finetuning.finetuning_job import FinetuningJob
from featx.finetuning.grid_search import RunStopped
from featx.finetuning.history import TrainingHistory, find_warnings
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.phase import LAST_WEIGHTS, TrainingEnvironment, TrainingState, compute_outputs
from featx.finetuning.phase_building import build_phases
from featx.finetuning.speed import measure_images_per_s
from featx.finetuning.task import TrainingTask, build_task
from featx.finetuning.tensorboard_log import TensorBoardLog
from featx.finetuning.training import train
from featx.metrics.conformal import ConformalSpec
from featx.metrics.definitions import MAIN_SCORES
from featx.metrics.scores import scores, scores_of_outputs
from featx.progress import NOTE_STAGE
from featx.specs.base import fingerprint
from featx.specs.finetuning import FROM_SCRATCH, FinetuneSpec
from featx.specs.trained_network import NetworkSpec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import NetworkMetrics, Scores
from featx.study.run_warnings import VAL_USED, RunWarning
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Ids
from featx.tables.predictions import AnyPredictions, concatenate_predictions, predictions_of_part
from featx.tables.truth import AnyTruth, Truth

LOG_FOLDER = "tensorboard"
# Name in recipes of the rows whose measurement chooses the epoch.
PART_MONITORS: dict[str, Literal["holdout", "val", "none"]] = {"held": "holdout", "val": "val", "train": "none"}


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
    label, settings
        Label that is unique in the call, and the settings in which its runs differ, as JSON values by name.
    is_new
        False if an equal run existed already.
    n_epochs
        Number of epochs that were run.
    best_epoch
        Number of the epoch whose weights were kept; 0 for those before training.
    monitor, chosen_by
        Rows that chose this epoch (``holdout``, ``val``, or ``none``, where the last weights were kept), and ``loss``
        or the name of the score that chose it.
    metric
        Name of the score: ``accuracy``, or ``mae`` for numbers.
    train_score, held_score, val_score
        Score of the kept weights on the rows that were trained on, on those held out of train, and on val; nan where a
        part has no rows.
    train_loss, held_loss, val_loss
        Losses of the best epoch on these rows.
    epoch_s
        Mean time of an epoch in seconds.
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
    label: str
    settings: dict[str, Any]
    is_new: bool
    n_epochs: int
    best_epoch: int
    monitor: str
    chosen_by: str
    metric: str
    train_score: float
    held_score: float
    val_score: float
    train_loss: float
    held_loss: float
    val_loss: float
    epoch_s: float
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
    if job.tensorboard:
        _add_missing_log(run)
    return _result(run, job, is_new)


def _add_missing_log(run: RunFolder) -> None:
    """Write the log for TensorBoard of a run that was trained without one."""
    folder, metrics = run.path / LOG_FOLDER, run.metrics
    assert isinstance(metrics, NetworkMetrics)
    if not folder.exists():
        with TensorBoardLog(folder) as log:
            log.write(metrics.epochs)


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
    train_scores
        Scores on the rows that were trained on.
    images_per_s
        Images per second of the whole network; None if it could not be measured.
    """

    network: FinetunedNetwork
    spec: NetworkSpec
    history: TrainingHistory
    notes: list[str]
    predictions: NDArray[np.float32]
    train_scores: Scores
    images_per_s: float | None


def _train_and_write(job: FinetuningJob, state_folder: Path, folder: Path) -> None:
    """Train a network, predict val and test, and write the run into `folder`."""
    start = time.perf_counter()
    task = build_task(job.study, job.target, job.spec, job.group_columns)
    if job.teacher is not None and job.spec.distillation is not None:
        teacher = read_teacher(job.teacher, task.classes, job.inputs)
        task = distil(task, teacher, job.spec.distillation.temperature)
    # Predictions are those of the stored network, which computes in full fp32 everywhere.
    with torch.random.fork_rng(), full_fp32():
        torch.manual_seed(job.spec.seed)
        trained_network = _train_network(job, task, state_folder, folder)
    _write_run(job, task, trained_network, folder, start)
    # The state stays complete until the run is published, so that a kill before that loses nothing.
    shutil.copyfile(state_folder / LAST_WEIGHTS, folder / LAST_WEIGHTS)


def _train_network(job: FinetuningJob, task: TrainingTask, state_folder: Path, folder: Path) -> _TrainedNetwork:
    """Train a network in all its phases, and predict the val and test rows."""
    # Frozen layers with random weights are those of the embeddings, which have seed 0.
    seed = job.spec.seed if job.spec.strategy == FROM_SCRATCH else 0
    network = FinetunedNetwork(job.request, job.spec.layers, task.n_outputs, seed)
    phases, last_inputs, notes = build_phases(job, task, network)
    if job.request.weights == "none":
        notes.append("random weights: the network learns from these images alone")
    notes += [network.weights_note] if network.weights_note else []
    for note in notes:
        job.progress(NOTE_STAGE, 0, 1, note)
    first_unit = min(network.trunk.first_unit(phase.trainable) for phase in phases)
    device = find_device(job.engine.device)
    with TensorBoardLog(folder / LOG_FOLDER if job.tensorboard else None) as log:

        def after_epoch(history: TrainingHistory) -> None:
            log.write(history.to_metrics())
            job.after_epoch(history)

        environment = TrainingEnvironment(device, job.engine.gpus, job.progress, after_epoch)
        history, training_notes = train(network, phases, TrainingState(state_folder, first_unit), environment)
        # Several devices report their epochs at the end of a phase.
        log.write(history.to_metrics())
    network_spec = task.network_spec(job.request, network.preprocessing)
    eval_inputs = last_inputs.take(np.arange(job.inputs.n_train, len(job.inputs.ids)))
    predictions, train_outputs = (
        NetworkOutputs(network_spec)(compute_outputs(network, inputs, job.spec.batch_size, device)).numpy()
        for inputs in (eval_inputs, phases[-1].train.inputs)
    )
    return _TrainedNetwork(
        network,
        network_spec,
        history,
        [*notes, *training_notes],
        predictions,
        scores_of_outputs(phases[-1].train.targets, train_outputs),
        _images_per_s(job, network, device),
    )


def _images_per_s(job: FinetuningJob, network: FinetunedNetwork, device: torch.device) -> float | None:
    """Return the images per second of a network; weights do not change it, so runs with equal layers share it."""
    side = network.preprocessing.size_px
    key = fingerprint([job.request.backbone, side, job.spec.layers.identity(), str(device)])
    if key not in job.inputs.rates:
        job.inputs.rates[key] = measure_images_per_s(network, device)
    return job.inputs.rates[key]


def _write_run(
    job: FinetuningJob, task: TrainingTask, trained_network: _TrainedNetwork, folder: Path, start: float
) -> None:
    """Write log, scores, predictions, figure and network of a run that began at `start`."""
    study, history = job.study, trained_network.history
    train_ids, eval_ids = np.split(job.inputs.ids, [job.inputs.n_train])
    predictions = _predictions(job, eval_ids, trained_network.predictions, task.decision)
    val = predictions.of("val")
    labels = study.labels(job.target)
    val_labels = labels.take(val.ids)
    warnings = find_warnings(history, task.classes, val.values, _is_varied(val_labels), task.decision)
    pd.DataFrame([epoch.to_row() for epoch in history.epochs]).to_csv(folder / "log.csv", index=False)
    metrics = NetworkMetrics(
        finished=datetime.now(UTC).isoformat(),
        run_warnings=(*warnings, *_warn_val_used(job.spec)),
        oof=None,
        val=scores(labels, val),
        val_state=study.val_state(job.target),
        epochs=history.to_metrics(),
        best_epoch=history.best,
        monitor=PART_MONITORS[history.choice.part],
        chosen_by=history.choice.score or "loss",
        score=MAIN_SCORES[task.targets.kind],
        train=trained_network.train_scores,
        epoch_s=_mean_epoch_s(history),
        notes=[*trained_network.notes, *_notes_about_val(val_labels)],
        train_s=round(time.perf_counter() - start, 2),
        images_per_s=trained_network.images_per_s,
    )
    title = f"{job.spec.backbone} {job.spec.strategy}"
    write_curves(folder / "curves.png", title, metrics)
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
    write_network(folder, trained_network.network.cpu(), trained_network.spec, header)


def _warn_val_used(spec: FinetuneSpec) -> list[RunWarning]:
    """Warn if val chose the weights, so that scores on val are no longer those of untouched rows."""
    if spec.monitor != "val":
        return []
    text = (
        "val stopped the training and chose the epoch, so scores on val are optimistic, and sets of predictions may "
        "cover less than they state; compare the runs on test, or set monitor = 'holdout'"
    )
    return [RunWarning(VAL_USED, text)]


def _mean_epoch_s(history: TrainingHistory) -> float | None:
    """Return the mean time of an epoch in seconds; None without an epoch."""
    seconds = [epoch.seconds for epoch in history.epochs[1:]]
    return round(sum(seconds) / len(seconds), 3) if seconds else None


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
        **vars(job.description),
        is_new=True,
        n_epochs=epoch,
        best_epoch=epoch,
        monitor=job.spec.monitor,
        chosen_by=job.spec.choose_by,
        metric="",
        train_score=math.nan,
        held_score=math.nan,
        val_score=math.nan,
        train_loss=math.nan,
        held_loss=math.nan,
        val_loss=math.nan,
        epoch_s=math.nan,
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
    best = metrics.epochs[metrics.best_epoch]
    losses = {"train_loss": best.train_loss, "held_loss": best.held_loss, "val_loss": best.val_loss}
    measured_values = {"held_score": best.held_scores.get(metrics.score), "epoch_s": metrics.epoch_s, **losses}
    return run.make_result(
        FinetuningResult,
        **vars(job.description),
        is_new=is_new,
        n_epochs=len(metrics.epochs) - 1,
        metric=metrics.score,
        train_score=metrics.train[metrics.score],
        val_score=metrics.val[metrics.score],
        **{name: math.nan if value is None else value for name, value in measured_values.items()},
    )
