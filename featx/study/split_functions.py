"""Splits by a function that a recipe names: ``split.cut``."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import DataError
from featx.foreign_code import foreign_code
from featx.specs.split import PARTS, SplitSpec
from featx.tables.manifest import Manifest


def parts_by_code(manifest: Manifest, spec: SplitSpec, folder: Path) -> "pd.Series[str]":
    """Return the part that the function of ``split.cut`` gives to each image, by id.

    Parameters
    ----------
    folder
        Folder of the recipe, which the file of the function is relative to.

    Raises
    ------
    DataError
        There is no such function, it fails, or it does not return a part for each image.
    """
    assert spec.cut is not None
    function = _load_function(spec.cut, folder)
    ids = pd.Index(manifest.ids)
    expected = f"expected a function of the table of {len(ids)} labels and a seed that returns {len(ids)} parts"
    with foreign_code(f"split.cut: {spec.cut} failed", expected):
        function_output = function(manifest.labels.copy(), spec.seed)
        parts = pd.Series(function_output, index=None if isinstance(function_output, pd.Series) else ids, dtype=object)
    parts = parts.reindex(ids)
    unknown_parts = parts[~parts.isin(PARTS)]
    if len(unknown_parts):
        raise DataError(
            f"split.cut: {spec.cut} returns {unknown_parts.iloc[0]!r} for {len(unknown_parts)} images, first "
            f"{unknown_parts.index[0]!r}; expected train, val or test"
        )
    if not (parts == "train").any():
        raise DataError(f"split.cut: {spec.cut} returns 'train' for no image; expected some images to train on")
    return parts


def _load_function(text: str, folder: Path) -> Callable[[pd.DataFrame, int], Any]:
    """Return the function that ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION`` names."""
    place, _, name = text.rpartition(":")
    expected = "expected FILE.py:FUNCTION, relative to the recipe, or MODULE:FUNCTION"
    with foreign_code(f"split.cut: {place} cannot be imported", expected):
        module = _load_file(folder / place) if place.endswith(".py") else importlib.import_module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise DataError(f"split.cut: {place} has no function {name!r}; correct the name, or define the function")
    split_function: Callable[[pd.DataFrame, int], Any] = function
    return split_function


def _load_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
