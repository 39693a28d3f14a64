"""Completions of names in the shell: runs, heads, embeddings and targets of the recipe that the command uses.

A completion is called while someone types, so that nothing slow is imported, and errors give no completion.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from featx.specs.recipe import Recipe

Completion = Callable[[typer.Context, str], list[str]]


def _completion(list_names: Callable[["Recipe"], Iterable[str]]) -> Completion:
    """Return a completion by the names of a recipe: of ``-r``, else ``$FEATX_RECIPE``, else ``./featx.toml``."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from featx.specs.recipe import load_recipe

        # The command itself reports what is wrong with a recipe.
        with suppress(Exception):
            names = list_names(load_recipe(ctx.params.get("recipe")))
            return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
        return []

    return complete


def _run_names(recipe: "Recipe") -> list[str]:
    from featx.study.folders import study_folder

    return sorted(header.parent.name for header in study_folder(recipe).glob("[!.]*/header.json"))


def complete_head(incomplete: str) -> list[str]:
    """Return the heads whose names begin with a text; no recipe is needed."""
    from featx.registry import HEADS

    return [name for name in HEADS.names() if name.startswith(incomplete)]


complete_run = _completion(_run_names)
complete_embedding = _completion(lambda recipe: [request.name for request in recipe.requests])
complete_target = _completion(lambda recipe: recipe.targets)
