"""The folders and URLs of a study: its cache, its runs, the stores of its embeddings."""

import os
import stat
from pathlib import Path

from featx.errors import DataError
from featx.file_names import file_name
from featx.locations import is_url
from featx.specs.embedding import EmbeddingSpec, without_folders
from featx.specs.recipe import Recipe
from featx.storage.places import DEFAULT_CACHE_FOLDER, STORE_SUFFIX, CachePlace, cache_at

DEFAULT_RUNS_FOLDER = "runs"
# Files and folders at the root of a project.
PROJECT_MARKS = (".git", "pyproject.toml")
# Results of featx; other programs have folders called cache and runs too.
RESULT_PATTERNS = (
    f"{DEFAULT_CACHE_FOLDER}/*{STORE_SUFFIX}",
    f"{DEFAULT_CACHE_FOLDER}/digests.sqlite",
    f"{DEFAULT_RUNS_FOLDER}/*/manifest.parquet",
)


def store_path(cache: CachePlace, spec: EmbeddingSpec) -> str:
    """Return the folder or URL of one embedding's store in a cache."""
    return cache.store(file_name(without_folders(spec.backbone), spec.fingerprint()) + STORE_SUFFIX)


def study_folder(recipe: Recipe) -> Path:
    """Return the folder of a recipe under ``runs/``."""
    # The folders of repeats are inside their recipe's folder.
    return runs_folder_of(recipe).joinpath(*map(file_name, recipe.name.split("/")))


def runs_folder_of(recipe: Recipe) -> Path:
    """Return the folder that holds the folder of a recipe."""
    return runs_folder(place_of("FEATX_RUNS", recipe.paths.runs, recipe.folder), recipe.folder)


def place_of(variable: str, location: str | None, folder: Path) -> str | None:
    """Return the folder or URL that an environment variable names, else the one of a recipe in `folder`."""
    if variable in os.environ:
        return os.environ[variable]
    return str(folder / location) if location and not is_url(location) else location


def project_folder(folder: Path) -> Path:
    """Return the folder of ``cache/`` and ``runs/`` by default, for recipes in `folder`.

    It is the nearest folder, from `folder` upward, in which featx has written results, or that is the root of a
    project (it holds ``.git`` or ``pyproject.toml``); `folder` itself if there is none. Folders that all users share,
    such as ``/tmp``, and those above them, are no project: anyone could put such files there.
    """
    if any((folder / name).is_dir() for name in (DEFAULT_CACHE_FOLDER, DEFAULT_RUNS_FOLDER)):
        return folder
    for candidate in (folder, *folder.parents):
        if candidate.is_dir() and candidate.stat().st_mode & stat.S_ISVTX:
            break
        if any(next(candidate.glob(pattern), None) is not None for pattern in (*PROJECT_MARKS, *RESULT_PATTERNS)):
            return candidate
    return folder


def default_folder(folder: Path, name: str) -> Path:
    """Return a folder of the project of `folder`: relative if it is below the working directory, otherwise absolute."""
    place, working_folder = project_folder(folder) / name, Path.cwd()
    return place.relative_to(working_folder) if place.is_relative_to(working_folder) else place


def cache_of(stores: str | None, local_folder: str | None, folder: Path) -> CachePlace:
    """Return the place of a cache whose folders are named or, where None or empty, those of the project of `folder`.

    Raises
    ------
    DataError
        Notes are to lie behind a URL.
    """
    default = default_folder(folder, DEFAULT_CACHE_FOLDER)
    return cache_at(stores or default, local_folder or (default if stores and is_url(stores) else None))


def cache_place(location: str | Path | None = None) -> CachePlace:
    """Return the place of the cache: the one named, else ``$FEATX_CACHE``, else that of the current project.

    Raises
    ------
    DataError
        The place is a URL that was converted to a `Path`.
    """
    if isinstance(location, Path):
        return cache_at(location, os.environ.get("FEATX_LOCAL_CACHE"))
    return cache_of(location or os.environ.get("FEATX_CACHE"), os.environ.get("FEATX_LOCAL_CACHE"), Path.cwd())


def runs_folder(location: str | Path | None = None, folder: Path | None = None) -> Path:
    """Return the folder that holds one folder per recipe.

    Parameters
    ----------
    location
        The folder, if it is named; by default ``$FEATX_RUNS``, else ``runs/`` in the project of `folder`.
    folder
        Folder of the recipe; by default the working directory.

    Raises
    ------
    DataError
        The folder is a URL.
    """
    place = location or os.environ.get("FEATX_RUNS") or default_folder(folder or Path.cwd(), DEFAULT_RUNS_FOLDER)
    if is_url(str(place)):
        raise DataError(
            f"paths.runs: found {str(place)!r}, expected a local folder; only the cache may lie behind a URL"
        )
    return Path(place)
