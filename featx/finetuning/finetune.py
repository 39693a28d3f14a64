"""Fine-tuning of the networks that a recipe names; each becomes a run folder like any other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from featx.embeddings.devices import find_device, gpu_names
from featx.embeddings.near_copies import find_near_copies
from featx.errors import DataError, DeviceError, MissingExtraError
from featx.finetuning.finetuning_job import FinetuningJob
from featx.finetuning.grid_search import AfterEpoch, TrialRunner, search_grid
from featx.finetuning.phase_inputs import PhaseInputs
from featx.finetuning.task import build_task
from featx.finetuning.training_run import FinetuningResult, run_job, stopped_result
from featx.progress import ProgressCallback, no_progress
from featx.specs.base import fingerprint
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.recipe import Recipe
from featx.specs.validation import build_spec
from featx.study.study import Study

# Values for the fields in which the runs of a grid often differ, and on which their training task does not depend.
UNCHECKED_FIELDS = {"backbone": "", "strategy": "", "phases": (), "lr": 1.0, "epochs": 1, "batch_size": 1, "seed": 0}


def finetune(  # noqa: PLR0913 - one keyword for each key of a recipe that a call may override
    recipe: str | Path | Recipe | None = None,
    *,
    specs: Sequence[FinetuneSpec] = (),
    strategies: Sequence[str] = (),
    lrs: Sequence[float] = (),
    epochs: int | None = None,
    backbones: Sequence[str] = (),
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
        Learning rates instead of those of the recipe; several are a grid.
    epochs
        Number of epochs instead of that of the recipe.
    backbones
        Backbones instead of those of the recipe; several are a grid.
    trials
        Number of runs of each grid to try, where those that fall behind are stopped; by default all runs.
    target
        Name of one of the recipe's targets; all by default.
    engine
        Devices and workers; the recipe's ``[extraction]`` by default.
    force
        Whether existing runs are trained again.
    tensorboard
        Whether logs for TensorBoard are written into the run folders (extra ``track``).
    progress
        Callback for progress.

    Raises
    ------
    IncompleteError
        If nothing has been extracted yet.
    DataError
        If there are no val rows, or the loss does not fit the target.
    UnknownNameError
        If no strategy, block, backbone or loss has the given name.
    DeviceError, MissingExtraError
        If a device, or TensorBoard, is not available.

    Notes
    -----
    Early stopping uses rows held out of train, never val. An interrupted run resumes after its last complete epoch
    when it is requested again.
    """
    study = Study.open(recipe)
    find_near_copies(study, progress)
    overrides = {"strategy": strategies, "lr": lrs, "epochs": [epochs] if epochs else [], "backbone": backbones}
    changes = {key: list(values) for key, values in overrides.items() if values}
    grids = [Grid(tuple(specs), trials)] if specs else _recipe_grids(study.recipe, trials)
    grids = [replace(grid, specs=vary(grid.specs, changes)) for grid in grids]
    engine = engine or study.recipe.extraction
    _check_environment(engine, tensorboard)
    inputs = _phase_inputs(study, engine, progress)
    differing = _differing_keys([spec for grid in grids for spec in grid.specs])
    results = []
    names = study.of_kind(("classes", "numbers"), target)
    grids = _grids_of_targets(grids, names)
    _check_tasks(study, names, grids)
    for name in names:
        job = FinetuningJob(study, name, FinetuneSpec(), engine, inputs, differing, tensorboard, force, progress)
        target_results = [result for grid in grids if grid.applies_to(name) for result in _run_grid(grid, job)]
        results += sorted(target_results, key=_sort_key)
    return results


def _check_environment(engine: EngineSpec, tensorboard: bool) -> None:
    """Check that the requested devices and packages are available, before anything takes time."""
    if tensorboard and find_spec("tensorboard") is None:
        raise MissingExtraError("TensorBoard is not installed; run 'pip install \"featx[track]\"'")
    if find_device(engine.device).type == "cuda" and engine.gpus > (n_gpus := len(gpu_names())):
        raise DeviceError(f"gpus = {engine.gpus}, torch finds {n_gpus}; set a smaller number")


def _sort_key(run: FinetuningResult) -> float:
    """Return the number by which runs of a target are sorted: the best first, stopped ones last."""
    if not run.path:
        return math.inf
    return run.val_score if run.metric == "mae" else -run.val_score


