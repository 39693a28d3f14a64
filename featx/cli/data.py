"""``featx init`` and ``featx extract``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from featx.cli.options import DeviceOption, ForceOption, JsonOption, RecipeOption


def init(
    source: Annotated[Path, typer.Argument(help="A folder of images, or a label table beside them.")],
    labels: Annotated[Path | None, typer.Option(help="The label table, if it is not found by itself.")] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    recipe: Annotated[Path, typer.Option("-r", "--recipe", help="The recipe to write.")] = Path("featx.toml"),
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Look at images and labels, say what was found, write a recipe.

    Examples: featx init photos/ · featx init data/ --labels data/labels.csv --target Male
    """
    import featx
    from featx.cli import show

    found = featx.init(source, labels=labels, target=target, recipe=recipe, force=force)
    show.as_json(asdict(found)) if json else show.finding(found)


def extract(
    source: Annotated[Path | None, typer.Argument(help="Without a recipe: images to write one for first.")] = None,
    recipe: RecipeOption = None,
    backbone: Annotated[
        list[str] | None, typer.Option("--backbone", help="Embed with this instead of the recipe's (repeatable).")
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Embed what is not in the cache yet.

    Examples: featx extract · featx extract photos/ · featx extract --backbone resnet50
    """
    import featx
    from featx.cli import show
    from featx.cli.progress import watching
    from featx.errors import DataError

    if source is not None:
        recipe = recipe or Path("featx.toml")
        if recipe.exists():
            raise DataError(
                f"{recipe} exists; run 'featx extract' without SOURCE, or 'featx init SOURCE --force' first"
            )
        found = featx.init(source, recipe=recipe)
        if not json:
            show.finding(found)
    with watching() as watch:
        done = featx.extract(recipe, backbones=backbone or (), device=device, watch=watch)
    show.as_json(asdict(done)) if json else show.extraction(done)
    if done.n_missing:
        first = next(name for name, outcome, _ in done.failures if outcome == "missing")
        raise DataError(
            f"{done.n_missing} of {done.n_found} images are named in the labels and not there, first {first!r}; "
            "the others are embedded: mend the labels or go on without"
        )
