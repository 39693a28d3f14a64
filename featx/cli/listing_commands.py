"""``featx show``, ``featx backbones``, ``featx heads`` and ``featx doctor``."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.completions import complete_run
from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.embeddings.doctor import Diagnosis


def show(
    path: Annotated[
        str,
        typer.Argument(help="A recipe, a run folder, or the beginning of a run's name.", autocompletion=complete_run),
    ],
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Print a recipe with all its defaults as TOML, or a page about a finished run.

    Examples: featx show featx.toml · featx show svm-class · featx show runs/featx/svm-class-1a2b3c4d
    """
    from featx.cli.console import as_json

    is_recipe = path.rpartition("#")[0].endswith(".toml") or path.endswith(".toml")
    if json:
        from featx.predictors.description import describe
        from featx.study.run_listing import find_finished_run

        as_json(describe(path if is_recipe or Path(path).exists() else find_finished_run(path, recipe).path))
    elif is_recipe:
        from featx.specs.recipe import load_recipe
        from featx.specs.recipe_toml import recipe_toml

        typer.echo(recipe_toml(load_recipe(path)), nl=False)
    else:
        from featx.cli.run_page import print_run
        from featx.predictors.description import describe_run

        print_run(describe_run(path, recipe))


def backbones(
    name: Annotated[str | None, typer.Argument(help="List the blocks and layers of this backbone.")] = None,
    json: JsonOption = False,
) -> None:
    """List the backbones: embedding size, input size, parameters, availability of weights.

    Examples: featx backbones · featx backbones resnet50 · featx backbones timm:convnext_tiny
    """
    from featx.cli import console
    from featx.cli.console import Column
    from featx.networks.available import list_backbones, list_layers

    if name is None:
        rows = [asdict(row) for row in list_backbones()]
        if json:
            console.as_json({"backbones": rows})
            return
        columns: list[str | Column] = [
            "name",
            Column("d", 1),
            Column("size_px", 4),
            Column("parameters", 2),
            Column("weights", 3, True),
        ]
        cells = [(r["name"], r["n_features"], r["size_px"], f"{r['n_parameters']:,}", r["weights"]) for r in rows]
        console.table("", columns, cells)
        console.say("other backbones: torchvision:NAME or timm:NAME; 'featx backbones NAME' lists blocks and layers")
        return
    outline = list_layers(name)
    if json:
        console.as_json({"backbone": name, "blocks": outline.blocks, "layers": outline.layers})
        return
    layers = [(layer["name"], layer["kind"], layer["shape"], f"{layer['n_parameters']:,}") for layer in outline.layers]
    console.table("", ["layer", Column("kind", is_text=True), "shape", "parameters"], layers)
    if not outline.blocks:
        console.say(f"no blocks: {outline.reason_without_blocks}")
        return
    block_columns: list[str | Column] = [
        Column("layers", 4, True),
        Column("shape", 1),
        "parameters",
        Column("operations", 5),
    ]
    console.table("", ["block", *block_columns, Column("share", 2)], [_block_cells(block) for block in outline.blocks])


def _block_cells(block: dict[str, Any]) -> tuple[str, ...]:
    operations = f"{block['n_operations'] / 1e6:,.0f} M"
    return (
        block["name"],
        block["layers"],
        block["shape"],
        f"{block['n_parameters']:,}",
        operations,
        f"{block['share']:.0%}",
    )


def heads(json: JsonOption = False) -> None:
    """List the heads that can be fitted.

    Example: featx heads
    """
    from featx.cli.console import Column, as_json, say_wrapped, table
    from featx.registry import HEADS

    rows = [{"name": name, "about": _describe_head(HEADS.get(name).__doc__)} for name in HEADS.names()]
    if json:
        as_json({"heads": rows})
        return
    table("", ["name", Column("about", is_text=True)], [(row["name"], row["about"]) for row in rows])
    say_wrapped("next", "featx fit --head NAME")


def doctor(
    precision: Annotated[
        bool, typer.Option("--precision", help="Compare runtimes and precisions on the recipe's train images.")
    ] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Describe this machine; with --precision, measure each runtime and precision on the recipe's images.

    Examples: featx doctor · featx doctor --precision
    """
    import featx
    from featx.cli import console
    from featx.cli.doctor_table import print_diagnosis
    from featx.cli.progress_bars import watching

    with watching() as progress:
        diagnosis = featx.doctor(recipe, precision=precision, progress=progress)
    console.as_json(_plain(diagnosis)) if json else print_diagnosis(diagnosis)


def _plain(diagnosis: "Diagnosis") -> dict[str, Any]:
    precision_checks = [
        vars(check) | {"deviation": check.deviation.model_dump()} for check in diagnosis.precision_checks
    ]
    return {"machine": dict(diagnosis.machine), "n_images": diagnosis.n_images, "precision_checks": precision_checks}


def _describe_head(docstring: str | None) -> str:
    """Return the first line of a head's docstring as a description: without "Return a"."""
    first_line = (docstring or "").strip().partition("\n")[0]
    description = re.sub(r"^Return (an? )?", "", first_line)
    return description[:1].upper() + description[1:]
