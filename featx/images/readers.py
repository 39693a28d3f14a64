"""The interface of readers, which list the images of a source; `featx.registry.READERS` names the readers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.images.label_columns import to_plain_columns
from featx.images.names import file_suffix, non_image_rule, part_of
from featx.images.part_lists import read_parts
from featx.images.trees import Entry, Tree
from featx.registry import READERS
from featx.specs.data import ReaderSpec
from featx.tables.ids import Ids, positions
from featx.tables.manifest import Manifest

UNLISTED_RULE = "is in no list of parts"
NO_PART_RULE = "has no part of the given split"


@dataclass(frozen=True, eq=False)
class Listing:
    """All files of a source: the images in a manifest without digests, and the ignored files.

    Attributes
    ----------
    manifest
        Ids, uris and labels of n images.
    states
        (n,) state of the file that holds each image, for the digest cache; None if it has no state.
    known
        Outcome and reason by id of the images that are known to be ``missing`` or ``unreadable`` without reading them.
    ignored
        Rule by id of each file that is not an image of the study.
    warnings
        Messages about files that the user should check.
    """

    manifest: Manifest
    states: NDArray[np.object_]
    known: Mapping[str, tuple[str, str]]
    ignored: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_entries(
        cls,
        entries: Sequence[Entry],
        labels: pd.DataFrame,
        ignored: Mapping[str, str],
        ids: Sequence[str] | None = None,
        warnings: Sequence[str] = (),
    ) -> Self:
        """Return a listing of n images.

        Parameters
        ----------
        entries
            n files.
        labels
            n rows of labels.
        ignored
            Rule by id of each ignored file.
        ids
            n ids; None takes the names of the files.
        warnings
            Messages about files that the user should check.
        """
        n = len(entries)
        names = np.asarray([entry.name for entry in entries] if ids is None else ids, dtype=object)
        states = np.empty(n, dtype=object)
        states[:] = [entry.state for entry in entries]
        rows = [row for row, entry in enumerate(entries) if entry.outcome]
        outcomes = {names[row]: (entries[row].outcome, entries[row].reason) for row in rows}
        uris = np.asarray([entry.uri for entry in entries], dtype=object)
        manifest = Manifest(
            names, uris, to_plain_columns(labels).set_index(pd.Index(names, dtype=object)), np.full(n, "", dtype=object)
        )
        return cls(manifest, states, outcomes, ignored, tuple(warnings))

    @classmethod
    def from_tree(
        cls,
        tree: Tree,
        entries: Sequence[Entry],
        labels: pd.DataFrame,
        rules: Mapping[str, str],
        warnings: Sequence[str] = (),
    ) -> Self:
        """Return a listing of n images of a tree, whose ids begin with the prefix of the tree.

        Parameters
        ----------
        tree
            The tree.
        entries
            n files of the tree.
        labels
            n rows of labels.
        rules
            Rule by name of each ignored file.
        warnings
            Messages about files that the user should check.
        """
        prefix = tree.prefix
        ids = [prefix + entry.name for entry in entries]
        ignored_rules = {prefix + name: rule for name, rule in rules.items()}
        return cls.from_entries(entries, labels, ignored_rules, ids, warnings)

    def __len__(self) -> int:
        return len(self.manifest)

    def without(self, rules: Mapping[str, str]) -> "Listing":
        """Return the listing with some images moved to the ignored files.

        Parameters
        ----------
        rules
            Rule by id of the images to ignore.
        """
        if not rules:
            return self
        remaining_listing = self.take([name for name in self.manifest.ids if name not in rules])
        outcomes = {name: outcome for name, outcome in self.known.items() if name not in rules}
        return replace(remaining_listing, known=outcomes, ignored={**self.ignored, **rules})

    def with_parts(self, parts: Mapping[str, str], *, has_train_list: bool) -> "Listing":
        """Return the listing with a label column ``split``.

        Parameters
        ----------
        parts
            Part by uri of the image.
        has_train_list
            Whether images without a part are left out; otherwise they are in train.

        Raises
        ------
        DataError
            no image has a part, or there is a column ``split`` already.
        """
        labels = self.manifest.labels
        values = [parts.get(uri) for uri in self.manifest.uris]
        if "split" in labels.columns or not any(value is not None for value in values):
            problem = "a label column is called 'split' too" if "split" in labels.columns else "no image is in a list"
            raise DataError(f"data.parts: {problem}; correct the lists, or remove data.parts")
        filled_values = values if has_train_list else ["train" if value is None else value for value in values]
        split = np.asarray(filled_values, dtype=object)
        listing = replace(self, manifest=replace(self.manifest, labels=labels.assign(split=split)))
        unlisted_rules = {
            name: UNLISTED_RULE for name, value in zip(self.manifest.ids, filled_values, strict=True) if value is None
        }
        warning = f"{len(unlisted_rules)} images are in no list of parts and are left out"
        return replace(
            listing.without(unlisted_rules), warnings=(*self.warnings, *([warning] if unlisted_rules else []))
        )

    def with_complete_split(self) -> "Listing":
        """Return the listing without the images that have no part, if train and another part remain.

        The column ``split`` is a split if one part is train and another one is not. Otherwise a column that does not
        put all images into train is left out.
        """
        labels = self.manifest.labels
        if "split" not in labels:
            return self
        is_missing = labels["split"].isna().to_numpy()
        n_missing = int(is_missing.sum())
        parts_by_value = {value: part_of(str(value)) for value in labels["split"].dropna().unique().tolist()}
        # A column of other words is no column of parts.
        if None in parts_by_value.values():
            return self
        parts = sorted(set(map(str, parts_by_value.values())))
        if "train" in parts and (len(parts) > 1 or not is_missing.any()):
            if not n_missing:
                return self
            ids = self.manifest.ids[is_missing]
            warning = (
                f"{n_missing} of {len(self)} images without a part of the given split ({', '.join(parts)}) are left "
                f"out, first {ids[0]!r}; give them a part to use them"
            )
            return replace(self.without(dict.fromkeys(ids, NO_PART_RULE)), warnings=(*self.warnings, warning))
        gaps_text = f"{n_missing} of {len(self)} images have no part"
        problem = gaps_text if "train" in parts else "no image is in train"
        warning = f"no split is taken from the parts of the images ({', '.join(parts)}), because {problem}"
        manifest = replace(self.manifest, labels=labels.drop(columns="split"))
        is_one_part = len(parts) < 2 and not is_missing.any()
        return replace(self, manifest=manifest, warnings=(*self.warnings, *([] if is_one_part else [warning])))

    def take(self, ids: Ids) -> "Listing":
        """Return the listing with the images of `ids`, in their order."""
        rows = positions(self.manifest.ids, ids, "listing")
        return replace(self, manifest=self.manifest.take(ids), states=self.states[rows])


class Reader(Protocol):
    """The interface of a reader: it knows one layout of images and labels in a source.

    Attributes
    ----------
    rank
        Position among the readers that try to recognise a source, lowest first; specific layouts have low ranks.
    """

    rank: int

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read `source`, or None if it does not have this layout.

        Parameters
        ----------
        source
            A place that `featx.images.sources.open_tree` takes, or an array file.
        labels
            Path of the label table, or pattern of the images' names, that the user named; None by default.
        target
            Name of the column to predict, if the user named it.
        """

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all files, with the labels of the images; no image is opened, digests are empty.

        Parameters
        ----------
        data
            The source and how to read it.
        folder
            Folder that relative paths in `data` start from.

        Raises
        ------
        DataError
            the labels cannot be read or do not fit the images.
        """


def read_source(data: ReaderSpec, folder: Path) -> Listing:
    """Return the files of a source, listed by the reader that its spec names.

    Parameters
    ----------
    data
        The source and how to read it.
    folder
        Folder that relative paths in `data` start from.

    Raises
    ------
    DataError
        there are no images, or the labels cannot be read.
    """
    reader: Reader = READERS.get(data.reader_name)()
    listing = reader.read(data, folder)
    if data.parts is not None:
        tables = data.parts.tables
        listing = listing.with_parts(read_parts(data, folder), has_train_list="train" in tables or None in tables)
    if not len(listing):
        name, rule = next(iter(listing.ignored.items()), ("", ""))
        other_files = f" (it holds {len(listing.ignored)} other files; the first, {name!r}, {rule})" if name else ""
        raise DataError(
            f"no usable images in {data.source!r}{other_files}; expected one sub-folder per class with images, a label "
            "table that names them ('featx init SOURCE --labels FILE'), or array files"
        )
    return listing


def list_files(source: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files with some suffixes: the source itself, or those directly in the folder; empty if none exists."""
    files = [source] if source.is_file() else sorted(source.iterdir()) if source.is_dir() else []
    return [file for file in files if file_suffix(file.name) in suffixes and file.is_file()]


def list_other_files(source: Path, suffixes: Collection[str]) -> dict[str, str]:
    """Return the rule by name of each file directly in a folder with another suffix; empty if the source is a file."""
    files = sorted(file for file in source.iterdir() if file.is_file()) if source.is_dir() else []
    return {file.name: non_image_rule(file.name) for file in files if file_suffix(file.name) not in suffixes}
