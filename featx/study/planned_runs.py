"""Runs that a recipe asks for and that are not finished."""

from collections import Counter
from collections.abc import Iterator, Sequence

from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder


def unfinished_runs(recipe: Recipe, target: str, runs: Sequence[RunFolder]) -> list[str]:
    """Return texts about the heads and networks of a recipe of which there are fewer finished runs than planned.

    Parameters
    ----------
    target
        Name of the target.
    runs
        Finished runs of this target.
    """
    heads = [("head", name) for name in _planned_heads(recipe, target)]
    networks = [("network", stem) for stem in _planned_networks(recipe, target)]
    finished = Counter((run.kind, run.spec.stem) for run in runs if run.refit_of is None)
    return [
        f"{kind} {stem}" if n == 1 else f"{kind} {stem} ({finished[kind, stem]} of {n} runs)"
        for (kind, stem), n in Counter([*heads, *networks]).items()
        if finished[kind, stem] < n
    ]


def _planned_heads(recipe: Recipe, target: str) -> Iterator[str]:
    """Yield the name of the head of each planned run."""
    kinds = {spec.kind for spec in recipe.targets.values()}
    for head in recipe.head:
        # A head without a target is left out for targets that it cannot learn, so that it may not be planned for all.
        if head.target == target or (head.target is None and len(kinds) == 1):
            yield from (head.name for _ in head.grid())


def _planned_networks(recipe: Recipe, target: str) -> Iterator[str]:
    """Yield the beginning of the name of each planned network; grids of which a search tries a part are left out."""
    seen = set()
    for section in recipe.finetune:
        if section.target not in {None, target} or section.trials is not None:
            continue
        if section.target is None and recipe.targets[target].kind == "labels":
            continue
        for spec in section.runs:
            stem = section.name or spec.backbone.rpartition("/")[2]
            if (stem, spec.fingerprint()) not in seen:
                seen.add((stem, spec.fingerprint()))
                yield stem