@dataclass(frozen=True)
class Grid:
    """Runs of one section, of which all or only `trials` are trained.

    Attributes
    ----------
    specs
        Specs of the runs.
    trials
        Number of runs to try; None for all.
    target
        Name of the only target of the runs; None for all targets.
    name
        Name of the section; empty if it has none.
    """

    specs: tuple[FinetuneSpec, ...]
    trials: int | None = None
    target: str | None = None
    name: str = ""

    def applies_to(self, target: str) -> bool:
        """Return whether the runs predict a target."""
        return self.target in {None, target}


def _grids_of_targets(grids: Sequence[Grid], targets: Sequence[str]) -> list[Grid]:
    """Return the grids with runs of some of the targets.

    Raises
    ------
    DataError
        There is none.
    """
    matching = [grid for grid in grids if any(map(grid.applies_to, targets))]
    if not matching:
        raise DataError(f"no [[finetune]] is for target {targets[0]!r}; add one with target = {targets[0]!r}")
    return matching


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
        build_task(study, name, spec, study.recipe.group_columns(spec.group_weight))


def _run_grid(grid: Grid, shared_job: FinetuningJob) -> list[FinetuningResult]:
    """Train the runs of a grid and return their results."""
    jobs = {spec.fingerprint(): replace(shared_job, spec=spec, section=grid.name) for spec in grid.specs}
    if grid.trials is None or grid.trials >= len(jobs):
        return [run_job(job) for job in jobs.values()]

    def run(spec: FinetuneSpec, after_epoch: AfterEpoch) -> tuple[FinetuningResult, float]:
        result = run_job(replace(jobs[spec.fingerprint()], after_epoch=after_epoch))
        return result, result.held_loss

    runner = TrialRunner(run, lambda spec, epoch: stopped_result(jobs[spec.fingerprint()], epoch))
    identities = [job.run_spec().identity() for job in jobs.values()]
    journal = shared_job.study.folder / f".search-{fingerprint([*identities, grid.trials])}.journal"
    return search_grid(grid.specs, grid.trials, runner, journal)


def _recipe_grids(recipe: Recipe, trials: int | None) -> list[Grid]:
    """Return a recipe's ``[[finetune]]`` sections, or the default run if it has none."""
    grids = [
        Grid(section.runs, trials or section.trials, section.target, section.name or "") for section in recipe.finetune
    ]
    return grids or [Grid((FinetuneSpec(seed=recipe.seed),))]


def vary(specs: Sequence[FinetuneSpec], changes: dict[str, list[Any]]) -> tuple[FinetuneSpec, ...]:
    """Return specs with other values of some keys, each distinct spec once.

    Parameters
    ----------
    specs
        The specs.
    changes
        Values of each key to change; several are a grid.

    Raises
    ------
    RecipeError
        If a value is not allowed.
    """
    varied = list(specs)
    for key, values in changes.items():
        varied = [
            build_spec(FinetuneSpec, "finetune", **_fields_without_phases(spec, key) | {key: value})
            for spec in varied
            for value in values
        ]
    return tuple({spec.fingerprint(): spec for spec in varied}.values())


def _fields_without_phases(spec: FinetuneSpec, key: str) -> dict[str, Any]:
    """Return a spec's fields; phases are removed, as another strategy, rate or number of epochs replaces them."""
    fields = spec.model_dump()
    if fields["phases"] and key != "backbone":
        fields |= {"phases": (), "strategy": "head" if key == "strategy" else "all"}
    return fields


def _phase_inputs(study: Study, engine: EngineSpec, progress: ProgressCallback) -> PhaseInputs:
    """Return the images of all parts as inputs."""
    ids = {part: study.ids(part) for part in ("train", "val", "test")}
    if not len(ids["val"]):
        raise DataError("the split has no val rows, and networks are compared on them; set 'split.val = 0.15'")
    return PhaseInputs(study, engine, progress, np.concatenate(list(ids.values())), len(ids["train"]))


def _differing_keys(specs: Sequence[FinetuneSpec]) -> tuple[str, ...]:
    """Return the keys in which some specs differ."""
    return tuple(name for name in FinetuneSpec.model_fields if len({repr(getattr(spec, name)) for spec in specs}) > 1)
