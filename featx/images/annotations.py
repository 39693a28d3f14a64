"""Label files beside the images: ``0.jpg`` with ``0_exp.npy``, ``0.json`` or, as in WebDataset, ``0.cls``."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.parsing import parse_json
from featx.images.names import (
    base_name,
    file_suffix,
    find_part,
    is_archive_name,
    is_image_name,
    make_twin_key,
    non_image_rule,
)
from featx.images.npy import read_npy
from featx.images.readers import Listing
from featx.images.sources import is_tree, open_tree, read_content
from featx.images.trees import Entry
from featx.locations import ANNOTATION_SUFFIXES, resolve_source
from featx.specs.data import ReaderSpec

STEM_SEPARATORS = "_-."
NUMBER_PATTERN = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")
# Number of values of one npy annotation that become columns; landmarks and maps have more and are skipped.
MAX_ARRAY_COLUMNS = 64


@dataclass
class _MatchedFiles:
    """The files of a source, sorted into images, annotations and the rest.

    Attributes
    ----------
    images
        Image by the key that it shares with its annotations.
    annotations
        (key of the image, kind of annotation, file) of each annotation.
    ignored
        All other files, each with the rule that leaves it out.
    """

    images: dict[str, Entry] = field(default_factory=dict)
    annotations: list[tuple[str, str, Entry]] = field(default_factory=list)
    ignored: list[tuple[Entry, str]] = field(default_factory=list)


class AnnotationReader:
    """Reads one column from each kind of label file, and ``split`` if all folders or shards name train, val or test."""

    rank = 15

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if most of its images have an annotation, otherwise None."""
        if labels is not None or not is_tree(source):
            return None
        entries = open_tree(source).entries()
        if not any(file_suffix(entry.name) in ANNOTATION_SUFFIXES for entry in entries.others):
            return None
        files = _match_annotations(entries)
        if _are_in_class_folders(files.images):
            return None
        n_annotated = len({key for key, _, _ in files.annotations})
        if not files.images or 2 * n_annotated <= len(files.images):
            return None
        return ReaderSpec(source=source, reader="annotations")

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all files of the source, with one label column for each kind of annotation."""
        tree = open_tree(resolve_source(data.source, folder))
        files = _match_annotations(tree.entries())
        rows: dict[str, dict[str, Any]] = {key: {} for key in files.images}
        for key, kind, entry in files.annotations:
            columns = _read_columns(kind, entry)
            if repeated_columns := rows[key].keys() & columns.keys():
                raise DataError(
                    f"annotation {entry.name!r} has column {min(repeated_columns)!r}, which another annotation of the "
                    "same image has too; rename one of the files"
                )
            rows[key] |= columns
        images = list(files.images.values())
        labels = pd.DataFrame(list(rows.values()), index=range(len(rows)))
        parts = [find_part(entry.name.rpartition("/")[0]) for entry in images]
        if any(parts) and "split" not in labels:
            labels["split"] = parts
        rules = {entry.name: rule for entry, rule in files.ignored}
        rules |= {entry.name: "is an annotation" for _, _, entry in files.annotations}
        return Listing.from_tree(tree, images, labels, rules).with_complete_split()


def _match_annotations(entries: Sequence[Entry]) -> _MatchedFiles:
    files = _MatchedFiles()
    for entry in entries:
        if entry.outcome == "ignored":
            files.ignored.append((entry, entry.reason))
        elif is_image_name(entry.name):
            key = make_twin_key(entry.name)
            if key in files.images:
                files.ignored.append((entry, f"shares its annotations with {files.images[key].name!r}"))
            else:
                files.images[key] = entry
    for entry in entries:
        if entry.outcome == "ignored" or is_image_name(entry.name):
            continue
        match = _find_annotated_image(entry.name, files.images)
        if match is None:
            files.ignored.append((entry, non_image_rule(entry.name)))
        else:
            files.annotations.append((*match, entry))
    return files


def _are_in_class_folders(images: Mapping[str, Entry]) -> bool:
    """Whether the images lie in several folders that can be classes: neither archives nor parts."""
    folders = {key.rpartition("/")[0].rpartition("/")[2] for key in images}
    return len(folders) > 1 and all(
        folder and not is_archive_name(folder) and find_part(folder) is None for folder in folders
    )


def _stem(name: str) -> str:
    return base_name(name).rpartition(".")[0]


def _find_annotated_image(name: str, images: Mapping[str, Entry]) -> tuple[str, str] | None:
    """Return the key of the image that an annotation belongs to, and its kind; None if there is no such image.

    The kind is the text after the image's stem, or the suffix if there is no such text.
    """
    if file_suffix(name) not in ANNOTATION_SUFFIXES:
        return None
    stem = _stem(name)
    if (key := make_twin_key(name, stem)) in images:
        return key, file_suffix(name).removeprefix(".")
    for end in range(len(stem) - 1, 0, -1):
        if stem[end] in STEM_SEPARATORS and (key := make_twin_key(name, stem[:end])) in images:
            return key, stem[end + 1 :]
    return None


def _read_columns(kind: str, entry: Entry) -> dict[str, Any]:
    """Return an annotation's values by column.

    Raises
    ------
    DataError
        the file cannot be read.
    """
    try:
        content = read_content(entry.uri)
        assert isinstance(content, bytes)
        return dict(_parse_columns(kind, file_suffix(entry.name), content))
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, RecursionError) as error:
        reason = error if isinstance(error, ReadError) else f"cannot be read: {error}"
        raise DataError(f"annotation {entry.name!r} {reason}; correct or remove it") from error


def _parse_columns(kind: str, suffix: str, content: bytes) -> Iterator[tuple[str, Any]]:
    if suffix == ".npy":
        array = read_npy(io.BytesIO(content), len(content))
        if array.size == 1:
            yield kind, _parse_scalar(str(array.item()))
        elif array.size <= MAX_ARRAY_COLUMNS:
            yield from ((f"{kind}_{number}", value) for number, value in enumerate(array.ravel().tolist()))
    elif suffix == ".json":
        document = parse_json(content)
        if isinstance(document, dict):
            values = {f"{kind}_{name}" if kind != "json" else name: value for name, value in document.items()}
        else:
            values = {kind: document}
        yield from ((name, value) for name, value in values.items() if isinstance(value, str | int | float | bool))
    else:
        yield kind, _parse_scalar(content.decode("utf-8-sig").strip())


def _parse_scalar(text: str) -> Any:
    """Return a text as a number if it is written as one (``007`` is not), otherwise as text; None if it is empty."""
    if not NUMBER_PATTERN.fullmatch(text):
        return text or None
    return float(text) if set(text) & set(".eE") else int(text)
