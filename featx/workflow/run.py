"""All stages of a recipe, one after the other; finished stages are skipped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featx.embeddings.extract import extract
from featx.evaluation.evaluate import evaluate
from featx.heads.parameter_checks import check_heads
from featx.progress import ProgressCallback, no_progress
from featx.reports.report import report
from featx.robustness.corrupt import corrupt
from featx.robustness.smooth import smooth
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.recipe import Recipe, load_recipe
from featx.study.study import Study
from featx.workflow.outer_splits import OuterSplits, check_outer_splits, outer_stages
from featx.workflow.repeats import repeat
from featx.workflow.section_checks import check_sections
from featx.workflow.stages import make_runs


def run(  # noqa: PLR0913 - all but the first are options by name
    recipe: str | Path | Recipe | None = None,
    *,
    final: bool = False,
    repeats: int = 0,
    engine: EngineSpec | None = None,
    cluster: ClusterSpec | None = None,
    user: str | None = None,
    tensorboard: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[tuple[str, Any]]:
    """Run all stages of a recipe and return the name and the result of each.

    The stages are extract, finetune, extract again for embeddings of networks that were just trained, fit (each
    head), ensemble, smooth if the recipe has a section ``[[smoothing]]``, attack if it has a section ``[[attack]]``,
    evaluate, corrupt for each target if it has a section ``[corruption]``, and report. With outer splits they are
    extract, split (each split) and splits, which compares all runs over the splits and writes a page about them.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    final
        Whether to open the sealed test split after all models are made; this is logged.
    repeats
        Number of repeats on other train/val splits (`featx.workflow.repeats`), 0 for none.
    engine
        Settings of the extraction; by default the recipe's ``[extraction]``.
    cluster
        Dask workers that embed images and run trials; by default this process.
    user
        The name that is logged with `final`; by default a hash of the login name.
    tensorboard
        Whether all networks get logs for TensorBoard (extra ``track``).
    progress
        Receives the progress of all stages.

    Raises
    ------
    FeatxError
        A stage failed; the results of the stages before it are kept.
    """
    return list(
        stages(
            recipe,
            final=final,
            repeats=repeats,
            engine=engine,
            cluster=cluster,
            user=user,
            tensorboard=tensorboard,
            progress=progress,
        )
    )


def stages(  # noqa: PLR0913 - as run
    recipe: str | Path | Recipe | None = None,
    *,
    final: bool = False,
    repeats: int = 0,
    engine: EngineSpec | None = None,
    cluster: ClusterSpec | None = None,
    user: str | None = None,
    tensorboard: bool = False,
    progress: ProgressCallback = no_progress,
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the result of each stage when it is finished; `run` describes parameters and errors."""
    loaded_recipe = load_recipe(recipe)
    if loaded_recipe.split.outer_seeds:
        check_outer_splits(loaded_recipe, repeats)
    check_heads(loaded_recipe.head, {name: target.kind for name, target in loaded_recipe.targets.items()})
    check_sections(loaded_recipe)
    extraction = extract(loaded_recipe, engine=engine, cluster=cluster, progress=progress)
    yield "extract", extraction
    if loaded_recipe.split.outer_seeds:
        outer = OuterSplits(Study.open(loaded_recipe), loaded_recipe, final, user, engine, cluster, tensorboard)
        yield from outer_stages(outer, progress)
        return
    yield from make_runs(
        loaded_recipe,
        engine=engine,
        cluster=cluster,
        progress=progress,
        has_pending_embeddings=bool(extraction.pending_embeddings),
        tensorboard=tensorboard,
    )
    if loaded_recipe.smoothing:
        yield "smooth", smooth(loaded_recipe, progress=progress)
    if loaded_recipe.attack:
        # Attacks import torch, which the other stages do without if their results exist.
        from featx.robustness.attack import attack

        yield "attack", attack(loaded_recipe, progress=progress)
    yield "evaluate", evaluate(loaded_recipe, progress=progress)
    for target in loaded_recipe.targets if loaded_recipe.corruption is not None else ():
        yield "corrupt", corrupt(loaded_recipe, target=target, progress=progress)
    if repeats:
        yield "repeats", repeat(loaded_recipe, repeats, engine=engine, progress=progress)
    if final:
        yield "evaluate --final", evaluate(loaded_recipe, final=True, user=user, progress=progress)
    yield "report", report(loaded_recipe, progress=progress)
