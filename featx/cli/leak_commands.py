"""``featx leaks``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.evaluation.leaks import CopyPair, Leaks

SHOWN = 20
SEALED = "sealed"


def leaks(
    final: Annotated[
        bool, typer.Option("--final", help="Compare test labels too: opens the test split; the look is logged.")
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="List all pairs.", show_default=f"the first {SHOWN}")] = False,
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
        found = featx.leaks(recipe, final=final, progress=progress)
    console.as_json(_plain(found)) if json else _print(found, len(found.pairs) if show_all else SHOWN)


def _plain(found: "Leaks") -> dict[str, Any]:
    counts = {"n_pairs": len(found.pairs), "n_disagreeing": len(found.disagreeing)}
    return asdict(found) | counts | {"pairs": [asdict(pair) | {"differ": pair.disagreeing} for pair in found.pairs]}


def _print(found: "Leaks", limit: int) -> None:
    from featx.cli import console

    _print_pairs(found, limit)
    for torn in found.groups:
        console.say(
            f"{torn.n_torn} of {torn.n_groups} groups of {torn.name!r} stand in several parts, first {torn.first!r}; "
            f"if an image tells to whom it belongs, say split.by = {torn.column!r}"
        )
    if found.n_unseen:
        console.say(f"{found.n_unseen} images cannot be read any more: they were compared by content alone")
    if found.n_uncompared:
        console.say(
            f"{found.n_uncompared} images are too many to be compared with each other: near copies are not listed"
        )
    if found.n_unembedded:
        console.say(f"{found.n_unembedded} images have lost their cached vector: they were compared by hash alone")


def _print_pairs(found: "Leaks", limit: int) -> None:
    from featx.cli import console

    if not found.pairs:
        console.say("no image has a copy in another part")
        return
    targets = list(found.pairs[0].labels)
    # where labels disagree comes first: it is wrong whatever the split
    order = sorted(found.pairs, key=lambda pair: not pair.disagreeing)
    rows = [
        (pair.id, pair.part, pair.copy, pair.copy_part, pair.kind, pair.similarity, *_labels(pair, targets))
        for pair in order[:limit]
    ]
    console.table("", ["image", "in", "copy", "in", "kind", "similarity", *targets], rows)
    if len(found.pairs) > limit:
        console.say(f"… {len(found.pairs) - limit} more pairs in {found.file}, or by 'featx leaks --all'")
    n_exact = sum(pair.kind == "exact" for pair in found.pairs)
    console.say(
        f"{len(found.pairs)} pairs ({n_exact} exact, {len(found.pairs) - n_exact} near); images with a copy in another "
        f"part: {console.counted(found.n_images)}"
    )
    if found.disagreeing:
        console.say(f"{len(found.disagreeing)} of the pairs have labels that differ (marked !)")
    sealed = any(None in both for pair in found.pairs for both in pair.labels.values())
    if sealed and not found.opened:
        console.say("labels of test rows are sealed and were not compared; '--final' opens them")


def _labels(pair: "CopyPair", targets: list[str]) -> list[str]:
    said = []
    for target in targets:
        one, other = (SEALED if label is None else label for label in pair.labels[target])
        mark = "! " if target in pair.disagreeing else ""
        said.append(f"{mark}{one}" if one == other else f"{mark}{one} / {other}")
    return said
