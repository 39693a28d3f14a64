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
from featx.errors import DataError, DeviceError, MissingExtraError, UnknownNameError
from featx.finetuning.canonical_spec import canonical_spec
from featx.finetuning.finetuning_job import FinetuningJob
from featx.finetuning.grid_search import AfterEpoch, TrialRunner, search_grid
from featx.finetuning.phase_inputs import PhaseInputs
from featx.finetuning.phase_rows import WEIGHTED_PREFIX
from featx.finetuning.training_run import FinetuningResult, run_job, stopped_result
from featx.metrics.definitions import find_score
from featx.progress import NOTE_STAGE, ProgressCallback, no_progress
from featx.specs.base import fingerprint
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.recipe import Recipe
from featx.specs.validation import build_spec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import NetworkMetrics
from featx.study.study import Study
from featx.tables.ids import Kind


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
        If there are no val rows, or the loss does not fit the target.
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
    overrides = {"strategy": strategies, "lr": lrs, "epochs": [epochs] if epochs else []}
    changes = {key: list(values) for key, values in overrides.items() if values}
    grids = [Grid(tuple(specs), trials)] if specs else _recipe_grids(study.recipe, trials, backbones)
    grids = [replace(grid, specs=vary(grid.specs, changes)) for grid in _select_backbones(grids, backbones)]
    engine = engine or study.recipe.extraction
    _check_environment(engine, tensorboard or any(grid.tensorboard for grid in grids))
    inputs = _phase_inputs(study, engine, progress)
    results = []
    for name in study.of_kind(("classes", "numbers"), target):
        target_grids = [_canonical_grid(grid, study.labels(name).kind) for grid in grids]
        differing = _differing_keys([spec for grid in target_grids for spec in grid.specs])
        job = FinetuningJob(study, name, FinetuneSpec(), engine, inputs, differing, tensorboard, force, progress)
        target_results = [result for grid in _without_repeats(target_grids) for result in _run_grid(grid, job)]
        results += sorted(target_results, key=_sort_key)
    return results


def _each_note_once(progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that passes each note on once; many runs have the same notes."""
    notes: set[str] = set()

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == NOTE_STAGE:
            if note in notes:
                return
            notes.add(note)
        progress(stage, done, total, note)

    return report


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
    tensorboard
        Whether logs for TensorBoard are written.
    """

    specs: tuple[FinetuneSpec, ...]
    trials: int | None = None
    tensorboard: bool = False


def _run_grid(grid: Grid, shared_job: FinetuningJob) -> list[FinetuningResult]:
    """Train the runs of a grid and return their results."""
    shared_job = replace(shared_job, tensorboard=shared_job.tensorboard or grid.tensorboard)
    jobs = {spec.fingerprint(): replace(shared_job, spec=spec) for spec in grid.specs}
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
    """Return the monitored value of a run's best epoch, negated if greater is better."""
    metrics = RunFolder(Path(result.path)).metrics
    assert isinstance(metrics, NetworkMetrics)
    best, part = metrics.epochs[metrics.best_epoch], "val" if metrics.monitor == "val" else "held"
    if metrics.chosen_by == "loss":
        loss = getattr(best, f"{part}_loss")
        return math.nan if loss is None else float(loss)
    value = getattr(best, f"{part}_scores")[metrics.chosen_by]
    is_negated = find_score(metrics.chosen_by.removeprefix(WEIGHTED_PREFIX)).greater_is_better
    return -value if is_negated else float(value)


def _recipe_grids(recipe: Recipe, trials: int | None, backbones: Sequence[str]) -> list[Grid]:
    """Return a recipe's ``[[finetune]]`` sections, or runs of the default network if it has none."""
    if not recipe.finetune:
        return [Grid(vary([FinetuneSpec()], {"backbone": list(backbones)} if backbones else {}), trials)]
    return [Grid(section.runs, trials or section.trials, section.tensorboard) for section in recipe.finetune]


def _select_backbones(grids: Sequence[Grid], backbones: Sequence[str]) -> list[Grid]:
    """Return the grids with the runs of some backbones alone; without names, all of them.

    Raises
    ------
    UnknownNameError
        If no run has one of these backbones.
    """
    available = list(dict.fromkeys(spec.backbone for grid in grids for spec in grid.specs))
    if missing := [name for name in backbones if name not in available]:
        listed = ", ".join(map(repr, available))
        raise UnknownNameError(
            f"no [[finetune]] has the backbone {missing[0]!r}; backbones of the recipe's networks: {listed}"
        )
    if not backbones:
        return list(grids)
    selected = [replace(grid, specs=tuple(s for s in grid.specs if s.backbone in backbones)) for grid in grids]
    return [grid for grid in selected if grid.specs]


def _canonical_grid(grid: Grid, kind: Kind) -> Grid:
    """Return a grid with canonical specs for a kind of target, each once."""
    specs = [canonical_spec(spec, kind) for spec in grid.specs]
    return replace(grid, specs=tuple({spec.fingerprint(): spec for spec in specs}.values()))


def _without_repeats(grids: Sequence[Grid]) -> list[Grid]:
    """Return grids without the runs that a grid before them has; grids of which a part is tried stay whole."""
    done: set[str] = set()
    distinct = []
    for grid in grids:
        specs = tuple(spec for spec in grid.specs if grid.trials is not None or spec.fingerprint() not in done)
        done |= {spec.fingerprint() for spec in specs if grid.trials is None}
        distinct.append(replace(grid, specs=specs))
    return [grid for grid in distinct if grid.specs]


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
