"""One npy file per image in class folders, with or without ``train/``, ``val/``, ``test/`` above them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import ReadError
from featx.images.contents import check_size
from featx.images.folder import NO_LABEL_RULE
from featx.images.names import PARTS, base_name, file_suffix
from featx.images.npy import read_npy
from featx.images.readers import Listing
from featx.images.sources import is_tree, open_tree, read_content
from featx.images.trees import Entry
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec


class NpyFolderReader:
    """Reads npy files in class folders: columns ``class`` and, if there are part folders, ``split``."""

    rank = 32

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if npy files of images are in class folders, otherwise None."""
        if labels is not None or not is_tree(source):
            return None
        files = [entry for entry in open_tree(source).entries().others if _is_npy(entry)]
        classes = {label for label, _ in _read_folder_labels([entry.name for entry in files]) if label is not None}
        if len(classes) < 2:
            return None
        try:
            values = read_npy_image(files[-1].uri)
        except (ReadError, FileNotFoundError):
            return None
        return ReaderSpec(source=source, reader="npy_folders") if values.ndim in {2, 3} else None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all npy files in class folders; the label of an image is the name of its folder."""
        tree = open_tree(resolve_source(data.source, folder))
        files = [entry for entry in tree.entries() if _is_npy(entry)]
        labels = _read_folder_labels([entry.name for entry in files])
        images = [entry for entry, (label, _) in zip(files, labels, strict=True) if label is not None]
        rules = {entry.name: entry.non_image_reason for entry in tree.entries() if not _is_npy(entry)}
        rules |= {
            entry.name: entry.reason or NO_LABEL_RULE
            for entry, (label, _) in zip(files, labels, strict=True)
            if label is None
        }
        frame = pd.DataFrame({"class": [label for label, _ in labels if label is not None]}, dtype=object)
        parts = [part for label, part in labels if label is not None]
        if any(parts):
            frame["split"] = parts
        arrays = [Entry(entry.name, f"npy:{entry.uri}", entry.state, entry.outcome, entry.reason) for entry in images]
        return Listing.from_tree(tree, arrays, frame, rules).with_complete_split()


def read_npy_image(uri: str) -> NDArray[np.generic]:
    """Return the array of an npy file; errors are those of `featx.images.sources.read_content`."""
    content = read_content(uri)
    assert isinstance(content, bytes)
    check_size(len(content))
    try:
        return read_npy(io.BytesIO(content), len(content))
    except ValueError as error:
        raise ReadError(f"cannot be read as npy: {error}") from error


def _is_npy(entry: Entry) -> bool:
    return (
        entry.outcome != "ignored" and file_suffix(entry.name) == ".npy" and not base_name(entry.name).startswith(".")
    )


def _read_folder_labels(names: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Return the class and the part of each file, from its folders below those that all files share.

    Examples
    --------
    >>> _read_folder_labels(["all/train/cat/0.npy", "all/test/dog/deep/1.npy"])
    [('cat', 'train'), ('dog', 'test')]
    >>> _read_folder_labels(["cat/0.npy", "dog/1.npy", "2.npy"])
    [('cat', None), ('dog', None), (None, None)]
    """
    folders = [name.split("/")[:-1] for name in names]
    while all(folders) and len({folder[0] for folder in folders}) == 1:
        folders = [folder[1:] for folder in folders]
    tops = {folder[0].lower() for folder in folders if folder}
    parts = {PARTS[top] for top in tops & PARTS.keys()}
    if "train" not in parts or (len(parts) == 1 and not tops <= PARTS.keys()):
        return [(folder[0] if folder else None, None) for folder in folders]
    return [(folder[1], PARTS.get(folder[0].lower())) if len(folder) > 1 else (None, None) for folder in folders]
