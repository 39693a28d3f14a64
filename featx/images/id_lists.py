"""Lists without headers that are joined by ids, as of CUB-200: ``images.txt``, ``image_class_labels.txt``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.text_tables import detect_encoding
from featx.images.label_files import find_images, read_table_bytes
from featx.images.names import base_name, is_image_name, split_words
from featx.images.path_columns import rank_image_folder
from featx.images.path_matching import NameIndex, PathRule, find_rule
from featx.images.readers import Listing
from featx.images.sources import is_tree, join_place, open_tree
from featx.images.table_listing import list_tables
from featx.images.trees import Entry, Tree
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec
from featx.tables.ids import sample_rows

# Rule of the files that hold the lists.
JOINED_RULE = "is a list that is joined by ids"
LIST_SUFFIX = ".txt"
MIN_LISTS = 2
# Number of rows of a list that are compared with the names of the images.
MAX_INSPECTED_ROWS = 200
MIN_NAMED = 0.5
# Words of a file's name that do not name its column.
GENERAL_WORDS = frozenset({"image", "images", "img", "label", "labels", "id", "ids", "list", "txt", "names", "of"})


@dataclass(frozen=True)
class IdLists:
    """Lists of a source with the same ids.

    Attributes
    ----------
    images
        Name of the list of images.
    paths
        Path by id.
    rule
        The way from paths to names of images.
    columns
        Value by id, by name of the column.
    files
        Names of all files that are used.
    """

    images: str
    paths: Mapping[str, str]
    rule: PathRule
    columns: Mapping[str, Mapping[str, str]]
    files: Sequence[str]


class IdListReader:
    """Reads lists ``id value`` that are joined by their ids; columns are called after the files."""

    rank = 9

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if it has a list of images and lists of labels with the same ids."""
        if labels is not None or not is_tree(source):
            return None
        lists = _find_lists(open_tree(source))
        if lists is None or not any(name != "split" for name in lists.columns):
            return None
        return ReaderSpec(source=source, reader="id_lists")

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return the images of the list, with one column for each list of labels.

        Raises
        ------
        DataError
            there is no list of images with lists of labels.
        """
        tree = open_tree(resolve_source(data.source, folder))
        lists = _find_lists(tree)
        if lists is None:
            raise DataError(
                f"no images in {data.source!r}: it has no list of images with lists of labels; expected files such as "
                "images.txt with '1 cat/0.png' and image_class_labels.txt with '1 7'"
            )
        root = tree if lists.rule.root == "." else open_tree(join_place(tree.place, lists.rule.root))
        entries, ids = find_images(root, list(lists.paths.values()), lists.rule, lists.images)
        columns = {name: [values.get(key) for key in lists.paths] for name, values in lists.columns.items()}
        uris = {entry.uri for entry in entries}
        rules = {
            entry.name: JOINED_RULE if entry.name in lists.files else _find_rule(entry, lists.images)
            for entry in tree.entries()
            if entry.uri not in uris
        }
        return Listing.from_entries(entries, pd.DataFrame(columns, dtype=object), rules, ids)


def _find_rule(entry: Entry, images: str) -> str:
    return f"is not named in {images}" if entry.is_image else entry.non_image_reason


def _find_lists(tree: Tree) -> IdLists | None:
    """Return the lists of a tree that are joined by ids; None if there is no list of images with labels."""
    files = [name for name in list_tables(tree) if name.lower().endswith(LIST_SUFFIX)]
    if len(files) < MIN_LISTS:
        return None
    lists = {file: rows for file in files if (rows := _read_list(tree.entry(file)))}
    for file, rows in lists.items():
        rule = _find_image_rule(tree, file, rows) if len(lists) >= MIN_LISTS else None
        if rule is None:
            continue
        other_lists = {name: rows_of_list for name, rows_of_list in lists.items() if name != file}
        columns, used_files = _make_columns(rows, other_lists)
        if columns:
            return IdLists(file, rows, rule, columns, (file, *used_files))
    return None


def _read_list(entry: Entry) -> dict[str, str]:
    """Return the value by id of a list; empty if a line is not an id and a value, or an id occurs twice."""
    try:
        content = read_table_bytes(entry)
    except ReadError:
        return {}
    lines = [line.split(None, 1) for line in content.decode(detect_encoding(content), "replace").splitlines()]
    rows = [cells for cells in lines if cells]
    if not rows or any(len(cells) < 2 for cells in rows):
        return {}
    values = {cells[0]: cells[1].strip() for cells in rows}
    return values if len(values) == len(rows) else {}


def _find_image_rule(tree: Tree, file: str, rows: Mapping[str, str]) -> PathRule | None:
    """Return the way from the values of a list to images; None if they name none, or the ids do."""
    keys, paths = list(rows), list(rows.values())
    sample = sample_rows(len(paths), MAX_INSPECTED_ROWS)
    texts = [paths[row] for row in sample]
    if not all(map(is_image_name, texts)) or any(is_image_name(keys[row]) for row in sample):
        return None
    rule, n = find_rule(texts, NameIndex(tree.entries().image_names), partial(rank_image_folder, file))
    return rule if n >= MIN_NAMED * len(texts) else None


def _make_columns(
    images: Mapping[str, str], other_lists: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, Mapping[str, str]], list[str]]:
    """Return the columns of the lists that have the ids of the images, and the files that they come from."""
    labels = {
        file: rows
        for file, rows in other_lists.items()
        if len(images.keys() & rows.keys()) > MIN_NAMED * len(images) and not any(" " in v for v in rows.values())
    }
    names = {file: rows for file, rows in other_lists.items() if file not in labels}
    columns: dict[str, Mapping[str, str]] = {}
    files = list(labels)
    for file, rows in labels.items():
        words = split_words(base_name(file).removesuffix(LIST_SUFFIX))
        if {"train", "test"} <= set(words) and set(rows.values()) <= {"0", "1"}:
            columns["split"] = {key: "train" if value == "1" else "test" for key, value in rows.items()}
            continue
        column = "_".join(word for word in words if word not in GENERAL_WORDS) or "label"
        values = {rows[key] for key in images.keys() & rows.keys()}
        for name_file, texts in names.items():
            if values <= texts.keys() and _stands_for(column, base_name(name_file)):
                rows = {key: texts.get(value, value) for key, value in rows.items()}
                files.append(name_file)
                break
        columns[column] = rows
    return columns, files


def _stands_for(column: str, file: str) -> bool:
    """Whether a file names the values of a column: ``classes.txt`` those of ``class``."""
    words = {word.removesuffix("es").removesuffix("s") for word in split_words(file)}
    return bool(words & {"clas", "class", "label", "name", "categori", "specie", column.removesuffix("s")})
