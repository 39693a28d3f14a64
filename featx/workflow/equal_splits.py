"""Refusal of outer splits that are equal: repeats of one split are no independent repeats."""

from collections.abc import Sequence

from featx.errors import DataError
from featx.specs.base import fingerprint
from featx.specs.split import SplitSpec
from featx.study.study import Study


def check_splits_differ(study: Study) -> None:
    """Check that outer splits whose parts are given differ from each other, and that not all have the same test part.

    Random splits of few images may be equal by chance, and are accepted.

    Raises
    ------
    DataError
        Splits are equal; the message names two of them.
    """
    spec = study.recipe.split
    splits, test_parts = [], []
    for seed in spec.outer_seeds:
        parts = study.parts_of_split(spec.outer_split(seed))
        splits.append(fingerprint(parts.tolist()))
        test_parts.append(fingerprint(parts.index[parts == "test"].tolist()))
    has_test = test_parts[0] != fingerprint([])
    if spec.has_given_parts and (positions := _first_equal(splits)):
        _refuse(study, positions, "are equal")
    if len(set(splits)) == 1 or (has_test and len(set(test_parts)) == 1):
        _refuse(study, (0, 1), "are equal" if len(set(splits)) == 1 else "have the same test part, as all have")


def _first_equal(splits: Sequence[str]) -> tuple[int, int] | None:
    """Return the positions of two equal splits; None if all differ."""
    position_by_split: dict[str, int] = {}
    for position, split in enumerate(splits):
        if split in position_by_split:
            return position_by_split[split], position
        position_by_split[split] = position
    return None


def _refuse(study: Study, positions: tuple[int, int], problem: str) -> None:
    """Raise the error about two outer splits."""
    recipes = study.recipe.outer_recipes
    names = " and ".join(
        f"{recipes[position].name.rpartition('/')[2]} (seed {recipes[position].split.seed})" for position in positions
    )
    raise DataError(
        f"split: the outer splits {names} {problem}, expected different ones; {_next_step(study.recipe.split)}"
    )


def _next_step(spec: SplitSpec) -> str:
    """Return how outer splits become different."""
    if spec.cut is not None:
        return (
            f"let the parts that {spec.cut} returns depend on its argument 'seed', or leave out 'repeats' and 'seeds'"
        )
    if spec.column is not None:
        return f"the column {spec.column!r} says all parts: leave out 'repeats' and 'seeds'"
    return "set a share 'test' or 'val', or leave out 'repeats' and 'seeds'"
