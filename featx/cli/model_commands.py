"""``featx fit``, ``finetune``, ``ensemble``, ``evaluate``, ``report``, ``export`` and ``run``."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.options import (
    AbstainOption,
    CoverageOption,
    DeviceOption,
    ForceOption,
    JsonOption,
    LocalOption,
    RecipeOption,
    SchedulerOption,
    TargetOption,
    TensorboardOption,
    UserOption,
    cluster_of,
)

if TYPE_CHECKING:
    from featx.evaluation.evaluation_table import Evaluation
    from featx.heads.fit import FitResult


def fit(
    head: Annotated[
        list[str] | None,
        typer.Option("--head", help="A name from 'featx heads' (repeatable).", show_default="the recipe's"),
    ] = None,
    recipe: RecipeOption = None,
    target: TargetOption = None,
    embedding: Annotated[
        str | None, typer.Option(help="Use only this extracted embedding.", show_default="all, concatenated")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=0, help="Number of trials of the search; 0 fits once.", show_default="the recipe's"),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds after which no new trial is started.", show_default="none")
    ] = None,
    nested: Annotated[
        int | None,
        typer.Option(min=0, help="Outer folds of nested cross-validation of the whole search.", show_default="none"),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option("--refit", metavar="RUN", help="Fit a finished head on train + val.", show_default="no"),
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

    cluster = cluster_of(scheduler, workers_local)
    options = {"--head": head, "--target": target, "--embedding": embedding, "--trials": trials, "--nested": nested}
    check_refit_options(refit, all_rows, options)
    with watching() as progress:
        runs = (
            [featx.refit(refit, recipe, all_rows=all_rows, force=force, progress=progress)]
            if refit
            else featx.fit(
                recipe,
                heads=head or (),
                target=target,
                embedding=embedding,
                trials=trials,
                timeout_s=timeout,
                nested=nested,
                force=force,
                cluster=cluster,
                progress=progress,
            )
        )
    if not json:
        fit_table.fits(runs)
        return
    best = max(runs, key=_merit)
    totals = {
        "best_run": best.run,
        "accuracy": best.oof_accuracy,
        "val_accuracy": best.val_accuracy,
        "search_s": sum(run.search_s for run in runs if run.is_new),
        "train_s": sum(run.train_s for run in runs if run.is_new),
    }
    console.as_json({"runs": console.plain(runs), **totals})


def check_refit_options(refit: str | None, all_rows: bool, options: Mapping[str, Any]) -> None:
    """Refuse options without effect: `all_rows` without a refit, and those of a search with one.

    Raises
    ------
    typer.BadParameter
        There is such an option.
    """
    if all_rows and refit is None:
        raise typer.BadParameter("--all-rows needs --refit RUN")
    unused = [name for name, value in options.items() if value not in (None, [])]
    if refit is not None and unused:
        raise typer.BadParameter(f"--refit takes the setting of a finished run; leave out {', '.join(unused)}")


def _merit(run: "FitResult") -> float:
    """Return the score used to compare runs; greater is better."""
    value = run.oof_score if run.val_score is None else run.val_score
    # A head without out-of-fold predictions has a val part.
    assert value is not None
    return -value if run.score == "mae" else value


def finetune(
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            help="head, last-block, last-N-blocks, all, scratch, or blocks joined by + (repeatable).",
            show_default="the recipe's",
        ),
    ] = None,
    lr: Annotated[
        list[float] | None, typer.Option("--lr", help="Learning rate (repeatable).", show_default="the recipe's")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each run.", show_default="the recipe's")] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option("--backbone", help="Train only the networks with this backbone (repeatable).", show_default="all"),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Search the grid with this number of runs.", show_default="the recipe's")
    ] = None,
    recipe: RecipeOption = None,
    target: TargetOption = None,
    device: DeviceOption = None,
    tensorboard: TensorboardOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fine-tune networks above their frozen layers; each is saved as a run folder.

    Examples: featx finetune · featx finetune --strategy head --strategy last-block --lr 1e-3 --lr 1e-4
    """
    import featx
    from featx.cli import console
    from featx.cli.finetune_table import networks
    from featx.cli.progress_bars import watching
    from featx.specs.recipe import load_recipe

    loaded = load_recipe(recipe)
    with watching() as progress:
        runs = featx.finetune(
            loaded,
            strategies=strategy or (),
            lrs=lr or (),
            epochs=epochs,
            backbones=backbone or (),
            trials=trials,
            target=target,
            engine=loaded.engine(device=device),
            force=force,
            tensorboard=tensorboard,
            progress=progress,
        )
    console.as_json({"runs": console.plain(runs), "best_run": runs[0].run}) if json else networks(runs)


