"""One fine-tuned network, from a spec to its run folder."""

import math
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from featx.artifacts.header import RECORDED_OF_NETWORKS, provenance
from featx.artifacts.learning_curves import write_curves
from featx.artifacts.rescoring import VAL_STATE, rescored
from featx.embeddings.devices import device_named
from featx.errors import DataError
from featx.files.atomic import locked, sha256_of, write_table
from featx.files.seals import write_sealed
from featx.finetuning.checkpoints import NetworkOutputs, write_network
from featx.finetuning.grid_search import AfterEpoch, Stopped
from featx.finetuning.history import findings
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.phase import LAST, Machine, Phase, TrainingState, nothing, outputs
from featx.finetuning.phase_inputs import PhaseInputs
from featx.finetuning.speed import images_per_s
from featx.finetuning.strategies import learning
from featx.finetuning.task import TrainingTask, task_for
from featx.finetuning.training import train
from featx.finetuning.training_rows import Inputs
from featx.metrics.conformal import ConformalSpec
from featx.metrics.scores import scores
from featx.networks.backbones import backbone
from featx.networks.features import weights_path
from featx.progress import ProgressCallback
from featx.specs.base import Spec, fingerprint
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec, LossSpec, ScheduleSpec
from featx.study.run_folder import RULES, RunFolder
from featx.study.splits import held_out
from featx.study.study import Study
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Ids
from featx.tables.predictions import Answered, Estimates, answers_of_part, concatenated
from featx.tables.truth import Known, Truth


@dataclass(frozen=True)
class FinetuningResult:
    """One network's run.

    Attributes
    ----------
    settings
        What sets it apart in its recipe: the keys that differ between runs.
    made
        False where an equal run was there already.
    n_epochs, best_epoch
        That were run, and whose weights were kept; 0 for those before training.
    held_loss
        Of the best epoch, on the rows held out of train.
    metric, val_score
        On val: ``accuracy``, or ``mae`` of numbers.
    marks
        What went wrong, in a word or two each; `findings` say it in a line each.
    notes
        What was decided on the way.
    train_s
        Seconds of the whole run.

    Notes
    -----
    One that a search stopped has no folder: its path is empty, its scores are nan.
    """

    run: str
    target: str
    path: str
    settings: dict[str, str]
    made: bool
    n_epochs: int
    best_epoch: int
    held_loss: float
    metric: str
    val_score: float
    marks: list[str]
    findings: list[str]
    notes: list[str]
    train_s: float


@dataclass(frozen=True)
class FinetuningJob:
    """Everything that one run is made from.

    Attributes
    ----------
    differing
        The keys that set it apart from the others.
    """

    study: Study
    target: str
    spec: FinetuneSpec
    engine: EngineSpec
    supply: PhaseInputs
    differing: tuple[str, ...]
    tensorboard: bool
    force: bool
    progress: ProgressCallback
    after_epoch: AfterEpoch = nothing

    def asked(self) -> dict[str, Any]:
        """Return what makes this run what it is; its fingerprint names the folder."""
        request = self.study.recipe.completed(self.spec.request)
        file = weights_path(backbone(request.backbone), request.weights)
        return self.study.training_state(self.target, self.group_columns) | {
            "kind": "network",
            "rules": RULES["network"],
            "finetune": self.spec.identity(),
            "weights_sha256": "none" if file is None else sha256_of(file),
            "decoding": request.decoding.identity(),
        }

    @property
    def settings(self) -> dict[str, str]:
        """What sets it apart, for a table."""
        return {name: _text(getattr(self.spec, name)) for name in self.differing}

    @cached_property
    def group_columns(self) -> list[str]:
        """The columns of the groups that weigh the same."""
        return self.study.recipe.group_columns(self.spec.group_weight)


