"""Train a recipe's networks from their boundaries on; each becomes a run folder like any other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from featx.embeddings.devices import device_named, gpu_names
from featx.embeddings.near_copies import find_near_copies
from featx.errors import DataError, DeviceError, MissingExtraError
from featx.finetuning.grid_search import AfterEpoch, search
from featx.finetuning.phase_inputs import PhaseInputs
from featx.finetuning.training_run import FinetuningJob, FinetuningResult, run_job, stopped_run
from featx.progress import ProgressCallback, no_progress
from featx.specs.base import fingerprint
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.recipe import Recipe, checked_spec
from featx.study.study import Study


def finetune(  # noqa: PLR0913 - one keyword for each thing that a recipe says and a call may say otherwise
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
    """Train networks, the layers that do not change from the cache.

    Parameters
    ----------
    specs
        What to train instead of the recipe's ``[[finetune]]``.
    strategies, lrs, epochs, backbones
        Instead of those of the recipe; several are a grid.
    trials
        Search each grid: try so many of its runs, and stop those that fall behind.
    target
        One of the recipe's targets; all by default.
    engine
        How to run; the recipe's ``[extraction]`` by default.
    force
        Make runs again that are there.
    tensorboard
        Write logs for TensorBoard into the run folders (extra ``track``).

    Raises
    ------
    IncompleteError
        nothing has been extracted yet.
    DataError
        there are no val rows, or the loss and the target do not go together.
    UnknownNameError
        no strategy, block, backbone or loss is called so.
    DeviceError, MissingExtraError
        a device, or TensorBoard, is not here.

    Notes
    -----
    Early stopping looks at rows carved from train, never at val. A run that is interrupted goes on after its last
    whole epoch when it is asked for again.
    """
    study = Study.open(recipe)
    find_near_copies(study, progress)
    said = {"strategy": strategies, "lr": lrs, "epochs": [epochs] if epochs else [], "backbone": backbones}
    changes = {key: list(values) for key, values in said.items() if values}
    sections = [Grid(tuple(specs), trials)] if specs else grids(study.recipe, trials)
    sections = [replace(one, specs=varied(one.specs, changes)) for one in sections]
    engine = engine or study.recipe.extraction
    _check_machine(engine, tensorboard)
    supply = _supply(study, engine, progress)
    differing = _differing([spec for one in sections for spec in one.specs])
    runs = []
    for name in study.of_kind(("classes", "numbers"), target):
        shared = FinetuningJob(study, name, FinetuneSpec(), engine, supply, differing, tensorboard, force, progress)
        found = [run for grid in sections for run in _of_grid(grid, shared)]
        runs += sorted(found, key=lambda run: -_merit(run))
    return runs


def _check_machine(engine: EngineSpec, tensorboard: bool) -> None:
    """Check that what is asked for is here, before anything takes time."""
    if tensorboard and find_spec("tensorboard") is None:
        raise MissingExtraError("TensorBoard is not installed; run 'pip install \"featx[track]\"'")
    if device_named(engine.device).type == "cuda" and engine.gpus > (here := len(gpu_names())):
        raise DeviceError(f"gpus = {engine.gpus}, torch sees {here}; say fewer")


def _merit(run: FinetuningResult) -> float:
    """Return what runs of a target are ordered by; stopped ones come last."""
    if not run.path:
        return -math.inf
    return -run.val_score if run.metric == "mae" else run.val_score


@dataclass(frozen=True)
class Grid:
    """Runs that belong together; all of them are made, or so many of them are tried."""

    specs: tuple[FinetuneSpec, ...]
    trials: int | None = None


def _of_grid(grid: Grid, shared: FinetuningJob) -> list[FinetuningResult]:
    """Make a grid's runs."""
    jobs = {spec.fingerprint(): replace(shared, spec=spec) for spec in grid.specs}
    if grid.trials is None or grid.trials >= len(jobs):
        return [run_job(job) for job in jobs.values()]

    def attempt(spec: FinetuneSpec, after_epoch: AfterEpoch) -> tuple[FinetuningResult, float]:
        run = run_job(replace(jobs[spec.fingerprint()], after_epoch=after_epoch))
        return run, run.held_loss

    asked = [job.asked() for job in jobs.values()]
    journal = shared.study.folder / f".search-{fingerprint([*asked, grid.trials])}.journal"
    return search(
        grid.specs, grid.trials, attempt, lambda spec, epoch: stopped_run(jobs[spec.fingerprint()], epoch), journal
    )


def grids(recipe: Recipe, trials: int | None) -> list[Grid]:
    """Return a recipe's ``[[finetune]]`` sections, or the default run where it has none."""
    return [Grid(section.runs, trials or section.trials) for section in recipe.finetune] or [Grid((FinetuneSpec(),))]


def varied(specs: Sequence[FinetuneSpec], said: dict[str, list[Any]]) -> tuple[FinetuneSpec, ...]:
    """Return specs with what a caller says instead, each once.

    Raises
    ------
    RecipeError
        something said is wrong.
    """
    found = list(specs)
    for key, values in said.items():
        found = [
            checked_spec(FinetuneSpec, "finetune", **_without_phases(spec, key) | {key: value})
            for spec in found
            for value in values
        ]
    return tuple({spec.fingerprint(): spec for spec in found}.values())


def _without_phases(spec: FinetuneSpec, key: str) -> dict[str, Any]:
    """Return a spec's fields; another strategy, rate or number of epochs has no phases."""
    fields = spec.model_dump()
    if fields["phases"] and key != "backbone":
        fields |= {"phases": (), "strategy": "head" if key == "strategy" else "all"}
    return fields


def _supply(study: Study, engine: EngineSpec, progress: ProgressCallback) -> PhaseInputs:
    ids = {part: study.ids(part) for part in ("train", "val", "test")}
    if not len(ids["val"]):
        raise DataError("the split has no val rows, and networks are compared on them; say 'split.val = 0.15'")
    return PhaseInputs(study, engine, progress, np.concatenate(list(ids.values())), len(ids["train"]))


def _differing(specs: Sequence[FinetuneSpec]) -> tuple[str, ...]:
    """Return the keys in which some specs differ."""
    return tuple(name for name in FinetuneSpec.model_fields if len({repr(getattr(one, name)) for one in specs}) > 1)
