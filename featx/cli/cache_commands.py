"""``featx cache ls``, ``verify``, ``compact``, ``gc`` and ``export``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.cache.verification import VerificationResult

LOST_SHOWN = 10

app = typer.Typer(
    name="cache",
    help="List the cache of embeddings, check and mend it, join its small segments, clear it up, export from it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

CacheOption = Annotated[
    str | None,
    typer.Option("--cache", help="The folder or URL of stores.", show_default="the recipe's, else $FEATX_CACHE"),
]
StoresArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[STORE]...", help="How their names begin.", show_default="all")
]


@app.command()
def ls(recipe: RecipeOption = None, cache: CacheOption = None, json: JsonOption = False) -> None:
    """List the stores of embeddings: what they hold, what they take, and which recipes need them.

    Examples: featx cache ls · featx cache ls --cache /big/disk/cache --json
    """
    import featx.cache
    from featx.cli import console
    from featx.embeddings.space import gigabytes

    found = featx.cache.ls(recipe, cache=cache)
    if json:
        console.as_json({"stores": console.plain(found), "n_bytes": sum(one.n_bytes for one in found)})
        return
    columns = ["  store", "embedding", "d", "images", "rows", "segments", "size", "changed (UTC)", "needed by"]
    lines = [
        (
            f"  {one.store}",
            one.embedding,
            f"{one.n_features} {one.dtype}",
            one.n_images,
            one.n_rows,
            one.n_segments,
            gigabytes(one.n_bytes),
            one.changed[:16].replace("T", " "),
            ", ".join(one.recipes) or "–",
        )
        for one in found
        if not one.problem
    ]
    console.table("", columns, lines)
    for one in found:
        if one.problem:
            console.say(f"  cannot be opened: {one.problem}")
    console.say(f"{len(found)} stores, {gigabytes(sum(one.n_bytes for one in found))}")


@app.command()
def verify(
    stores: StoresArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Embed broken rows again; their images have to be there.")
    ] = False,
    recipe: RecipeOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Compare all checksums and name the images whose rows are broken; --repair embeds just those again.

    Examples: featx cache verify · featx cache verify --repair · featx cache verify efficientnet_lite0 --json
    """
    import featx.cache
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        found = featx.cache.verify(recipe, cache=cache, stores=stores or (), repair=repair, progress=progress)
    if json:
        console.as_json({"stores": console.plain(found), "n_lost": sum(one.n_lost for one in found)})
    else:
        for one in found:
            _say_checked(one, repair)
    _complain(found, repair)


def _say_checked(found: "VerificationResult", repair: bool) -> None:
    from featx.cli import console

    if found.is_whole:
        console.say(f"{found.store}: {found.n_rows} rows in {found.n_segments} segments, all as they were written")
        return
    problem = found.problem or f"{len(found.damages)} of {found.n_segments} segments are damaged"
    console.say(f"{found.store}: {problem}")
    for damage in found.damages:
        console.say(
            f"  {damage.segment}: {', '.join(damage.problems)}; {damage.n_lost} rows lost, {damage.n_good} good"
        )
    for name in found.lost_ids[:LOST_SHOWN]:
        console.say(f"    {name}")
    if len(found.lost_ids) > LOST_SHOWN:
        console.say(f"    … {len(found.lost_ids) - LOST_SHOWN} more (--json lists all)")
    if repair:
        console.say(f"  mended; {found.n_embedded} of {found.n_lost} rows embedded again")


def _complain(found: "Sequence[VerificationResult]", repair: bool) -> None:
    from featx.errors import CorruptError

    damaged = [one for one in found if not one.is_whole]
    if damaged and not repair:
        raise CorruptError(f"{len(damaged)} of {len(found)} stores are damaged; run 'featx cache verify --repair'")
    left = sum(one.n_lost - one.n_embedded for one in damaged)
    if left:
        raise CorruptError(f"{left} rows are not embedded again; run 'featx extract' for the recipe that needs them")


@app.command()
def compact(
    stores: StoresArgument = None, recipe: RecipeOption = None, cache: CacheOption = None, json: JsonOption = False
) -> None:
    """Join small segments and drop rows that stand twice, while others read and write.

    Examples: featx cache compact · featx cache compact efficientnet_lite0
    """
    import featx.cache
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        found = featx.cache.compact(recipe, cache=cache, stores=stores or (), progress=progress)
    if json:
        console.as_json({"stores": console.plain(found)})
        return
    for one in found:
        twice = f", {one.n_removed} rows that stood twice are gone" if one.n_removed else ""
        console.say(f"{one.store}: {one.n_rows} images in {one.n_after} segments (before: {one.n_before}){twice}")


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    recipe: RecipeOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Remove what killed writers left, and embeddings that no recipe in sight needs.

    A recipe is in sight where its folder lies under runs/ ($FEATX_RUNS). Examples: featx cache gc --dry-run · featx
    cache gc --yes
    """
    import featx.cache
    from featx.cli import console
    from featx.embeddings.space import gigabytes
    from featx.text.escaping import escaped

    def agree(names: Sequence[str]) -> bool:
        for name in names if not yes else ():
            typer.echo(escaped(f"  {name}"), err=True)
        return yes or typer.confirm(f"Remove these {len(names)} stores, which no recipe in sight needs?", err=True)

    done = featx.cache.gc(recipe, cache=cache, dry_run=dry_run, agree=agree)
    if json:
        console.as_json(asdict(done))
        return
    fate = "would be removed" if dry_run else "removed" if done.is_removed else "kept"
    console.say(f"leftovers of dead writers: {len(done.leftovers)}, {'would be removed' if dry_run else 'removed'}")
    for name in done.unneeded:
        console.say(f"  {name}: {fate}")
    if done.n_recipes:
        console.say(f"stores that none of {done.n_recipes} recipes in sight needs: {len(done.unneeded)}, {fate}")
    else:
        console.say("no recipe is in sight: stores are kept; name the folder of runs with FEATX_RUNS")
    console.say(f"{gigabytes(done.n_bytes)} in all")


@app.command()
def export(
    embedding: Annotated[str, typer.Argument(help="An embedding of the recipe, or how a store's name begins.")],
    to: Annotated[Path, typer.Option("--to", help="FILE.npz, FILE.h5 or FILE.parquet.", show_default=False)],
    recipe: RecipeOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Write vectors with their images' ids and digests as NumPy, HDF5 or Parquet.

    Examples: featx cache export efficientnet_lite0 --to vectors.npz · featx cache export blocks.4 --to vectors.parquet
    """
    import featx.cache
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        done = featx.cache.export(embedding, to, recipe, cache=cache, progress=progress)
    console.as_json(asdict(done)) if json else console.say(
        f"{done.file}: {done.n} × {done.n_features} of {done.embedding}"
    )
