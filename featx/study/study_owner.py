"""The folder of the recipe that a study belongs to, so that recipes of one name in two folders are not mixed.

Recipes in several folders of a project share its ``runs/``, where the folder of a study has the name of its recipe.
"""

import os
from pathlib import Path
from typing import Any

from featx.errors import DataError, FeatxError
from featx.files.atomic import read_json, write_json
from featx.specs.recipe import Recipe
from featx.study.folders import place_of, study_folder

OWNER = "recipe.json"


def write_owner(recipe: Recipe) -> None:
    """Write the folder of a recipe into the folder of its study, relative to it, so that a project can be moved."""
    folder = study_folder(recipe)
    write_json(folder / OWNER, {"folder": os.path.relpath(recipe.folder, folder)})


def check_owner(recipe: Recipe) -> None:
    """Check that the folder of a study belongs to no recipe of the same name in another folder that still exists.

    Where the folder of runs is named by the recipe or the environment, recipes may share it.

    Raises
    ------
    DataError
        It does.
    """
    if place_of("FEATX_RUNS", recipe.paths.runs, recipe.folder) is not None:
        return
    folder = study_folder(recipe)
    recorded_folder = _recorded_folder(folder)
    if recorded_folder is None or recorded_folder == recipe.folder.resolve():
        return
    # Names of presets and of outer splits are RECIPE-PRESET and RECIPE/SPLIT.
    name = f"{recipe.name.partition('/')[0]}-"
    if files := [file for file in sorted(recorded_folder.glob("*.toml")) if name.startswith(f"{file.stem}-")]:
        raise DataError(
            f"{folder} holds the results of {files[-1]}, another recipe called {recipe.name!r}; rename the one in "
            f"{recipe.folder.resolve()}, or give it its own folder: [paths] runs = 'runs'"
        )


def _recorded_folder(folder: Path) -> Path | None:
    """Return the folder of the recipe that a study belongs to; None if it is not recorded."""
    try:
        content: dict[str, Any] = read_json(folder / OWNER)
        return (folder / str(content["folder"])).resolve()
    except (OSError, ValueError, KeyError, TypeError, FeatxError):
        return None
