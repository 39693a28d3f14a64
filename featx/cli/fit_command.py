"""``featx fit``."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from featx.cli.completions import complete_embedding, complete_head, complete_run
from featx.cli.options import (
    ForceOption,
    JsonOption,
    LocalOption,
    RecipeOption,
    SchedulerOption,
    TargetOption,
    cluster_of,
)


def fit(
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head",
            help="A name from 'featx heads' (repeatable).",
            show_default="the recipe's",
            autocompletion=complete_head,
        ),
    ] = None,
    recipe: RecipeOption = None,
    target: TargetOption = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="Use only this extracted embedding.",
            show_default="the recipe's, else all, concatenated",
            autocompletion=complete_embedding,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=0, help="Number of trials of the search; 0 fits once.", show_default="the recipe's"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Seconds after which no new trial is started.", show_default="the recipe's, else none"
        ),
    ] = None,
    nested: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Outer folds of nested cross-validation of the whole search.",
            show_default="the recipe's, else none",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time for all heads, such as 10m; cheap heads first.", show_default="none"),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(
            "--refit",
            metavar="RUN",
            help="Fit a finished head on train + val.",
            show_default="no",
            autocompletion=complete_run,
        ),
    ] = None,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="With --refit: on test rows too; opening test is logged.")
    ] = False,
    force: ForceOption = False,
    scheduler: SchedulerOption = None,
    workers_local: LocalOption = None,
    json: JsonOption = False,
) -> None:
    """Tune and fit heads on cached embeddings; each is saved as a run folder.

    Examples: featx fit · featx fit --head xgboost --trials 30 · featx fit --head svm --head logreg ·
    featx fit --workers-local 4 · featx fit --refit svm-class-1a2b3c4d
    """
    import featx
    from featx.cli import console, fit_table
    from featx.cli.progress_bars import watching
    from featx.heads.budget import Budget

    options: dict[str, Any] = {"--head": head, "--target": target, "--embedding": embedding, "--trials": trials}
    options |= {"--nested": nested, "--timeout": timeout, "--budget": budget}
    options |= {"--scheduler": scheduler, "--workers-local": workers_local}
    check_refit_options(refit, all_rows, options)
    limit = None if budget is None else Budget.parse(budget)
    with watching() as progress:
        runs = (
            [featx.refit(refit, recipe, all_rows=all_rows, force=force, progress=progress)]
            if refit is not None
            else featx.fit(
                recipe,
                heads=head or (),
                target=target,
                embedding=embedding,
                trials=trials,
                timeout_s=timeout,
                nested=nested,
                budget=limit,
                force=force,
                cluster=cluster_of(scheduler, workers_local),
                progress=progress,
            )
        )
    skipped_heads = [] if limit is None else limit.skipped
    if json:
        console.as_json(fit_table.summary(runs, skipped_heads))
    else:
        fit_table.fits(runs, skipped_heads)


def check_refit_options(refit: str | None, all_rows: bool, options: Mapping[str, Any]) -> None:
    """Refuse options without effect: `all_rows` without a refit, and those of a search with one.

    Raises
    ------
    typer.BadParameter
        There is such an option.
    """
    if all_rows and refit is None:
        raise typer.BadParameter("--all-rows needs --refit RUN")
    unused_options = [name for name, value in options.items() if value not in (None, [])]
    if refit is not None and unused_options:
        raise typer.BadParameter(f"--refit takes the setting of a finished run; leave out {', '.join(unused_options)}")
