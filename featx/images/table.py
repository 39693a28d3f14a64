"""Label tables with a column of image paths and columns of labels."""

from pathlib import Path

import pandas as pd

from featx.errors import DataError
from featx.images.label_files import (
    find_ignore_rule,
    find_images,
    find_table,
    make_path_rule,
    pop_paths,
    read_labels,
    warn_of_outside_paths,
)
from featx.images.readers import Listing
from featx.images.repeated_rows import find_first_rows, warn_of_repeats
from featx.images.sources import is_tree, join_place, open_tree
from featx.images.table_choice import examine_source, split_table_place
from featx.images.trees import Entry, Tree
from featx.locations import resolve_source
from featx.registry import suggest_names
from featx.specs.data import LabelsSpec, ReaderSpec


class TableReader:
    """Reads label tables: their columns are the labels, without the column of paths."""

    rank = 10

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the label table, or None if no table holds labels.

        Raises
        ------
        DataError
            the user named a table that names no images, or several tables fit.
        """
        place, label_table = split_table_place(source, labels)
        if not is_tree(place):
            return None
        spec = examine_source(place, label_table, target).spec
        return None if spec is None else ReaderSpec(source=place, labels=spec)

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return the images that the tables name, with their labels; the other files beside them are ignored."""
        if data.labels is None or data.labels.file is None:
            raise DataError("data.labels: is missing; the reader 'table' needs a label table, 'labels = { file = … }'")
        place = resolve_source(data.source, folder)
        tree = open_tree(place)
        parts = [_read_part(tree, data.labels, part) for part in data.labels.tables]
        entries = [entry for part_entries, _, _, _ in parts for entry in part_entries]
        ids = [name for _, names, _, _ in parts for name in names]
        frame = pd.concat([labels for _, _, labels, _ in parts], ignore_index=True) if len(parts) > 1 else parts[0][2]
        rules = _list_ignored_files(tree, data.labels, entries)
        warnings = [text for *_, texts in parts for text in texts]
        if len(parts) > 1:
            entries, ids, frame, repeats = _drop_repeats(entries, ids, frame, " and ".join(data.labels.files))
            warnings += repeats
        return Listing.from_entries(entries, frame, rules, ids, warnings)


def _read_part(
    tree: Tree, spec: LabelsSpec, part: str | None
) -> tuple[list[Entry], list[str], pd.DataFrame, list[str]]:
    """Return the images that one table names, their ids, their labels, and warnings."""
    file, place = spec.tables[part]
    frame = read_labels(find_table(tree, file), spec)
    texts = pop_paths(frame, spec, file)
    for joined_file in spec.join:
        frame = _join_columns(frame, texts, read_labels(find_table(tree, joined_file), spec), spec, joined_file)
    if unknown_names := [name for name in spec.text if name not in frame.columns]:
        raise DataError(
            f"data.labels.text: {len(unknown_names)} of {len(spec.text)} names are no columns, first "
            f"{unknown_names[0]!r}; {suggest_names(unknown_names[0], list(frame.columns), title='columns')}"
        )
    root = tree if place == "." else open_tree(join_place(tree.place, place))
    entries, ids = find_images(root, texts, make_path_rule(spec, place), file)
    files = root.entries().by_name
    other_texts = [text for entry, text in zip(entries, texts, strict=True) if entry.name not in files]
    entries, ids, frame, warnings = _drop_repeats(entries, ids, frame, file)
    if part is not None:
        frame = frame.assign(split=part)
        ids = ids if place == "." else [f"{place}/{name}" for name in ids]
    return entries, ids, frame, [*warnings, *warn_of_outside_paths(root, other_texts, file)]


def _drop_repeats(
    entries: list[Entry], ids: list[str], frame: pd.DataFrame, table: str
) -> tuple[list[Entry], list[str], pd.DataFrame, list[str]]:
    """Return the rows without those that repeat another row, and a warning if there are any.

    Raises
    ------
    DataError
        rows of one image have different labels.
    """
    images = [entry.uri or name for entry, name in zip(entries, ids, strict=True)]
    rows = find_first_rows(images, ids, frame, table)
    if len(rows) == len(ids):
        return entries, ids, frame, []
    warnings = warn_of_repeats(len(ids) - len(rows), table)
    return [entries[row] for row in rows], [ids[row] for row in rows], frame.iloc[rows].reset_index(drop=True), warnings


def _join_columns(
    frame: pd.DataFrame, texts: list[str], joined_table: pd.DataFrame, spec: LabelsSpec, file: str
) -> pd.DataFrame:
    """Return a table with the columns of another one, whose rows are found by their paths.

    Raises
    ------
    DataError
        it lacks a path, or has a column of the same name.
    """
    paths = pop_paths(joined_table, spec, file)
    rows = find_first_rows(paths, paths, joined_table, file)
    joined_table = joined_table.set_index(pd.Index(paths)).iloc[rows]
    if repeated_columns := set(joined_table.columns) & set(frame.columns):
        raise DataError(f"data.labels.join: {file} has column {min(repeated_columns)!r} too; expected different names")
    if missing_paths := [text for text in texts if text not in joined_table.index]:
        raise DataError(f"data.labels.join: {file} lacks {len(missing_paths)} images, first {missing_paths[0]!r}")
    return frame.join(joined_table.loc[texts].reset_index(drop=True))


def _list_ignored_files(tree: Tree, spec: LabelsSpec, entries: list[Entry]) -> dict[str, str]:
    """Return the rule by name of each other file in the folders of the named images."""
    uris = {entry.uri for entry in entries}
    file = spec.files[0]
    rules: dict[str, str] = {}
    for _, place in dict.fromkeys(spec.tables.values()):
        root = tree if place == "." else open_tree(join_place(tree.place, place))
        for entry in root.siblings([entry.name for entry in entries]):
            if entry.uri not in uris:
                is_other_table = entry.name in spec.files[1:]
                rule = "is a label table" if is_other_table else find_ignore_rule(entry.name, file, spec.sheet)
                rules[entry.name] = entry.reason if entry.outcome == "ignored" else rule
    return rules
