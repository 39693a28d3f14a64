"""``featx leaks``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.evaluation.leaks import CopyPair, Leaks

N_PAIRS_SHOWN = 20
SEALED = "sealed"


def leaks(
    final: Annotated[
        bool, typer.Option("--final", help="Also compare labels of the test split; this opens it and is logged.")
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="List all pairs.", show_default=f"the first {N_PAIRS_SHOWN}")
    ] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """List images that have copies in another part of the split, and labels on which copies disagree.

    Examples: featx leaks · featx leaks --all · featx leaks --json
    """
    import featx
    from featx.cli import console
    from featx.cli.progress_bars import watching

    with watching() as progress:
        result = featx.leaks(recipe, final=final, progress=progress)
    console.as_json(_plain(result)) if json else _print(result, len(result.pairs) if show_all else N_PAIRS_SHOWN)


def _plain(result: "Leaks") -> dict[str, Any]:
    counts = {"n_pairs": len(result.pairs), "n_disagreeing": len(result.disagreeing)}
    pairs = [asdict(pair) | {"differing_targets": pair.disagreeing} for pair in result.pairs]
    return asdict(result) | counts | {"pairs": pairs}


def _print(result: "Leaks", limit: int) -> None:
    from featx.cli import console
    from featx.study.near_copy_table import notes_on_search

    _print_pairs(result, limit)
    for grouping in result.groups:
        console.say(
            f"{grouping.n_leaking_groups} of {grouping.n_groups} groups of {grouping.name!r} are in several parts of "
            f"the split, first {grouping.first!r}; if images of one group resemble each other, set split.by = "
            f"{grouping.column!r}"
        )
    for note in notes_on_search(result.n_unreadable, result.n_without_embedding, result.n_not_compared):
        console.say(note)


def _print_pairs(result: "Leaks", limit: int) -> None:
    from featx.cli import console
    from featx.cli.console import Column

    if not result.pairs:
        console.say("no image has a copy in another part")
        return
    targets = list(result.pairs[0].labels)
    # Pairs whose labels differ come first: one label is wrong whatever the split is.
    order = sorted(result.pairs, key=lambda pair: not pair.disagreeing)
    rows = [
        (pair.id, pair.part, pair.copy, pair.copy_part, pair.kind, pair.similarity, *_labels(pair, targets))
        for pair in order[:limit]
    ]
    columns: list[str | Column] = [
        "image",
        Column("part", 3, True),
        Column("copy", 0, True),
        Column("part of copy", 4, True),
    ]
    columns += [Column("kind", 2, True), Column("similarity", 5), *(Column(name, 1, True) for name in targets)]
    console.table("", columns, rows)
    if len(result.pairs) > limit:
        console.say(f"{len(result.pairs) - limit} more pairs in {result.file}; 'featx leaks --all' prints them")
    n_exact = sum(pair.kind == "exact" for pair in result.pairs)
    console.say(
        f"{len(result.pairs)} pairs ({n_exact} exact, {len(result.pairs) - n_exact} near); images with a copy in "
        f"another part: {console.format_counts(result.n_images)}"
    )
    if result.disagreeing:
        console.say(f"{len(result.disagreeing)} pairs have different labels (marked !)")
    sealed = any(None in pair_labels for pair in result.pairs for pair_labels in pair.labels.values())
    if sealed and not result.opened:
        console.say("labels of the test split are sealed and were not compared; '--final' opens them")


def _labels(pair: "CopyPair", targets: list[str]) -> list[str]:
    cells = []
    for target in targets:
        label, copy_label = (SEALED if value is None else value for value in pair.labels[target])
        mark = "! " if target in pair.disagreeing else ""
        cells.append(f"{mark}{label}" if label == copy_label else f"{mark}{label} / {copy_label}")
    return cells