def ensemble(
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="majority, soft, weighted, confidence, convex, greedy, stacking, mean or median (repeatable).",
            show_default="the recipe's",
        ),
    ] = None,
    members: Annotated[
        list[str] | None,
        typer.Option("--members", help="Runs, or the beginnings of their names (repeatable).", show_default="all"),
    ] = None,
    recipe: RecipeOption = None,
    target: TargetOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Build ensembles of all finished runs of the recipe.

    Examples: featx ensemble · featx ensemble --method stacking --members svm --members xgboost
    """
    import featx
    from featx.cli import console, result_tables

    runs = featx.ensemble(recipe, methods=method or (), members=members or (), target=target, force=force)
    if not json:
        result_tables.votes(runs)
        return
    best = runs[0]
    totals = {"metric": best.metric, "score": best.score, "best_member_score": best.best_member_score}
    console.as_json({"runs": console.plain(runs), "best_run": best.run, **totals})


def evaluate(
    final: Annotated[bool, typer.Option("--final", help="Open the sealed test split; this is logged.")] = False,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Also print precision, recall and F1 of each class.")
    ] = False,
    groups: Annotated[
        bool, typer.Option("--groups", help="Also print the scores of the chosen run in each group.")
    ] = False,
    bias: Annotated[
        str,
        typer.Option(
            help="Difference between groups to print for every run: largest (difference), deviation (mean absolute "
            "deviation), sd (standard deviation) or ratio."
        ),
    ] = "largest",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="SETTING,SETTING",
            help="Print one score as a table of these settings, the last one in the columns.",
            show_default="one run per line",
        ),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="The score of --by, for example rmse.", show_default="the one that runs are compared in"),
    ] = None,
    coverage: CoverageOption = None,
    abstain_below: AbstainOption = None,
    user: UserOption = None,
    recipe: RecipeOption = None,
    target: TargetOption = None,
    json: JsonOption = False,
) -> None:
    """Compare all runs on the same rows.

    Examples: featx evaluate · featx evaluate --per-class --groups · featx evaluate --by lr,strategy ·
    featx evaluate --abstain-below 0.9 · featx evaluate --final
    """
    import featx
    from featx.cli import console, pivot_table, run_table
    from featx.cli.progress_bars import watching
    from featx.errors import UnknownNameError
    from featx.evaluation.group_biases import MEASURES
    from featx.registry import suggest_names

    if bias not in MEASURES:
        raise UnknownNameError(
            f"no difference between groups is called {bias!r}; {suggest_names(bias, list(MEASURES))}"
        )

    with watching() as progress:
        evaluations = featx.evaluate(
            recipe,
            target=target,
            final=final,
            coverage=coverage,
            abstain_below=abstain_below,
            user=user,
            progress=progress,
        )
    pivots = pivot_table.build(evaluations, by, score)
    if json:
        console.as_json(_evaluations(evaluations) | {"pivots": console.plain(pivots)})
    elif by:
        pivot_table.pivots(pivots)
    else:
        run_table.evaluations(evaluations, per_class, groups, bias)


def _evaluations(evaluations: "list[Evaluation]") -> dict[str, Any]:
    """Return evaluations as one JSON object: scores are fields of their rows, the first target's chosen run on top."""
    targets = [asdict(target) for target in evaluations]
    for target in targets:
        target["rows"] = [
            {**row["scores"], **{k: v for k, v in row.items() if k != "scores"}} for row in target["rows"]
        ]
    first = targets[0]
    score = "mae" if first["kind"] == "numbers" else "accuracy"
    best = next(row[score] for row in first["rows"] if row["run"] == first["chosen"])
    top = {"chosen": first["chosen"], "part": first["part"], score: best, "n_openings": first["n_openings"]}
    return {"targets": targets, **top}


def report(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """Write one self-contained report.html.

    Example: featx report -r pipelines/solar_cells.toml
    """
    import featx
    from featx.cli import console

    path = featx.report(recipe)
    console.as_json({"report": str(path)}) if json else console.say(str(path))


def export(
    run: Annotated[str, typer.Argument(help="A run, or the beginning of its name.")],
    file_format: Annotated[str, typer.Option("--format", help="onnx, skops or joblib.")] = "onnx",
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")] = Path(),
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a run for other software, with an export card beside it.

    Examples: featx export xgboost · featx export logreg --format skops --out models/
    """
    import featx
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        written = featx.export(run, file_format, recipe, out=out, progress=progress)
    console.as_json({"files": console.plain(written)}) if json else console.exports(written)


def run(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe.", show_default="./featx.toml")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Run a preset of the recipe; other commands take it as '-r RECIPE#PRESET'.", show_default="no"
        ),
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="Open the sealed test split at the end.")] = False,
    repeats: Annotated[
        int,
        typer.Option(min=0, help="Repeat all runs on this number of other train/val splits.", show_default="none"),
    ] = 0,
    user: UserOption = None,
    device: DeviceOption = None,
    tensorboard: TensorboardOption = False,
    scheduler: SchedulerOption = None,
    workers_local: LocalOption = None,
    json: JsonOption = False,
) -> None:
    """Run all stages of a recipe; finished stages are skipped.

    Examples: featx run pipelines/solar_cells.toml --final · featx run pipelines/solar_cells.toml --repeats 10 ·
    featx run pipelines/earth.toml --preset small
    """
    from featx.cli import console, fit_table, result_tables, run_table
    from featx.cli.finetune_table import networks
    from featx.cli.progress_bars import watching
    from featx.cli.repeat_table import repeated
    from featx.specs.recipe import load_recipe
    from featx.workflow.run import stages

    loaded, cluster = load_recipe(recipe), cluster_of(scheduler, workers_local)
    loaded = loaded if preset is None else loaded.with_preset(preset)
    printers: dict[str, Callable[[Any], None]] = {
        "extract": console.print_extraction,
        "fit": fit_table.fits,
        "finetune": networks,
        "ensemble": result_tables.votes,
        "evaluate": run_table.evaluations,
        "repeats": repeated,
        "evaluate --final": run_table.evaluations,
        "report": lambda path: console.say(str(path)),
    }
    with watching() as progress:
        finished_stages = []
        engine = loaded.engine(device=device)
        steps = stages(
            loaded,
            final=final,
            repeats=repeats,
            engine=engine,
            cluster=cluster,
            user=user,
            tensorboard=tensorboard,
            progress=progress,
        )
        for stage, result in steps:
            finished_stages.append({"stage": stage, "result": console.plain(result)})
            if not json:
                console.say()
                console.say(f"── featx {stage}")
                printers[stage](result)
    if json:
        console.as_json({"stages": finished_stages})
