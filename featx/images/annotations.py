"""Small label files beside the images: ``0.jpg`` with ``0_exp.npy``, ``0.json`` or, as in WebDataset, ``0.cls``."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.parsing import parse_json
from featx.images.archives import ShardsTree
from featx.images.names import base_of, is_archive_name, is_image_name, part_in, rule_against, suffix_of
from featx.images.npy import read_npy
from featx.images.readers import Listing
from featx.images.sources import is_tree, open_tree, read
from featx.images.trees import Entry, Tree
from featx.locations import ANNOTATION_SUFFIXES, source_place
from featx.specs.data import ReaderSpec

FOLDERS = frozenset({"images", "image", "img", "imgs", "annotations", "annotation", "labels", "label", "targets"})
SEPARATORS = "_-."
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")
LONGEST = 64  # numbers of an annotation that become columns; landmarks and maps have more


class AnnotationReader:
    """Reads one column from each kind of label file; ``split`` where all folders or shards say train, val or test."""

    rank = 15

    def recognise(self, source: str, labels: str | None) -> ReaderSpec | None:
        """See `featx.images.readers.Reader`."""
        if labels is not None or not is_tree(source):
            return None
        images, notes, _ = _sorted_out(_tree(source).entries())
        if _are_in_class_folders(images):
            return None
        annotated = {key for key, _, _ in notes}
        with_notes = sum(key in annotated for key in images)
        return ReaderSpec(source=source, reader="annotations") if images and 2 * with_notes > len(images) else None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """See `featx.images.readers.Reader`."""
        tree = _tree(source_place(data.source, folder))
        images, notes, others = _sorted_out(tree.entries())
        rows: dict[str, dict[str, Any]] = {key: {} for key in images}
        for key, kind, entry in notes:
            new = _columns(kind, entry)
            if twice := rows[key].keys() & new.keys():
                raise DataError(
                    f"annotation {entry.name!r} gives {min(twice)!r}, which another file gives too; rename one"
                )
            rows[key] |= new
        labels = pd.DataFrame(list(rows.values()), index=range(len(rows)))
        parts = [part_in(entry.name.replace("!", "/").rpartition("/")[0]) for entry in images.values()]
        if parts and None not in parts and "train" in parts:
            labels["split"] = parts
        ignored = {tree.prefix + entry.name: rule for entry, rule in others}
        ignored |= {tree.prefix + entry.name: "is an annotation" for _, _, entry in notes}
        entries = list(images.values())
        return Listing.of(entries, labels, ignored, [tree.prefix + entry.name for entry in entries])


def _tree(place: str) -> Tree:
    """Return the tree at a place; of a folder of shards, all members of them."""
    path = Path(place)
    return ShardsTree(place) if path.is_dir() and ShardsTree(place).is_all() else open_tree(place)


def _sorted_out(
    entries: Sequence[Entry],
) -> tuple[dict[str, Entry], list[tuple[str, str, Entry]], list[tuple[Entry, str]]]:
    """Return the images by key, the annotations with their image's key and their kind, and the rest with rules."""
    images: dict[str, Entry] = {}
    others: list[tuple[Entry, str]] = []
    for entry in entries:
        if entry.outcome == "ignored":
            others.append((entry, entry.reason))
        elif is_image_name(entry.name):
            key = _key(entry.name, _stem(entry.name))
            if key in images:  # two images share their annotations' names
                others.append((entry, f"shares its annotations with {images[key].name!r}"))
            else:
                images[key] = entry
    notes = []
    for entry in entries:
        if entry.outcome == "ignored" or is_image_name(entry.name):
            continue
        belongs = _belonging(entry.name, images) if suffix_of(entry.name) in ANNOTATION_SUFFIXES else None
        if belongs is None:
            others.append((entry, rule_against(entry.name)))
        else:
            notes.append((*belongs, entry))
    return images, notes, others


def _are_in_class_folders(images: Mapping[str, Entry]) -> bool:
    """Whether all images lie in several folders with names that mean something: then those are the labels."""
    folders = {key.rpartition("/")[0].rpartition("/")[2] for key in images}
    return len(folders) > 1 and all(
        folder and not is_archive_name(folder) and part_in(folder) is None for folder in folders
    )


def _stem(name: str) -> str:
    return base_of(name).rpartition(".")[0]


def _key(name: str, stem: str) -> str:
    """Return what an image and its annotations have in common: the stem, and the folders that mean something."""
    folders = [folder for folder in name.replace("!", "/").split("/")[:-1] if folder.lower() not in FOLDERS]
    return "/".join([*folders, stem])


def _belonging(name: str, images: Mapping[str, Entry]) -> tuple[str, str] | None:
    """Return the key of the image that an annotation belongs to, and its kind; None where there is none.

    The kind is what stands after the image's stem, or the ending where nothing does.
    """
    stem = _stem(name)
    if (key := _key(name, stem)) in images:
        return key, suffix_of(name).removeprefix(".")
    for at in range(len(stem) - 1, 0, -1):
        if stem[at] in SEPARATORS and (key := _key(name, stem[:at])) in images:
            return key, stem[at + 1 :]
    return None


def _columns(kind: str, entry: Entry) -> dict[str, Any]:
    """Return an annotation's values by column.

    Raises
    ------
    DataError
        it cannot be read.
    """
    try:
        content = read(entry.uri)
        assert isinstance(content, bytes)
        return dict(_values(kind, suffix_of(entry.name), content))
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, RecursionError) as error:
        reason = error if isinstance(error, ReadError) else f"cannot be read: {error}"
        raise DataError(f"annotation {entry.name!r} {reason}; mend it or take it out") from error


def _values(kind: str, suffix: str, content: bytes) -> Iterator[tuple[str, Any]]:
    if suffix == ".npy":
        array = read_npy(io.BytesIO(content), len(content))
        if array.size == 1:
            yield kind, _number_or_text(str(array.item()))
        elif array.size <= LONGEST:
            yield from ((f"{kind}_{number}", value) for number, value in enumerate(array.ravel().tolist()))
    elif suffix == ".json":
        found = parse_json(content)
        named = (
            {f"{kind}_{name}" if kind != "json" else name: value for name, value in found.items()}
            if isinstance(found, dict)
            else {kind: found}
        )
        yield from ((name, value) for name, value in named.items() if isinstance(value, str | int | float | bool))
    else:
        yield kind, _number_or_text(content.decode("utf-8-sig").strip())


def _number_or_text(text: str) -> Any:
    """Return the number that a text writes as numbers are written, or the text (``007`` is one); None for nothing."""
    if not NUMBER.fullmatch(text):
        return text or None
    return float(text) if set(text) & set(".eE") else int(text)
