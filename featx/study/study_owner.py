"""The file of the recipe that a study belongs to, so that recipes of one name are not mixed.

Recipes in several folders of a project share its ``runs/``, where the folder of a study has the name of its recipe:
without its suffix, and with the name of a preset.
"""

import os
from pathlib import Path
from typing import Any

from featx.errors import DataError, FeatxError
from featx.file_names import file_name
from featx.files.atomic import read_json, write_json
from featx.specs.recipe import Recipe
from featx.study.folders import place_of, runs_folder_of

OWNER = "recipe.json"


def write_owner(recipe: Recipe) -> None:
    """Write the file of a recipe into the folder of its study, relative to it, so that a project can be moved."""
    folder, file = _owned_folder(recipe), _recipe_file(recipe)
    write_json(folder / OWNER, {"folder": os.path.relpath(file.parent, folder), "file": file.name})


def check_owner(recipe: Recipe) -> None:
    """Check that the folder of a study belongs to no other recipe of the same name that still exists.

    Where the folder of runs is named by the recipe or the environment, recipes in several folders may share it.

    Raises
    ------
    DataError
        It does.
    """
    folder, file = _owned_folder(recipe), _recipe_file(recipe)
    owner = _recorded_file(folder)
    if owner is None or owner == file or not owner.is_file() or (file.is_file() and owner.samefile(file)):
        return
    if owner.parent != file.parent and place_of("FEATX_RUNS", recipe.paths.runs, recipe.folder) is not None:
        return
    raise DataError(
        f"{folder} holds the results of {owner}, another recipe called {folder.name!r}; rename {file}, or give it its "
        "own folder: [paths] runs = 'NAME'"
    )


def _owned_folder(recipe: Recipe) -> Path:
    """Return the folder of a recipe's study; that of an outer split belongs to the study of the recipe."""
    return runs_folder_of(recipe) / file_name(recipe.name.partition("/")[0])


def _recipe_file(recipe: Recipe) -> Path:
    return recipe.folder.resolve() / (f"{recipe.name}.toml" if recipe.file is None else recipe.file.name)


def _recorded_file(folder: Path) -> Path | None:
    """Return the file of the recipe that a study belongs to; None if it is not recorded."""
    try:
        content: dict[str, Any] = read_json(folder / OWNER)
        return (folder / str(content["folder"])).resolve() / str(content["file"])
    except (OSError, ValueError, KeyError, TypeError, FeatxError):
        return None
