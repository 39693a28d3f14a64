"""``featx cache ls``, ``verify``, ``compact``, ``gc`` and ``export``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.command_line import Command, CommandGroup
from featx.cli.completions import complete_embedding
from featx.cli.options import JsonOption, RecipeOption
from featx.cli.output_settings import with_output_options

if TYPE_CHECKING:
    from featx.cache.verification import VerificationResult

N_DAMAGED_SHOWN = 10

app = typer.Typer(
    name="cache",
    cls=CommandGroup,
    help="List, verify, repair, compact, clean up and export the cache of embeddings.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

CacheOption = Annotated[
    str | None,
    typer.Option("--cache", help="The folder or URL of stores.", show_default="the recipe's, else $FEATX_CACHE"),
]
StoresArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[STORE]...", help="Beginnings of the names of stores.", show_default="all"),
]


@app.command(cls=Command)
@with_output_options
def ls(recipe: RecipeOption = None, cache: CacheOption = None, json: JsonOption = False) -> None:
    """List the stores of embeddings: content, size, and the recipes that use them.

    Examples: featx cache ls · featx cache ls --cache /big/disk/cache --json
    """
    import featx.cache
    from featx.cli import console
    from featx.cli.console import Column
    from featx.embeddings.space import gigabytes

    stores = featx.cache.ls(recipe, cache=cache)
    if json:
        console.as_json({"stores": console.plain(stores), "n_bytes": sum(store.n_bytes for store in stores)})
        return
    columns: list[str | Column] = [
        *("  store", Column("embedding", 4, is_text=True), Column("d", 5), Column("images", 1), Column("rows", 6)),
        *(Column("segments", 7), Column("size", 0), Column("changed (UTC)", 3), Column("needed by", 2, is_text=True)),
    ]
    lines = [
        (
            f"  {store.store}",
            store.embedding,
            f"{store.n_features} {store.dtype}",
            store.n_images,
            store.n_rows,
            store.n_segments,
            gigabytes(store.n_bytes),
            store.changed[:16].replace("T", " "),
            ", ".join(store.recipes) or "–",
        )
        for store in stores
        if not store.problem
    ]
    console.table("", columns, lines)
    for store in stores:
        if store.problem:
            console.say(f"  cannot be opened: {store.problem}")
    console.say(f"{len(stores)} stores, {gigabytes(sum(store.n_bytes for store in stores))}")


@app.command(cls=Command)
@with_output_options
def verify(
    stores: StoresArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Embed damaged rows again; their images must be available.")
    ] = False,
    recipe: RecipeOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Verify all checksums and list the images with damaged rows; --repair embeds only those again.

    Examples: featx cache verify · featx cache verify --repair · featx cache verify efficientnet_lite0 --json
    """
    import featx.cache
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        results = featx.cache.verify(recipe, cache=cache, stores=stores or (), repair=repair, progress=progress)
    if json:
        console.as_json(
            {"stores": console.plain(results), "n_damaged_rows": sum(result.n_damaged_rows for result in results)}
        )
    else:
        for result in results:
            _say_checked(result, repair)
    _raise_if_damaged(results, repair)


def _say_checked(result: "VerificationResult", repair: bool) -> None:
    from featx.cli import console

    if result.is_whole:
        console.say(f"{result.store}: {result.n_rows} rows in {result.n_segments} segments, all checksums are right")
        return
    problem = result.problem or f"{len(result.damaged_segments)} of {result.n_segments} segments are damaged"
    console.say(f"{result.store}: {problem}")
    for damage in result.damaged_segments:
        console.say(
            f"  {damage.segment}: {', '.join(damage.problems)}; {damage.n_damaged_rows} rows damaged, "
            f"{damage.n_intact_rows} intact"
        )
    for name in result.damaged_ids[:N_DAMAGED_SHOWN]:
        console.say(f"    {name}")
    if len(result.damaged_ids) > N_DAMAGED_SHOWN:
        console.say(f"    {len(result.damaged_ids) - N_DAMAGED_SHOWN} more (--json lists all)")
    if result.repair_problem:
        console.say(f"  not repaired: {result.repair_problem}")
    elif repair:
        header_note = "header written again, " if result.problem else ""
        console.say(
            f"  repaired: {header_note}{result.n_embedded} of {result.n_damaged_rows} damaged rows embedded again"
        )