def run_job(job: FinetuningJob) -> FinetuningResult:
    """Return the run that answers a job, made where it is not there yet."""
    asked = job.asked()
    work = job.study.folder / f".finetune-{fingerprint(asked)}"  # an interrupted training goes on from there
    stem = f"{job.spec.backbone.rpartition('/')[2]}-{job.spec.strategy}-{job.target}"
    with locked(work.with_suffix(".lock")):  # who comes second finds the run made
        if job.force:
            shutil.rmtree(work, ignore_errors=True)
        try:
            run, made = job.study.run_once(stem, asked, job.force, partial(_make, job, work))
        except Stopped:
            shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work, ignore_errors=True)
    return _as_finetuned(run if made else rescored(job.study, run), job, made)


def _make(job: FinetuningJob, work: Path, folder: Path) -> None:
    """Train, predict, and write the run into `folder`."""
    start = time.perf_counter()
    spec, study, ids = job.spec, job.study, job.supply.ids
    task = task_for(study, job.target, spec, job.group_columns)
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        network = FinetunedNetwork(study.recipe.completed(spec.request), spec.layers, task.n_outputs)
        legs, every, said = _legs(job, task, network)
        if study.recipe.completed(spec.request).weights == "none":
            said.append("random weights: all is learnt from these images alone")
        for note in said:
            job.progress("note", 0, 1, note)
        lowest = min(network.trunk.first_unit(leg.learns) for leg in legs)
        logs = folder / "tensorboard" if job.tensorboard else None
        machine = Machine(device_named(job.engine.device), job.engine.gpus, job.progress, logs, job.after_epoch)
        workbook = TrainingState(work, lowest)
        course, notes = train(network, legs, workbook, machine)
        made = task.network_spec(study.recipe.completed(spec.request), network.preprocessing)
        others = every.take(np.arange(job.supply.n_train, len(ids)))
        answers = NetworkOutputs(made)(outputs(network, others, spec.batch_size, machine.device)).numpy()
        pace = images_per_s(network, machine.device)
    predictions = _predictions(job, ids[job.supply.n_train :], answers, task.decision)
    val = predictions.of("val")
    labels = study.labels(job.target)
    shown = val.values if isinstance(val, Estimates) else val.proba
    odd = findings(course, task.classes, shown, varied=_is_varied(labels.take(val.ids)), decision=task.decision)
    log = pd.DataFrame([vars(epoch) for epoch in course.epochs])
    log.to_csv(folder / "log.csv", index=False)
    metrics: dict[str, Any] = {
        "val": scores(labels, val),
        "epochs": [epoch.to_json() for epoch in course.epochs],
        "best_epoch": course.best,
        "findings": [vars(one) for one in odd],
        "notes": [*said, *notes, *_about_val(labels.take(val.ids))],
        "train_s": round(time.perf_counter() - start, 2),
        VAL_STATE: study.choosing_state(job.target),
        "images_per_s": pace,
        "finished": datetime.now(UTC).isoformat(),
    }
    write_curves(folder / "curves.png", f"{spec.backbone} {spec.strategy}", metrics["epochs"], course.best)
    write_sealed(folder / "metrics.json", metrics)
    write_table(folder / "predictions.parquet", predictions.to_frame())
    header = provenance(ids[: job.supply.n_train], RECORDED_OF_NETWORKS) | {
        "target": job.target,
        "classes": task.classes,
        "numbers": task.numbers,
        "metrics": {"val": metrics["val"]},
        "decision": task.decision,
        "conformal": ConformalSpec.of(labels, predictions, study.groups),
    }
    write_network(folder, network.cpu(), made, header)
    (work / LAST).rename(folder / LAST)


