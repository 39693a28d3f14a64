"""All stages of a recipe, one after the other; each skips what it finds done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featx.embeddings.extract import extract
from featx.evaluation.evaluate import evaluate
from featx.progress import ProgressCallback, no_progress
from featx.reports.report import report
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.specs.recipe import Recipe, load_recipe
from featx.workflow.repeats import repeat
from featx.workflow.stages import make_runs


def run(  # noqa: PLR0913 - all but the first are options by name
    recipe: str | Path | Recipe | None = None,
    *,
    final: bool = False,
    repeats: int = 0,
    engine: EngineSpec | None = None,
    cluster: ClusterSpec | None = None,
    who: str | None = None,
    progress: ProgressCallback = no_progress,
) -> list[tuple[str, Any]]:
    """Run all stages of a recipe and return their names and results; parameters and errors are those of `stages`."""
    return list(
        stages(recipe, final=final, repeats=repeats, engine=engine, cluster=cluster, who=who, progress=progress)
    )


def stages(  # noqa: PLR0913 - as run
    recipe: str | Path | Recipe | None = None,
    *,
    final: bool = False,
    repeats: int = 0,
    engine: EngineSpec | None = None,
    cluster: ClusterSpec | None = None,
    who: str | None = None,
    progress: ProgressCallback = no_progress,
) -> Iterator[tuple[str, Any]]:
    """Yield each stage's name and result as it is finished.

    The stages are extract, finetune, extract again where embeddings are those of networks just trained, fit (each
    head), ensemble, evaluate and report.

    Parameters
    ----------
    final
        Open the sealed test split once all models are made; the look is logged.
    repeats
        Make all runs again over so many other cuts of train and val (`featx.workflow.repeats`); 0 for none.
    cluster
        Dask workers that embed and try settings; this process alone by default.
    who
        The name that is logged with `final`; by default a hash of the login name.

    Raises
    ------
    FeatxError
        a stage cannot go on; those before it are kept.
    """
    read = load_recipe(recipe)
    done = extract(read, engine=engine, cluster=cluster, progress=progress)
    yield "extract", done
    yield from make_runs(read, engine=engine, cluster=cluster, progress=progress, are_waiting=bool(done.waiting))
    yield "evaluate", evaluate(read, progress=progress)
    if repeats:
        yield "repeats", repeat(read, repeats, engine=engine, progress=progress)
    if final:
        yield "evaluate --final", evaluate(read, final=True, who=who, progress=progress)
    yield "report", report(read)
