"""A folder with one sub-folder a class, with or without ``train/``, ``val/``, ``test/`` above them."""

import os
from pathlib import Path

import pandas as pd

from featx.images.readers import is_image_name, listed
from featx.sources import source_path
from featx.specs import ReaderSpec
from featx.tables import Manifest

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class FolderReader:
    """Reads class folders: columns ``class`` and, where there are part folders, ``split``."""

    def recognise(self, source: Path, labels: Path | None) -> ReaderSpec | None:
        """See `featx.images.readers.Reader`."""
        if labels is not None or not source.is_dir():
            return None
        holds_images = any(images_below(folder) for folder in class_folders(source))
        return ReaderSpec(source=str(source)) if holds_images else None

    def read(self, data: ReaderSpec, folder: Path) -> Manifest:
        """See `featx.images.readers.Reader`."""
        source = source_path(data.source, folder)
        ids, uris, rows = [], [], []
        for class_folder in class_folders(source):
            part = PARTS.get(class_folder.parent.name) if class_folder.parent != source else None
            for path in images_below(class_folder):
                ids.append(path.relative_to(source).as_posix())
                uris.append(path)
                rows.append({"class": class_folder.name, "split": part})
        labels = pd.DataFrame(rows, columns=["class", "split"])
        return listed(source, ids, uris, labels if labels["split"].notna().any() else labels[["class"]])


def class_folders(source: Path) -> list[Path]:
    """Return the folders that stand for a class, below part folders where all top folders are such."""
    top = _folders(source)
    if top and all(folder.name in PARTS for folder in top):
        return [inside for folder in top for inside in _folders(folder)]
    return top


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