def _raise_if_damaged(results: "Sequence[VerificationResult]", repair: bool) -> None:
    from featx.errors import CorruptError

    damaged_stores = [result for result in results if not result.is_whole]
    if damaged_stores and not repair:
        raise CorruptError(
            f"{len(damaged_stores)} of {len(results)} stores are damaged; run 'featx cache verify --repair'"
        )
    unrepaired_stores = [result for result in damaged_stores if result.repair_problem]
    if unrepaired_stores:
        n_others = len(unrepaired_stores) - 1
        note = f" ({n_others} more stores could not be repaired)" if n_others else ""
        raise CorruptError(f"{unrepaired_stores[0].repair_problem}{note}")
    n_unrepaired_rows = sum(result.n_damaged_rows - result.n_embedded for result in damaged_stores)
    if n_unrepaired_rows:
        raise CorruptError(
            f"{n_unrepaired_rows} damaged rows could not be embedded again; "
            "run 'featx extract' with the recipe that uses them"
        )


@app.command(cls=Command)
@with_output_options
def compact(
    stores: StoresArgument = None, recipe: RecipeOption = None, cache: CacheOption = None, json: JsonOption = False
) -> None:
    """Join small segments and remove duplicate rows; other processes may read and write meanwhile.

    Examples: featx cache compact · featx cache compact efficientnet_lite0
    """
    import featx.cache
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        results = featx.cache.compact(recipe, cache=cache, stores=stores or (), progress=progress)
    if json:
        console.as_json({"stores": console.plain(results)})
        return
    for result in results:
        duplicates_note = f", {result.n_removed} duplicate rows removed" if result.n_removed else ""
        console.say(
            f"{result.store}: {result.n_rows} images in {result.n_after} segments (before: "
            f"{result.n_before}){duplicates_note}"
        )


@app.command(cls=Command)
@with_output_options
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    recipe: RecipeOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Remove unfinished files of killed writers, and stores that no known recipe uses.

    A recipe is known if its folder is under runs/ ($FEATX_RUNS); those of other projects that share the cache are not.

    Examples: featx cache gc --dry-run · featx cache gc --yes
    """
    import featx.cache
    from featx.cli import console
    from featx.embeddings.space import gigabytes
    from featx.text.sanitising import sanitise_text

    def agree(names: Sequence[str]) -> bool:
        for name in names if not yes else ():
            typer.echo(sanitise_text(f"  {name}"), err=True)
        question = f"Remove these {len(names)} stores, which no recipe of this project uses?"
        return yes or typer.confirm(question, err=True)

    result = featx.cache.gc(recipe, cache=cache, dry_run=dry_run, agree=agree)
    if json:
        console.as_json(asdict(result))
        return
    state = "would be removed" if dry_run else "removed" if result.is_removed else "kept"
    console.say(
        f"unfinished files of killed writers: {len(result.leftovers)}, {'would be removed' if dry_run else 'removed'}"
    )
    for name in result.unneeded:
        console.say(f"  {name}: {state}")
    for name in result.invalid_stores:
        console.say(
            f"  {name}: kept, because it is no store of featx, or its header is damaged or of a newer version; "
            "remove it yourself if you do not need it"
        )
    if result.n_recipes:
        console.say(f"stores that none of {result.n_recipes} known recipes uses: {len(result.unneeded)}, {state}")
    else:
        console.say("no recipe is known, so all stores are kept; set FEATX_RUNS to the folder of runs")
    console.say(f"{gigabytes(result.n_bytes)} in all")


@app.command(cls=Command)
@with_output_options
def export(
    embedding: Annotated[
        str,
        typer.Argument(
            help="An embedding of the recipe, or the beginning of a store's name.", autocompletion=complete_embedding
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="FILE.npz, FILE.h5 or FILE.parquet.", show_default=False)],
    recipe: RecipeOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Write embeddings with ids, digests, labels, groups and parts to a NumPy, HDF5 or Parquet file.

    Examples: featx cache export efficientnet_lite0 --to vectors.npz · featx cache export blocks.4 --to vectors.parquet
    """
    import featx.cache
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        result = featx.cache.export(embedding, to, recipe, cache=cache, progress=progress)
    if json:
        console.as_json(asdict(result))
        return
    console.say(f"{result.file}: {result.n} × {result.n_features} of {result.embedding}")
    for warning in result.warnings:
        console.say(f"warning: {warning}")
