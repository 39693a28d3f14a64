"""A recipe as TOML text with all its defaults, which loads again as the same recipe."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from featx.specs.base import Spec
from featx.specs.recipe import Recipe
from featx.specs.sections import SECTION_KEYS, EmbeddingSection, FinetuneSection
from featx.text.masking import mask_secrets_in_value


def recipe_toml(recipe: Recipe) -> str:
    """Return a recipe as TOML with all settings, defaults included; passwords in URLs are masked.

    Relative paths in it are relative to the recipe's folder, so the text belongs into a file there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from featx.specs.data import ReaderSpec
    >>> text = recipe_toml(Recipe(name="faces", folder=Path(), data=ReaderSpec(source="photos")))
    >>> text[text.index("[data]") :].splitlines()[:2]
    ['[data]', 'source = "photos"']
    """
    import tomlkit

    sections = {name: _section_value(getattr(recipe, name)) for name in Recipe.model_fields}
    # A section that is not in the recipe is None, or empty.
    section_names = (
        name for name, value in sections.items() if name not in Recipe.set_by_loader and value not in ({}, None)
    )
    sections = {name: sections[name] for name in section_names}
    # TOML needs keys without a table, such as 'head = []', before all tables.
    ordered_sections = mask_secrets_in_value(dict(sorted(sections.items(), key=lambda item: item[1] != [])))
    # Tables follow all other keys of a section, but the order of the keys of a grid is that of its runs.
    for section in ordered_sections["finetune"]:
        section.update({key: _inline(value) for key, value in section.items() if isinstance(value, list)})
    return tomlkit.dumps(ordered_sections)


def _inline(value: Any) -> Any:
    """Return lists and tables as values of TOML in one line."""
    import tomlkit

    if isinstance(value, list):
        array = tomlkit.array()
        array.extend(map(_inline, value))
        return array
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update({key: _inline(item) for key, item in value.items()})
        return table
    return value


def _section_value(value: Any) -> Any:
    """Return a section, a list of sections or a table of them as values of TOML."""
    if isinstance(value, FinetuneSection):
        return _grid_fields(value)
    if isinstance(value, Spec):
        return _spec_fields(value)
    if isinstance(value, Mapping):
        return {name: _section_value(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_section_value(item) for item in value]
    return value


def _spec_fields(spec: Spec) -> dict[str, Any]:
    """Return the keys of a section: all of them, or those that were set, where a section excludes default keys."""
    # The decoding of an embedding is that of the recipe, which has a section of its own.
    excluded_fields = {"decoding"} if isinstance(spec, EmbeddingSection) else set()
    complete_fields = _without_empty(spec.model_dump(mode="json", exclude_none=True, exclude=excluded_fields))
    return complete_fields if _loads_as(complete_fields, spec) else spec.model_dump(mode="json", exclude_defaults=True)


def _grid_fields(section: FinetuneSection) -> dict[str, Any]:
    """Return the keys of a ``[[finetune]]``: a list for each key that varies, or its runs, where they are no grid."""
    runs = [_spec_fields(run) for run in section.runs]
    section_fields = section.model_dump(mode="json", include=set(SECTION_KEYS), exclude_defaults=True)
    # The last key of a grid varies fastest.
    keys = sorted(dict.fromkeys(key for run in runs for key in run), key=lambda key: _n_changes(runs, key))
    values = {key: _distinct([run[key] for run in runs if key in run]) for key in keys}
    grid = {key: items[0] if len(items) == 1 else items for key, items in values.items()} | section_fields
    return grid if _loads_as(grid, section) else {"runs": runs} | section_fields


def _n_changes(runs: list[dict[str, Any]], key: str) -> int:
    return sum(run.get(key) != next_run.get(key) for run, next_run in pairwise(runs))


def _distinct(values: list[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if value not in values[:number]]


def _loads_as(fields: Mapping[str, Any], spec: Spec) -> bool:
    try:
        return type(spec).model_validate(fields) == spec
    except ValidationError:
        return False


def _without_empty(value: Any) -> Any:
    """Return values without empty tables."""
    if isinstance(value, Mapping):
        return {key: _without_empty(item) for key, item in value.items() if item != {}}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
