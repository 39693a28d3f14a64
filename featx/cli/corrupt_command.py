"""``featx corrupt``."""

from typing import Annotated, Any

import typer

from featx.cli.completions import complete_run, complete_target
from featx.cli.options import JsonOption, RecipeOption


def corrupt(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or beginnings of their names.", autocompletion=complete_run, show_default="all"),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="A kind of corruption such as fog, or a group: noise, blur, weather, light, compression, geometry, "
            "probe, imagenet-c (repeatable).",
            show_default="the recipe's, or all",
        ),
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option(
            "--severity",
            min=1,
            max=5,
            metavar="N",
            help="Severity from 1 (weakest) to 5 (repeatable).",
            show_default="the recipe's, or 1 to 5",
        ),
    ] = None,
    n_images: Annotated[
        int | None,
        typer.Option(
            "--images",
            min=1,
            metavar="N",
            help="Number of images; each class keeps its share.",
            show_default="the recipe's, or 100",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="Run that the mean corruption error is relative to.",
            autocompletion=complete_run,
            show_default="the recipe's, or none",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", help="Target.", autocompletion=complete_target, show_default="that of the runs, or the only one"
        ),
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Use test images; this opens the split and is logged.")
    ] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Score runs on images with noise, blur, weather and other corruptions.

    Examples: featx corrupt · featx corrupt svm --kind noise --kind fog --images 200 · featx corrupt --reference logreg
    """
    from featx.cli import console
    from featx.cli.corruption_table import plain_results, print_corruptions
    from featx.cli.progress_bars import watching
    from featx.robustness.corrupt import corrupt as corrupt_images
    from featx.specs.recipe import load_recipe

    loaded_recipe = load_recipe(recipe)
    changes: dict[str, Any] = {"kinds": kind, "severities": severity, "images": n_images, "reference": reference}
    with watching() as progress:
        spec = loaded_recipe.corruption_spec(**changes)
        results = corrupt_images(loaded_recipe, spec=spec, runs=runs, target=target, final=final, progress=progress)
    console.as_json(plain_results(results)) if json else print_corruptions(results)
