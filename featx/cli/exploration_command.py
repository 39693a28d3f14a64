"""``featx explore``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.exploration.explore import Exploration
    from featx.reports.exploration.explore_page import WrittenExploration

# Number of lines of the whole summary, and of those that are not about what stands out.
MAX_LINES, N_FRAME_LINES = 12, 5


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
            "--max-images", min=1, metavar="N", help="Explore an even sample of N images.", show_default="all"
        ),
    ] = None,
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
    from featx.reports.exploration.explore_page import check_writable, write_exploration

    opened = open_source(source, recipe)
    folder = out or opened.study.folder
    for place in (folder, *([save_inputs] if save_inputs else ())):
        check_writable(place)
    with watching() as progress:
        exploration = explore_source(opened, max_images, progress)
    written = write_exploration(exploration, folder)
    if save_inputs is not None:
        write_inputs(exploration.results["network_inputs"], save_inputs)
    console.as_json(asdict(written)) if json else _print(exploration, written, source, recipe)


def _print(exploration: "Exploration", written: "WrittenExploration", source: str | None, recipe: Path | None) -> None:
    from featx.cli import console

    sample = "" if written.n_images == exploration.images.n_found else f" of {exploration.images.n_found}"
    console.say(f"{written.n_images}{sample} images explored; page and tables:")
    console.say(f"  {written.page}")
    console.say(f"  {written.folder}/ ({len(written.tables)} tables, each as CSV and Parquet)")
    texts = [highlight.text for highlight in written.highlights]
    n_lines = 0
    for number, text in enumerate(texts):
        lines = _wrap(text)
        if n_lines + len(lines) > MAX_LINES - N_FRAME_LINES:
            console.say(f"  … and {len(texts) - number} more on the page")
            break
        for line in lines:
            console.say(line)
        n_lines += len(lines)
    if not texts:
        console.say("nothing stands out")
    console.say(f"next: {_next_command(exploration, source, recipe)}")


def _wrap(text: str) -> list[str]:
    """Return a highlight in lines that are broken between words."""
    from textwrap import wrap

    from featx.cli.console import MAX_LINE_CELLS
    from featx.text.escaping import escape_text

    return wrap(escape_text(text), MAX_LINE_CELLS, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def _next_command(exploration: "Exploration", source: str | None, recipe: Path | None) -> str:
    from shlex import quote

    images = exploration.images
    option = f" -r {quote(str(recipe))}" if recipe else ""
    if not images.is_extracted:
        named = f" {quote(source)}" if source else ""
        return f"featx extract{named}{option}"
    has_runs = any(images.runs(target) for target in images.truths)
    return f"featx report{option}" if has_runs else f"featx fit{option}"
