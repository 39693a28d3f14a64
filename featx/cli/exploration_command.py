"""``featx explore``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.exploration.explore import Exploration
    from featx.reports.exploration.explore_page import WrittenExploration


def explore(
    source: Annotated[
        str | None,
        typer.Argument(help="Images to explore without a recipe, recognised as by featx init.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The folder to write to.", show_default="the study's folder")
    ] = None,
    save_inputs: Annotated[
        Path | None,
        typer.Option(
            "--save-inputs",
            metavar="DIR",
            help="Write some images as the networks see them to this folder, as PNG files.",
            show_default=False,
        ),
    ] = None,
    max_images: Annotated[
        int | None,
        typer.Option(
            "--max-images",
            min=1,
            metavar="N",
            help="Explore N images, evenly spaced in the order of the source.",
            show_default="all",
        ),
    ] = None,
    projection: Annotated[
        str, typer.Option("--projection", metavar="tsne|umap|pca", help="Method of the map of the embedding.")
    ] = "tsne",
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Look at images and labels before training, better after 'featx extract': write explore.html and tables.

    Examples: featx explore · featx explore photos/ · featx explore --max-images 5000 --json
    """
    from featx.cli import console
    from featx.cli.progress_bars import watching
    from featx.exploration.explore import explore_source
    from featx.exploration.image_loading import open_source
    from featx.exploration.network_inputs import save_inputs as write_inputs
    from featx.exploration.projections import check_method
    from featx.reports.exploration.explore_page import check_writable, write_exploration

    method = check_method(projection)
    opened_source = open_source(source, recipe)
    folder = out or opened_source.study.folder
    for place in (folder, *([save_inputs] if save_inputs else ())):
        check_writable(place)
    with watching() as progress:
        exploration = explore_source(opened_source, max_images, progress, method)
    report = write_exploration(exploration, folder)
    if save_inputs is not None:
        write_inputs(exploration.results["network_inputs"], save_inputs)
    console.as_json(asdict(report)) if json else _print(exploration, report, source, recipe)


def _print(exploration: "Exploration", report: "WrittenExploration", source: str | None, recipe: Path | None) -> None:
    from featx.cli.command_summary import DETAIL, Summary

    sample = "" if report.n_images == exploration.images.n_found else f" of {exploration.images.n_found}"
    with Summary() as summary:
        summary.say(f"{report.n_images}{sample} images explored; {len(report.tables)} tables, as CSV and Parquet files")
        summary.result(report.page)
        for highlight in report.highlights:
            # What makes results wrong is left out last.
            summary.say(f"- {highlight.text}", 1 + highlight.rank)
        if not report.highlights:
            summary.say("no highlights")
        summary.say(f"tables: {report.folder}", DETAIL)
        for note in report.notes:
            summary.say(f"note: {note}", DETAIL)
        summary.next_step(_next_command(exploration, source))


def _next_command(exploration: "Exploration", source: str | None) -> str:
    from shlex import quote

    from featx.cli.output_settings import with_recipe_option

    images = exploration.images
    extract = with_recipe_option("featx extract")
    if not images.is_extracted:
        return with_recipe_option(f"featx extract {quote(source)}") if source else extract
    if not images.truths:
        export = with_recipe_option("featx cache export EMBEDDING --to vectors.npz")
        return f"{export}; when the labels of the recipe are corrected, {extract}"
    has_runs = any(images.runs(target) for target in images.truths)
    return with_recipe_option("featx report" if has_runs else "featx fit")
