"""``featx finetune``, ``ensemble``, ``evaluate``, ``report``, ``export`` and ``run``."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.completions import complete_run
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
    check_user,
    cluster_of,
)

if TYPE_CHECKING:
    from featx.evaluation.evaluation_table import Evaluation
    from featx.robustness.robustness_evaluation import RobustnessEvaluation
    from featx.study.study import Study


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
        list[float] | None,
        typer.Option("--lr", help="Learning rate (repeatable); not for progressive runs.", show_default="the recipe's"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs of each run; at most so many in each phase of a progressive one.",
            show_default="the recipe's",
        ),
    ] = None,
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

    loaded_recipe = load_recipe(recipe)
    with watching() as progress:
        runs = featx.finetune(
            loaded_recipe,
            strategies=strategy or (),
            lrs=lr or (),
            epochs=epochs,
            backbones=backbone or (),
            trials=trials,
            target=target,
            engine=loaded_recipe.engine(device=device),
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
        typer.Option(
            "--members",
            help="Runs, or the beginnings of their names (repeatable).",
            show_default="all",
            autocompletion=complete_run,
        ),
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
        str | None,
        typer.Option(
            help="Difference between groups to print for every run: largest (difference), deviation (mean absolute "
            "deviation), sd (standard deviation) or ratio.",
            show_default="none; largest with --groups",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="SETTING,SETTING",
            help="Print one score, or with --bias the difference between groups, as a table of these settings, the "
            "last one in the columns.",
            show_default="one run per line",
        ),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="The score of --by, for example rmse.", show_default="the one that runs are compared in"),
    ] = None,
    runs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="The runs of --by: short names or beginnings of names, as the name of a [[finetune]] section.",
            show_default="all",
        ),
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
    from featx.cli.attack_table import print_all, read_robustness
    from featx.cli.output_settings import output_settings
    from featx.cli.progress_bars import watching
    from featx.study.study import Study

    check_user(user, final)
    pivot_table.check_options(by, score, runs, bias)
    with watching() as progress:
        score_runs = partial(
            featx.evaluate,
            recipe,
            target=target,
            coverage=coverage,
            abstain_below=abstain_below,
            user=user,
            progress=progress,
        )
        if final and by is not None:
            # Settings, scores and runs that do not exist are refused before the test split is opened.
            pivot_table.build(score_runs(), by, score, runs, bias)
        evaluations = score_runs(final=final)
    pivots = pivot_table.build(evaluations, by, score, runs, bias)
    study = Study.open(recipe)
    attacks = read_robustness(study, evaluations)
    if json:
        tables = {"pivots": console.plain(pivots), "attacks": console.plain(list(attacks.values()))}
        console.as_json(_evaluations(evaluations) | tables)
    elif by:
        pivot_table.pivots(pivots)
    else:
        lines = _extra_lines(study, evaluations, attacks)
        run_table.evaluations(evaluations, per_class, groups, bias, extra_lines=lines)
        if output_settings().verbose:
            print_all(list(attacks.values()))


def _extra_lines(
    study: "Study", evaluations: "list[Evaluation]", attacks: "dict[str, RobustnessEvaluation]"
) -> dict[str, list[str]]:
    """Return target → lines about stored results on attacked and on corrupted images."""
    from featx.cli.attack_table import attack_lines
    from featx.cli.corruption_table import corruption_lines

    lines = attack_lines(study, evaluations, attacks)
    for target, line in corruption_lines(study, list(lines)).items():
        lines[target].append(line)
    return lines


def _evaluations(evaluations: "list[Evaluation]") -> dict[str, Any]:
    """Return evaluations as one JSON object: scores are fields of their rows, the first target's chosen run on top."""
    targets = [asdict(target) for target in evaluations]
    for target in targets:
        target["rows"] = [
            {**row["scores"], **{name: value for name, value in row.items() if name != "scores"}}
            for row in target["rows"]
        ]
    first_target = targets[0]
    score = "mae" if first_target["kind"] == "numbers" else "accuracy"
    best = next(row[score] for row in first_target["rows"] if row["run"] == first_target["chosen"])
    top = {
        "chosen": first_target["chosen"],
        "part": first_target["part"],
        score: best,
        "n_openings": first_target["n_openings"],
    }
    return {"targets": targets, **top}


def report(
    assets: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for all figures as PNG and SVG files and all tables as CSV files.",
            show_default="none",
        ),
    ] = None,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Write one self-contained report.html, and the model card of each run.

    Examples: featx report -r pipelines/solar_cells.toml · featx report --assets figures
    """
    import featx
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        files = featx.report(recipe, assets=assets, progress=progress)
    if json:
        console.as_json(console.plain(files))
        return
    if assets is not None:
        console.say(f"{len(files.assets)} figures and tables in {assets}")
    console.result(files.report)


def export(
    run: Annotated[str, typer.Argument(help="A run, or the beginning of its name.", autocompletion=complete_run)],
    file_format: Annotated[str, typer.Option("--format", help="onnx, skops or joblib.")] = "onnx",
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")] = Path(),
    precision: Annotated[
        str | None,
        typer.Option(help="With --refit: fp32, for a head on embeddings in bf16 or fp16.", show_default="the run's"),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the head again on embeddings in --precision, and export that.")
    ] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a run for other software, with an export card beside it.

    Examples: featx export xgboost · featx export logreg --format skops --out models/ ·
    featx export svm --precision fp32 --refit
    """
    import featx
    from featx.cli import console
    from featx.cli.export_output import print_exports
    from featx.cli.progress_bars import watching

    with watching() as progress:
        exports = featx.export(run, file_format, recipe, out=out, precision=precision, refit=refit, progress=progress)
    console.as_json({"files": console.plain(exports)}) if json else print_exports(exports)


def run(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe.", show_default="./featx.toml")] = None,
    recipe_option: RecipeOption = None,
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

    Examples: featx run · featx run pipelines/solar_cells.toml --final ·
    featx run pipelines/solar_cells.toml --repeats 10 · featx run pipelines/earth.toml --preset small
    """
    from featx.cli import console
    from featx.cli.extraction_output import raise_failures
    from featx.cli.progress_bars import watching
    from featx.cli.stage_lines import StagePrinter
    from featx.specs.recipe import load_recipe
    from featx.workflow.run import stages

    if recipe is not None and recipe_option is not None:
        raise typer.BadParameter(f"found the recipes {recipe} and {recipe_option}, expected one")
    check_user(user, final)
    recipe = recipe or recipe_option
    loaded_recipe, cluster = load_recipe(recipe), cluster_of(scheduler, workers_local)
    loaded_recipe = loaded_recipe if preset is None else loaded_recipe.with_preset(preset)
    printer = StagePrinter()
    with watching() as progress:
        finished_stages = []
        steps = stages(
            loaded_recipe,
            final=final,
            repeats=repeats,
            engine=loaded_recipe.engine(device=device),
            cluster=cluster,
            user=user,
            tensorboard=tensorboard,
            progress=progress,
        )
        extraction = None
        for stage, result in steps:
            finished_stages.append({"stage": stage, "result": console.plain(result)})
            extraction = result if stage == "extract" else extraction
            if not json:
                printer.add(stage, result)
    if json:
        console.as_json({"stages": finished_stages})
    else:
        printer.close()
    if extraction is not None:
        raise_failures(extraction)
