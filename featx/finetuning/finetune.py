"""Fine-tuning of the networks that a recipe names; each becomes a run folder like any other."""

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from featx.embeddings.devices import find_device, gpu_names
from featx.embeddings.near_copies import find_near_copies
from featx.errors import DataError, DeviceError, MissingExtraError
from featx.finetuning.distillation import find_teacher, is_trained_by
from featx.finetuning.finetuning_job import FinetuningJob
from featx.finetuning.grid_search import AfterEpoch, TrialRunner, search_grid
from featx.finetuning.grids import Grid, canonical_grids, grids_of_targets, recipe_grids, select_backbones, vary
from featx.finetuning.phase_inputs import PhaseInputs
from featx.finetuning.strategies import check_strategies
from featx.finetuning.task import build_task
from featx.finetuning.training_run import FinetuningResult, run_job, stopped_result
from featx.metrics.definitions import find_score
from featx.progress import NOTE_STAGE, ProgressCallback, no_progress
from featx.specs.base import fingerprint
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.recipe import Recipe
from featx.specs.sequences import as_tuple
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import NetworkMetrics
from featx.study.run_settings import RunDescription, describe_runs
from featx.study.run_spec import RULES, NetworkRunSpec
from featx.study.study import Study

# Values for the fields in which the runs of a grid often differ, and on which their training task does not depend.
UNCHECKED_FIELDS = {"backbone": "", "strategy": "", "phases": (), "lr": 1.0, "epochs": 1, "batch_size": 1, "seed": 0}


