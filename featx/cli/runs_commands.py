"""``featx runs ls``, ``show``, ``rm`` and ``rename``."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.command_line import Command, CommandGroup
from featx.cli.completions import complete_run
from featx.cli.options import JsonOption, RecipeOption
from featx.cli.output_settings import with_output_options, with_recipe_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featx.study.run_folder import RunFolder
    from featx.study.run_listing import RunSummary

app = typer.Typer(
    name="runs",
    cls=CommandGroup,
    help="List, describe, remove and rename finished runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NO_RUNS = "no finished run lies here; name the recipe with '-r PATH', or a preset with '-r PATH#PRESET'"
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run, the beginning of its name, or its folder.", autocompletion=complete_run),
]


@app.command(cls=Command)
@with_output_options
def ls(recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """List finished runs, by outer split if there are several: scores, size, time, state, settings, weights and seed.

    Examples: featx runs ls · featx runs ls -r faces.toml --json
    """
    from featx.cli import console
    from featx.study.run_listing import list_runs

    runs = list_runs(recipe)
    if json:
        console.as_json({"runs": console.plain(runs), "n_bytes": sum(run.n_bytes for run in runs)})
        return
    from featx.cli.run_page import print_runs

    print_runs(runs, _next_step(recipe, runs))


def _next_step(recipe: Path | None, runs: "Sequence[RunSummary]") -> str:
    """Return the command that shows a run or, if the list is empty, where runs may be."""
    from featx.specs.recipe import has_recipe, load_recipe
    from featx.study.variant_runs import describe_outer_runs, has_finished_runs, outer_recipes_with_runs

    loaded_recipe = load_recipe(recipe) if recipe is not None or has_recipe() else None
    if not runs:
        outer_runs = "" if loaded_recipe is None else describe_outer_runs(loaded_recipe)
        return outer_runs or NO_RUNS
    if loaded_recipe is None:
        # A run is found by its folder without a recipe.
        return f"featx runs show {shlex.quote(str(Path(runs[0].path).parent))}/RUN"
    if not has_finished_runs(loaded_recipe):
        # All runs are those of outer splits, of which each is named by its own recipe.
        return f"featx runs show RUN -r {outer_recipes_with_runs(loaded_recipe)[0].reference}"
    return with_recipe_option("featx runs show RUN")


@app.command(cls=Command)
@with_output_options
def show(run: RunArgument, recipe: RecipeOption = None, json: JsonOption = False) -> None:
    """Describe one run: settings, scores, inputs, warnings and versions.

    Example: featx runs show svm
    """
    from featx.cli import console
    from featx.cli.run_page import print_run
    from featx.predictors.description import describe_run

    description = describe_run(run, recipe)
    console.as_json(console.plain(description.summary)) if json else print_run(description)


@app.command(cls=Command)
@with_output_options
def rm(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs, or the beginnings of their names.", autocompletion=complete_run),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Remove runs after confirmation; ensembles of which they are members become stale.

    Examples: featx runs rm svm-class-1a2b · featx runs rm rf xgboost --yes
    """
    from featx.cli import console
    from featx.cli.run_page import size_text
    from featx.study.run_changes import ensembles_of, remove_runs
    from featx.study.run_listing import find_finished_run

    matches = list({run.path.resolve(): run for run in (find_finished_run(name, recipe) for name in runs)}.values())
    if not yes:
        _confirm(matches, ensembles_of(matches))
    result = remove_runs(matches)
    if json:
        console.as_json(asdict(result))
        return
    console.say(f"removed {', '.join(result.removed)} ({size_text(result.n_bytes)})")
    for ensemble, members in result.stale_ensembles.items():
        console.say(f"warning: {_describe_loss(ensemble, members)}; remove it, or run 'featx ensemble' again")


def _confirm(runs: "Sequence[RunFolder]", ensembles: dict[str, list[str]]) -> None:
    """Ask whether the runs may be removed; exit if not."""
    from featx.text.sanitising import sanitise_text

    lines = [run.name for run in runs]
    lines += [_describe_loss(ensemble, members) for ensemble, members in ensembles.items()]
    for line in lines:
        typer.echo(sanitise_text(f"  {line}"), err=True)
    noun = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    try:
        typer.confirm(f"Remove {noun}?", abort=True, err=True)
    except typer.Abort:
        typer.echo("\nnothing is removed; '--yes' removes without a question", err=True)
        raise typer.Exit(1) from None


def _describe_loss(ensemble: str, members: list[str]) -> str:
    return f"ensemble {ensemble} needs {', '.join(members)} and becomes stale"


@app.command(cls=Command)
@with_output_options
def rename(
    run: RunArgument,
    name: Annotated[str, typer.Argument(help="The new name, without the key.")],
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Give a run another name; the key at its end stays, so that 'featx fit' finds the run again.

    Example: featx runs rename svm-class best
    """
    from featx.cli import console
    from featx.study.run_changes import rename_run
    from featx.study.run_listing import find_finished_run

    run_folder = find_finished_run(run, recipe)
    renamed_folder = rename_run(run_folder, name)
    if json:
        console.as_json({"run": renamed_folder.name, "path": str(renamed_folder.path), "old_name": run_folder.name})
        return
    console.say(f"{run_folder.name} is called {renamed_folder.name} now")
