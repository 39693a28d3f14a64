"""Runs of the presets and of the outer splits of a recipe, for messages where its own study has none."""

from collections.abc import Iterator

from featx.specs.recipe import Recipe
from featx.study.folders import study_folder

# The scores of a finished outer split, in the folder of its study.
SPLIT_SCORES = "split-scores.json"


def has_finished_runs(recipe: Recipe) -> bool:
    """Return whether the folder of a recipe's study holds finished runs, whatever their state."""
    return any(study_folder(recipe).glob("[!.]*/header.json"))


def outer_recipes_with_runs(recipe: Recipe) -> list[Recipe]:
    """Return the recipes of the outer splits that have finished runs; none for a study of one split."""
    return [outer_recipe for outer_recipe in recipe.outer_recipes if has_finished_runs(outer_recipe)]


def describe_preset_runs(recipe: Recipe) -> str:
    """Return which presets of a recipe have finished runs, and how they are named; empty if none has."""
    return "".join(_preset_texts(recipe))


def _preset_texts(recipe: Recipe) -> Iterator[str]:
    """Yield one text for each preset that has finished runs, or outer splits with finished runs."""
    for name in () if recipe.variant else recipe.presets:
        preset_recipe = recipe.with_preset(name)
        if has_finished_runs(preset_recipe):
            yield f"; the preset {name!r} has finished runs, which '-r {preset_recipe.reference}' names"
        elif outer_recipes := outer_recipes_with_runs(preset_recipe):
            yield f"; the preset {name!r} has finished runs in {_splits_text(outer_recipes)}"


def describe_outer_runs(recipe: Recipe) -> str:
    """Return where the runs of a recipe's outer splits are, or that they were not kept; empty if no split is finished.

    Parameters
    ----------
    recipe
        A recipe with outer splits, or that of one outer split.
    """
    if outer_recipes := outer_recipes_with_runs(recipe):
        return f"the runs of this recipe are in {_splits_text(outer_recipes)}"
    finished_splits = [split for split in recipe.outer_recipes or (recipe,) if _is_finished_without_runs(split)]
    if not finished_splits:
        return ""
    # The recipe of one split is that of all splits without the last part of its variant.
    variant = recipe.variant if recipe.outer_recipes else recipe.variant.rpartition("/")[0]
    command = f"featx run {recipe.model_copy(update={'variant': variant}).reference}"
    count_text = (
        f"the runs of its {len(finished_splits)} finished outer splits"
        if recipe.outer_recipes
        else "the runs of this finished outer split"
    )
    return f"{count_text} were not kept; set 'keep_runs = true' in [split], and '{command}' makes them again"


def _is_finished_without_runs(recipe: Recipe) -> bool:
    """Return whether the scores of an outer split are there, and its runs are not."""
    return (study_folder(recipe) / SPLIT_SCORES).is_file() and not has_finished_runs(recipe)


def _splits_text(outer_recipes: list[Recipe]) -> str:
    """Return the number of outer splits with runs, and how one of them is named."""
    n_splits = len(outer_recipes)
    count_text = "1 outer split, which" if n_splits == 1 else f"{n_splits} outer splits, of which"
    verb = "names" if n_splits == 1 else "names the first"
    return f"{count_text} '-r {outer_recipes[0].reference}' {verb}"