def _legs(job: FinetuningJob, task: TrainingTask, network: FinetunedNetwork) -> tuple[list[Phase], Inputs, list[str]]:
    """Make each phase ready; return them, the last one's input of all images, and what should be known.

    What an earlier phase has changed is no longer what a boundary above it would hold, so boundaries never rise.
    """
    spec = job.spec
    train_at, held_at = _carved(job, task)
    goals = task.goal.take(train_at), task.goal.take(held_at)
    for goal, name in zip(goals, ("train rows", "rows held out of train"), strict=True):
        if len(goal.weights) and not goal.weights.any():
            raise DataError(
                f"all {len(goal.weights)} {name} weigh 0; check 'weight' and 'confidence' of the target, and "
                "'class_weight'"
            )
    goals = goals[0].with_mean_one(), goals[1]
    legs: list[Phase] = []
    notes: list[str] = []
    changed: frozenset[str] = frozenset()
    for number, phase in enumerate(spec.course, start=1):
        learns = learning(phase.learns, network.trunk)
        changed |= learns
        every, note = job.supply.inputs(network, spec, changed, phase.epochs)
        if note and note not in notes:
            notes.append(note)
        parts = every.take(train_at), every.take(held_at)
        of_vectors = not changed and every.unit is not None
        legs.append(Phase(number, spec, phase, learns, *parts, *goals, of_vectors=of_vectors))
    return legs, every, notes


def _carved(job: FinetuningJob, task: TrainingTask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of the train rows to learn from, and of those held out to say when to stop.

    Classes are held out in their shares and units whole; a class that one unit alone has is learnt from.
    """
    n = job.supply.n_train
    every = np.arange(n)
    if not job.spec.holdout:
        return every, every[:0]
    n_held = max(round(job.spec.holdout * n), len(np.unique(task.strata)), 1)
    ids = every.astype(str).astype(object)
    held = held_out(ids, n_held, task.strata, task.groups, job.spec.seed, "finetune.holdout")
    at = np.isin(ids, held)
    return np.flatnonzero(~at), np.flatnonzero(at)


def _predictions(job: FinetuningJob, ids: Ids, answers: NDArray[np.float32], decision: DecisionRule | None) -> Answered:
    part = job.study.split.reindex(pd.Index(ids)).to_numpy(object)
    labels = job.study.labels(job.target)
    named = [name for name in ("val", "test") if (part == name).any()]
    return concatenated(
        [answers_of_part(labels, name, ids[part == name], answers[part == name], decision=decision) for name in named]
    )


def _is_varied(labels: Known) -> bool:
    values = labels.codes if isinstance(labels, Truth) else labels.values
    return len(np.unique(values)) > 1


def _about_val(labels: Known) -> list[str]:
    if _is_varied(labels):
        return []
    return ["all val rows have the same label: scores on them tell nothing; give val more rows, or stratify the split"]


def stopped_run(job: FinetuningJob, epoch: int) -> FinetuningResult:
    """Return what there is to say of a run that a search stopped."""
    return FinetuningResult(
        run="(stopped)",
        target=job.target,
        path="",
        settings=job.settings,
        made=True,
        n_epochs=epoch,
        best_epoch=epoch,
        held_loss=math.nan,
        metric="",
        val_score=math.nan,
        marks=["fell behind"],
        findings=[],
        notes=[],
        train_s=0.0,
    )


def _as_finetuned(run: RunFolder, job: FinetuningJob, made: bool) -> FinetuningResult:
    metrics = run.metrics
    val_scores = scores(job.study.labels(job.target), run.answers.of("val"))  # labels may have changed since
    metric = "mae" if "mae" in val_scores else "accuracy"
    best = metrics["epochs"][metrics["best_epoch"]]
    return FinetuningResult(
        run=run.name,
        target=job.target,
        path=str(run.path),
        settings=job.settings,
        made=made,
        n_epochs=len(metrics["epochs"]) - 1,
        best_epoch=metrics["best_epoch"],
        held_loss=math.nan if best["held_loss"] is None else best["held_loss"],
        metric=metric,
        val_score=val_scores[metric],
        marks=[one["mark"] for one in metrics["findings"]],
        findings=[one["text"] for one in metrics["findings"]],
        notes=metrics["notes"],
        train_s=metrics["train_s"],
    )


def _text(value: object) -> str:
    """Write a setting for a table: of a spec, what is not its default."""
    if isinstance(value, Spec):
        said = value.model_dump(mode="json", exclude_defaults=True)
        name = [value.name] if isinstance(value, LossSpec | ScheduleSpec) else []
        others = [f"{key} {inside}" for key, inside in said.items() if key != "name"]
        return ", ".join([*name, *others]) or "default"
    if isinstance(value, tuple):
        return " → ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
