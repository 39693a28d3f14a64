"""A folder with one sub-folder a class, with or without ``train/``, ``val/``, ``test/`` above them."""

import os
from pathlib import Path

import pandas as pd

from featx.errors import DataError
from featx.images.readers import is_image_name, listed
from featx.sources import source_path
from featx.specs import ReaderSpec
from featx.tables import Manifest

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class FolderReader:
    """Reads class folders: columns ``class`` and, where there are part folders, ``split``."""

    rank = 20

    def recognise(self, source: Path, labels: Path | None) -> ReaderSpec | None:
        """See `featx.images.readers.Reader`."""
        if labels is not None or not source.is_dir():
            return None
        holds_images = any(images_below(folder) for folder in class_folders(source))
        return ReaderSpec(source=str(source)) if holds_images else None

    def read(self, data: ReaderSpec, folder: Path) -> Manifest:
        """See `featx.images.readers.Reader`."""
        source = source_path(data.source, folder)
        classes = class_folders(source)
        ids, uris, rows = [], [], []
        for class_folder in classes:
            part = PARTS[class_folder.parent.name.lower()] if class_folder.parent != source else None
            for path in images_below(class_folder):
                ids.append(path.relative_to(source).as_posix())
                uris.append(path)
                rows.append({"class": class_folder.name, "split": part})
        if ids:
            _check_for_loose_images({source, *(one.parent for one in classes)})
        labels = pd.DataFrame(rows, columns=["class", "split"])
        return listed(source, ids, uris, labels if labels["split"].notna().any() else labels[["class"]])


def class_folders(source: Path) -> list[Path]:
    """Return the folders that stand for a class: those of the source, or those inside its part folders.

    Raises
    ------
    DataError
        part folders and others stand side by side.
    """
    top = _folders(source)
    parts = [folder for folder in top if folder.name.lower() in PARTS]
    if "train" not in {PARTS[folder.name.lower()] for folder in parts}:
        return top
    if odd := [folder.name for folder in top if folder not in parts]:
        raise DataError(
            f"{source} holds part folders ({', '.join(folder.name for folder in parts)}) and {len(odd)} other, first "
            f"{odd[0]!r}; expected only train, val, test, or only classes"
        )
    return [inside for folder in parts for inside in _folders(folder)]


def _check_for_loose_images(folders: set[Path]) -> None:
    loose = sorted(path for folder in folders for path in folder.iterdir() if is_image_name(path) and not path.is_dir())
    if loose:
        raise DataError(
            f"{len(loose)} images lie beside the class folders, first {str(loose[0])!r}; expected each image inside "
            "the folder of its class: move them or take them out"
        )


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def images_below(folder: Path) -> list[Path]:
    """Return the images at any depth, sorted; hidden folders and links to folders are not followed."""
    found = []
    for place, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".")]
        found += [path for name in names if is_image_name(path := Path(place) / name)]
    return sorted(found)
