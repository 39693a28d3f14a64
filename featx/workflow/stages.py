"""The stages that make the runs of a recipe, in the order of their dependencies; finished runs are skipped."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featx.embeddings.extract import extract
from featx.ensembles.ensemble import EnsembleResult, build_possible_ensembles, explain_missing_ensembles
from featx.errors import DataError
from featx.finetuning.finetune import finetune
from featx.heads.fit import fit
from featx.progress import ProgressCallback
from featx.specs.ensembling import EnsembleSpec
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.recipe import Recipe
from featx.study.study import Study

# Stages whose results are runs.
RUN_STAGES = frozenset({"finetune", "fit", "ensemble"})


def make_runs(  # noqa: PLR0913 - all but the first are options by name
    recipe: Recipe,
    *,
    engine: EngineSpec | None,
    progress: ProgressCallback,
    cluster: ClusterSpec | None = None,
    has_pending_embeddings: bool = False,
    tensorboard: bool = False,
    only_these_runs: bool = False,
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the result of each stage when it is finished: finetune, extract, fit (per head), ensemble.

    Parameters
    ----------
    cluster
        Dask workers that embed images and run trials.
    has_pending_embeddings
        Whether embeddings need networks that are trained here, so that extract has to run again.
    tensorboard
        Whether all networks get logs for TensorBoard.
    only_these_runs
        Whether ensembles have only members that are made here, not all finished runs of the study.
    """
    runs: list[Any] = []
    if recipe.finetune:
        runs += finetune(recipe, engine=engine, tensorboard=tensorboard, progress=progress)
        yield "finetune", list(runs)
    if has_pending_embeddings:
        yield "extract", extract(recipe, engine=engine, cluster=cluster, progress=progress)
    for head in recipe.head:
        head_runs = fit(recipe, heads=[head], cluster=cluster, progress=progress)
        runs += head_runs
        yield "fit", head_runs
    n_heads = sum(len(list(head.grid())) for head in recipe.head)
    if n_heads + sum(len(section.runs) for section in recipe.finetune) > 1:
        yield from _make_ensembles(recipe, runs if only_these_runs else None, progress)


def study_of_results(recipe: Recipe, results: Sequence[Any]) -> Study:
    """Return the study whose runs are those of some results of stages; runs that a search stopped have no folder."""
    names = frozenset(Path(result.path).name for result in results if result.path)
    return replace(Study.open(recipe), run_names=names)


def _make_ensembles(
    recipe: Recipe, runs: Sequence[Any] | None, progress: ProgressCallback
) -> Iterator[tuple[str, Any]]:
    """Yield the ensembles of all sections; the members of a section may be ensembles of a section before it.

    Parameters
    ----------
    runs
        Results of the runs that may be members; None for all finished runs of the study.

    Raises
    ------
    DataError
        No ensemble can be built, though a section has members.
    """
    results: list[EnsembleResult] = []
    errors: list[DataError] = []
    for spec in recipe.ensemble:
        if spec.methods == ():
            continue
        study = Study.open(recipe) if runs is None else study_of_results(recipe, [*runs, *results])
        reasons = explain_missing_ensembles(study, spec)
        builds = "" in reasons.values()
        # Named members are runs of some targets, so that the others are not expected to have ensembles.
        if not (builds and spec.members):
            missing_reasons = {target: reason for target, reason in reasons.items() if reason}
            _note_missing_ensembles(recipe, spec, missing_reasons, progress)
        if builds:

            def note_failure(target: str, method: str, error: DataError, spec: EnsembleSpec = spec) -> None:
                errors.append(error)
                _note_missing_ensembles(recipe, spec, {target: str(error)}, progress, method)

            results += build_possible_ensembles(study, spec, note_failure)
    if errors and not results:
        raise errors[0]
    if results:
        yield "ensemble", results


def _note_missing_ensembles(
    recipe: Recipe, spec: EnsembleSpec, reasons: Mapping[str, str], progress: ProgressCallback, method: str = ""
) -> None:
    """Say of which targets a section builds no ensemble, or none by one method, and why."""
    section = (f" {spec.name!r}" if spec.name else "") + (f" by {method!r}" if method else "")
    for target, reason in reasons.items():
        of_target = f" of {target!r}" if len(recipe.targets) > 1 else ""
        progress("note", 0, 1, f"no ensemble{section}{of_target}: {reason}")
