"""``featx smooth``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.attack_command import parse_fraction
from featx.cli.completions import complete_run
from featx.cli.options import ForceOption, JsonOption, RecipeOption, TargetOption
from featx.cli.output_settings import with_recipe_option

if TYPE_CHECKING:
    from featx.robustness.smooth import SmoothingResult
    from featx.specs.recipe import Recipe
    from featx.specs.smoothing import SmoothingSpec


def smooth(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, or the beginnings of their names.", autocompletion=complete_run, show_default="the recipe's"
        ),
    ] = None,
    sigma: Annotated[
        str | None,
        typer.Option(
            help="Standard deviation of the noise, for pixels in [0, 1].", show_default="the recipe's, or 0.25"
        ),
    ] = None,
    n0: Annotated[
        int | None,
        typer.Option(
            "--n0",
            min=1,
            metavar="N",
            help="Noisy copies that choose a prediction.",
            show_default="the recipe's, or 100",
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=1, metavar="N", help="Further copies that certify it.", show_default="the recipe's, or 1000"
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Largest probability of a wrong certificate.", show_default="the recipe's, or 0.001"),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, help="Number of certified val images.", show_default="the recipe's, or 200"),
    ] = None,
    noise_at: Annotated[
        str | None, typer.Option("--noise-at", help="network or picture.", show_default="the recipe's, or network")
    ] = None,
    recipe: RecipeOption = None,
    target: TargetOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Classify images by votes over noisy copies, and certify a radius within which no attack changes the class.

    Examples: featx smooth · featx smooth logreg --sigma 0.25 --images 100
    """
    import featx
    from featx.cli import console
    from featx.cli.progress_bars import watching
    from featx.specs.recipe import load_recipe

    loaded_recipe = load_recipe(recipe)
    options = {"n0": n0, "n": n, "alpha": alpha, "images": images, "noise_at": noise_at, "target": target}
    if sigma is not None:
        options["sigma"] = parse_fraction(sigma, "--sigma")
    specs = _specs(loaded_recipe, runs or (), {name: value for name, value in options.items() if value is not None})
    with watching() as progress:
        results = featx.smooth(loaded_recipe, specs=specs, force=force, progress=progress)
    console.as_json({"runs": console.plain(results)}) if json else print_smoothed(results)


def _specs(recipe: "Recipe", runs: Sequence[str], options: dict[str, Any]) -> "list[SmoothingSpec]":
    """Return the specs of the named runs, or those of the recipe with the options in place of its values.

    Raises
    ------
    DataError
        No run is named, neither here nor in the recipe.
    """
    from featx.errors import DataError
    from featx.specs.smoothing import SmoothingSpec
    from featx.specs.validation import build_spec

    if not (runs or recipe.smoothing):
        raise DataError("no run to smooth: name one, as in 'featx smooth logreg', or add a [[smoothing]] to the recipe")
    fields = [{"run": run, "seed": recipe.seed} for run in runs]
    fields = fields or [spec.model_dump() for spec in recipe.smoothing]
    return [build_spec(SmoothingSpec, "smoothing", **item | options) for item in fields]


def print_smoothed(results: "Sequence[SmoothingResult]") -> None:
    """Print the smoothed runs."""
    from featx.cli import console
    from featx.cli.command_summary import Summary
    from featx.cli.table_layout import Column

    columns: list[str | Column] = ["run", Column("accuracy", 0), Column("certified", 2), Column("abstained", 1)]
    columns += [Column("radius in", 3, is_text=True), Column("time", 4)]
    rows = []
    for result in results:
        place = "decoded pixels" if result.side_px is None else f"pixels at {result.side_px} px"
        rows.append(
            (
                console.run_name(result.run, result.label),
                result.val_score,
                result.n_certified,
                f"{result.abstained:.0%}",
                place,
                f"{result.smoothing_s:.0f} s" if result.is_new else "already done",
            )
        )
    with Summary() as summary:
        summary.table("smoothed runs on val", columns, rows)
        summary.say("'featx evaluate' compares them with all runs and states the certified accuracy", 2)
        summary.next_step(with_recipe_option("featx evaluate"))
