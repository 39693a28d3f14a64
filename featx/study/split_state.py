"""State of a split: its settings, and what else of a recipe decides about the part of each image."""

from collections.abc import Mapping
from typing import Any

from featx.files.atomic import file_sha256
from featx.specs.recipe import Recipe

# Entries of the state beside the settings of [split]. Extractions of earlier versions did not record them.
STRATA, CUT_FILE = "strata", "cut_file"
# Keys of a target that change no stratum.
WEIGHT_KEYS = frozenset({"weight", "confidence", "probability_confidence"})


def split_state(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of the split, the target by which it is stratified, and the content of its code."""
    spec = recipe.split
    state = spec.identity()
    if spec.stratify and any(spec.sizes.values()) and recipe.targets:
        target = next(iter(recipe.targets.values())).identity()
        state[STRATA] = {key: value for key, value in target.items() if key not in WEIGHT_KEYS}
    code_file = recipe.folder / (spec.cut or "").rpartition(":")[0]
    if code_file.suffix == ".py" and code_file.is_file():
        state[CUT_FILE] = file_sha256(code_file)
    return state


def describe_split_change(recipe: Recipe, recorded_state: Mapping[str, Any]) -> str:
    """Return what changed after a state was recorded, as the subject of a sentence; empty if nothing did."""
    state = split_state(recipe)
    changed_keys = {key for key in state if key in recorded_state and recorded_state[key] != state[key]}
    # A setting that was not recorded, or that does not exist any more, is a change of [split].
    changed_keys |= (state.keys() ^ recorded_state.keys()) - {STRATA, CUT_FILE}
    if changed_keys == {STRATA}:
        return f"target {next(iter(recipe.targets))!r}, by which the split is stratified,"
    if changed_keys == {CUT_FILE}:
        return f"the file of split.cut = {recipe.split.cut!r}"
    return "[split]" if changed_keys else ""