def finetune(  # noqa: PLR0913 - one keyword for each key of a recipe that a call may override
    recipe: str | Path | Recipe | None = None,
    *,
    specs: Sequence[FinetuneSpec] | FinetuneSpec = (),
    strategies: Sequence[str] | str = (),
    lrs: Sequence[float] | float = (),
    epochs: int | None = None,
    backbones: Sequence[str] | str = (),
    trials: int | None = None,
    target: str | None = None,
    engine: EngineSpec | None = None,
    force: bool = False,
    tensorboard: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[FinetuningResult]:
    """Train networks and return their results, the best run of each target first.

    Layers that do not change run once, and their output is cached.

    Parameters
    ----------
    recipe
        The recipe or its path; by default the recipe of the working directory.
    specs
        Specs to train instead of the recipe's ``[[finetune]]``.
    strategies
        Strategies instead of those of the recipe; several are a grid.
    lrs
        Learning rates instead of those of the recipe; several are a grid. Not for ``progressive``, whose phases have
        their own, unless `strategies` replace it.
    epochs
        Number of epochs instead of that of the recipe; the maximum number of each phase of ``progressive``.
    backbones
        Backbones whose networks are trained; by default all of the recipe. Without ``[[finetune]]`` and `specs`, the
        default network is trained with each of them.
    trials
        Number of runs of each grid to try, where those that fall behind are stopped; by default all runs.
    target
        Name of one of the recipe's targets; all by default.
    engine
        Devices and workers; the recipe's ``[extraction]`` by default.
    force
        Whether existing runs are trained again.
    tensorboard
        Whether logs for TensorBoard are written into all run folders (extra ``track``), not only for sections with
        ``tensorboard = true``.
    progress
        Callback for progress.

    Raises
    ------
    IncompleteError
        If nothing has been extracted yet.
    DataError
        If there are no val rows, the loss does not fit the target, or `lrs` are given for phases.
    UnknownNameError
        If no strategy, block, backbone or loss has the given name, or no section has one of `backbones`.
    DeviceError, MissingExtraError
        If a device, or TensorBoard, is not available.

    Notes
    -----
    Early stopping uses rows held out of train, and val only with ``monitor = "val"``. An interrupted run resumes after
    its last complete epoch when it is requested again.
    """
    study = Study.open(recipe)
    progress = _each_note_once(progress)
    find_near_copies(study, progress)
    specs, backbones = as_tuple(specs), as_tuple(backbones)
    overrides: dict[str, tuple[Any, ...]] = {
        "strategy": as_tuple(strategies),
        "lr": as_tuple(lrs),
        "epochs": () if epochs is None else (epochs,),
    }
    changes = {key: list(values) for key, values in overrides.items() if values}
    grids = [Grid(specs, trials)] if specs else recipe_grids(study.recipe, trials, backbones)
    names = study.of_kind(("classes", "numbers"), target)
    grids = grids_of_targets(select_backbones(grids, backbones), names)
    grids = [replace(grid, specs=vary(grid.specs, changes)) for grid in grids]
    engine = engine or study.recipe.extraction
    _check_environment(engine, tensorboard or any(grid.tensorboard for grid in grids))
    _check_precisions(engine, [spec for grid in grids for spec in grid.specs])
    inputs = _phase_inputs(study, engine, progress)
    results = []
    _check_tasks(study, names, grids)
    check_strategies(spec for grid in grids for spec in grid.specs)
    for name in names:
        own_grids = canonical_grids([grid for grid in grids if grid.applies_to(name)], study.labels(name).kind)
        descriptions = _describe(study, name, own_grids)
        job = FinetuningJob(study, name, FinetuneSpec(), engine, inputs, descriptions, tensorboard, force, progress)
        target_results = [result for grid in own_grids for result in _run_grid(grid, job)]
        results += sorted(target_results, key=_sort_key)
    return results


def _each_note_once(progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that passes each note on once; many runs have the same notes."""
    notes: set[str] = set()

    def report(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == NOTE_STAGE:
            if note in notes:
                return
            notes.add(note)
        progress(stage, n_done, total, note)

    return report


def _check_environment(engine: EngineSpec, tensorboard: bool) -> None:
    """Check that the requested devices and packages are available, before anything takes time."""
    if tensorboard and find_spec("tensorboard") is None:
        raise MissingExtraError("TensorBoard is not installed; run 'pip install \"featx[track]\"'")
    if find_device(engine.device).type == "cuda" and engine.gpus > (n_gpus := len(gpu_names())):
        raise DeviceError(f"gpus = {engine.gpus}, torch finds {n_gpus}; set a smaller number")


def _check_precisions(engine: EngineSpec, specs: Sequence[FinetuneSpec]) -> None:
    """Check that the device can train in the precision of each spec; on a CPU, Lightning would use bf16 for fp16.

    Raises
    ------
    DeviceError
        A spec requires fp16 on a CPU.
    """
    if find_device(engine.device).type == "cpu" and any(spec.precision == "fp16" for spec in specs):
        raise DeviceError(
            "precision = 'fp16' of [[finetune]] needs a GPU, the device is 'cpu'; set precision = 'bf16' or 'fp32'"
        )


def _sort_key(run: FinetuningResult) -> float:
    """Return the number by which runs of a target are sorted: the best first, stopped ones last."""
    if not run.path:
        return math.inf
    return run.val_score if run.metric == "mae" else -run.val_score


def _check_tasks(study: Study, targets: Sequence[str], grids: Sequence[Grid]) -> None:
    """Build the training task of each run, so that labels which do not fit a setting stop the call before training."""
    specs = {
        (name, spec.model_copy(update=UNCHECKED_FIELDS).fingerprint()): (name, spec)
        for name in targets
        for grid in grids
        for spec in grid.specs
        if grid.applies_to(name)
    }
    for name, spec in specs.values():
        if spec.distillation is not None and not is_trained_by(study.recipe, spec.distillation):
            find_teacher(study, name, spec.distillation)
        build_task(study, name, spec, study.recipe.group_columns(spec.group_weight))


def _run_grid(grid: Grid, shared_job: FinetuningJob) -> list[FinetuningResult]:
    """Train the runs of a grid and return their results."""
    shared_job = replace(shared_job, tensorboard=shared_job.tensorboard or grid.tensorboard)
    jobs = {spec.fingerprint(): replace(shared_job, spec=spec, section=grid.name) for spec in grid.specs}
    if grid.trials is None or grid.trials >= len(jobs):
        return [run_job(job) for job in jobs.values()]

    def run(spec: FinetuneSpec, after_epoch: AfterEpoch) -> tuple[FinetuningResult, float]:
        result = run_job(replace(jobs[spec.fingerprint()], after_epoch=after_epoch))
        return result, _monitored_cost(result)

    runner = TrialRunner(run, lambda spec, epoch: stopped_result(jobs[spec.fingerprint()], epoch))
    identities = [job.run_spec().identity() for job in jobs.values()]
    journal = shared_job.study.folder / f".search-{fingerprint([*identities, grid.trials])}.journal"
    return search_grid(grid.specs, grid.trials, runner, journal)


def _monitored_cost(result: FinetuningResult) -> float:
    """Return the monitored value of a run's best epoch, negated if greater is better; nan if it is not defined."""
    metrics = RunFolder(Path(result.path)).metrics
    assert isinstance(metrics, NetworkMetrics)
    best, part = metrics.epochs[metrics.best_epoch], "val" if metrics.monitor == "val" else "held"
    is_loss = metrics.chosen_by == "loss"
    value = getattr(best, f"{part}_loss") if is_loss else getattr(best, f"{part}_scores")[metrics.chosen_by]
    if value is None:
        return math.nan
    is_negated = not is_loss and find_score(metrics.chosen_by).greater_is_better
    return -value if is_negated else float(value)


def _phase_inputs(study: Study, engine: EngineSpec, progress: ProgressCallback) -> PhaseInputs:
    """Return the images of all parts as inputs."""
    ids = {part: study.ids(part) for part in ("train", "val", "test")}
    if not len(ids["val"]):
        raise DataError("the split has no val rows, and networks are compared on them; set 'split.val = 0.15'")
    return PhaseInputs(study, engine, progress, np.concatenate(list(ids.values())), len(ids["train"]))


def _describe(study: Study, target: str, grids: Sequence[Grid]) -> dict[str, RunDescription]:
    """Return ``SECTION/FINGERPRINT`` of each spec → what distinguishes its run, which depends on these grids alone."""
    shared_fields = {
        "rules": RULES["network"],
        "train": study.train_state(target, ()),
        "weights_sha256": "none",
        "decoding": {},
    }
    return describe_runs(
        {
            f"{grid.name}/{spec.fingerprint()}": NetworkRunSpec(
                finetune=spec.identity(), section=grid.name, **shared_fields
            )
            for grid in grids
            for spec in grid.specs
        }
    )
