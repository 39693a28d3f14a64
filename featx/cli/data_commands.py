"""``featx init`` and ``featx extract``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from featx.cli.options import (
    DeviceOption,
    JsonOption,
    LocalOption,
    RecipeOption,
    SchedulerOption,
    cluster_of,
)

OnError = Literal["skip", "fail", "quarantine"]


def init(
    source: Annotated[
        str,
        typer.Argument(help="A folder, archive, array file or URL that holds images, or a label table beside them."),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PATTERN", help="The label table, or a pattern of the images' names: '{age:int}_{sex}'."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    recipe: Annotated[Path, typer.Option("-r", "--recipe", help="The recipe to write.")] = Path("featx.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing recipe.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print all files, folders and tables too.")] = False,
    json: JsonOption = False,
) -> None:
    """Inspect images and labels, report what was found, and write a recipe.

    Examples: featx init photos/ · featx init faces.zip --labels attributes.csv --target Male ·
    featx init tiles.h5 --explain
    """
    import featx
    from featx.cli import console
    from featx.cli.recognition_output import print_recognition

    recognition = featx.init(source, labels=labels, target=target, recipe=recipe, force=force)
    console.as_json(asdict(recognition)) if json else print_recognition(recognition, explain)


def extract(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE] [DIR]",
            help="SOURCE: images, for which a recipe is written if there is none yet. DIR: the quarantine folder.",
        ),
    ] = None,
    recipe: RecipeOption = None,
    backbone: Annotated[
        list[str] | None, typer.Option("--backbone", help="Backbone to use instead of the recipe's (repeatable).")
    ] = None,
    device: DeviceOption = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of decoding processes.", show_default="the recipe's, else one per core, at most 4"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images per decoding task; does not change any result.", show_default="the recipe's, else 16"
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="auto, torch, compile, onnx or openvino.", show_default="the recipe's, else the fastest"),
    ] = None,
    drop_unlabelled: Annotated[
        bool, typer.Option("--drop-unlabelled", help="Leave out images without a label.")
    ] = False,
    on_error: Annotated[
        OnError,
        typer.Option("--on-error", help="What to do with unreadable images; quarantine moves damaged ones to DIR."),
    ] = "skip",
    max_failures: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Exit with code 3 if more images fail.", show_default="no limit")
    ] = None,
    outcomes: Annotated[
        Path | None, typer.Option(help="Write each file's outcome to this CSV.", show_default=False)
    ] = None,
    scheduler: SchedulerOption = None,
    workers_local: LocalOption = None,
    json: JsonOption = False,
) -> None:
    """Compute the embeddings that are not in the cache yet.

    Examples: featx extract · featx extract photos/ · featx extract --on-error quarantine bad/ --max-failures 2% ·
    featx extract --scheduler tcp://10.0.0.1:8786
    """
    import featx
    from featx.cli import console
    from featx.cli.extraction_output import print_extraction, raise_failures
    from featx.cli.progress_bars import watching
    from featx.cli.recognition_output import print_recognition
    from featx.embeddings.outcomes import exceeds_limit, write_outcomes
    from featx.specs.recipe import load_recipe

    source, policy = _parse_places(places or [], on_error)
    cluster = cluster_of(scheduler, workers_local)
    if max_failures is not None:
        exceeds_limit(max_failures, 0, 1)
    if source is not None:
        recipe = recipe or Path("featx.toml")
        recognition = None if _is_recipe_of(source, recipe) else featx.init(source, recipe=recipe)
        if recognition is not None and not json:
            print_recognition(recognition)
    loaded_recipe = load_recipe(recipe)
    with watching() as progress:
        result = featx.extract(
            loaded_recipe,
            backbones=backbone or (),
            engine=loaded_recipe.engine(device=device, workers=workers, batch_size=batch_size, runtime=runtime),
            drop_unlabelled=drop_unlabelled,
            on_error=policy,
            cluster=cluster,
            progress=progress,
        )
    if outcomes is not None:
        write_outcomes(outcomes, result.outcomes_file)
    console.as_json(asdict(result)) if json else print_extraction(result)
    raise_failures(result, max_failures)


def _is_recipe_of(source: str, recipe: Path) -> bool:
    """Return whether a recipe exists, with which the extraction of a source continues.

    Raises
    ------
    DataError
        The recipe reads another source.
    """
    from featx.errors import DataError
    from featx.locations import reads_source
    from featx.specs.recipe import load_recipe

    if not recipe.exists():
        return False
    loaded_recipe = load_recipe(recipe)
    if not reads_source(loaded_recipe.data, loaded_recipe.folder, source):
        raise DataError(
            f"{recipe} exists and reads {loaded_recipe.data.source!r}, found {source!r}; name another recipe with "
            "'-r', or run 'featx init SOURCE --force' first"
        )
    return True


def _parse_places(places: list[str], on_error: OnError) -> "tuple[str | None, Literal['skip', 'fail'] | Path]":
    """Return the source, where one is named, and what is done about unreadable images: the last place is DIR."""
    from featx.errors import DataError

    policy: Literal["skip", "fail"] | Path
    if on_error != "quarantine":
        sources, policy = places, on_error
    elif places:
        sources, policy = places[:-1], Path(places[-1])
    else:
        raise DataError("quarantine needs a folder to move files to: featx extract --on-error quarantine DIR")
    if len(sources) > 1:
        raise DataError(f"found {len(sources)} sources, expected one: {' '.join(map(repr, sources))}")
    return (sources[0] if sources else None), policy
