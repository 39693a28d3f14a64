"""The column of a label table whose cells name the images of a tree."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from featx.images.class_folders import IMAGE_WORDS
from featx.images.label_files import to_path_texts
from featx.images.names import base_name, find_part, is_archive_name, is_image_name, split_words
from featx.images.path_matching import NameIndex, PathRule, find_number_rule, find_rule, normalise_path
from featx.images.sources import join_place, open_tree
from featx.images.trees import Tree
from featx.tables.ids import sample_rows

# Number of rows of a column that are compared with the names of the images.
MAX_INSPECTED_ROWS = 200
# Share of the inspected rows that must name an image.
MIN_NAMED = 0.5
# Words of the name of a column whose numbers name images.
NUMBER_WORDS = frozenset(
    {"id", "ids", "image", "img", "file", "filename", "name", "number", "no", "nr", "num", "index"}
    | {"idx", "path", "photo", "picture", "sample", "scan", "slice", "tile", "column1"}
)
# Fewer numbers may equal those of names by chance.
MIN_NUMBERED_ROWS = 3


class PathColumn(NamedTuple):
    """A column with paths of images: its name, the rule for its paths, and whether the images exist."""

    name: str
    rule: PathRule
    has_images: bool


def find_path_column(tree: Tree, frame: pd.DataFrame, file: str, with_header: bool) -> PathColumn | None:
    """Return the column whose cells name most images of a tree or of an archive in it; None if there is none."""
    for archive in (None, *_list_archives(tree)):
        searched_tree = tree if archive is None else open_tree(join_place(tree.place, archive))
        names = NameIndex(searched_tree.entries().image_names)
        path_column, max_named = None, 0
        for column in frame.columns:
            texts = _sample_texts(frame[column])
            if not texts:
                continue
            rule, n = find_rule(texts, names, partial(rank_image_folder, file))
            if n > max_named and n >= MIN_NAMED * len(texts) and _are_varied(texts):
                is_header_an_image = with_header and find_rule([str(column)], names)[1] > 0
                if is_header_an_image or (with_header and is_image_name(str(column))):
                    return None
                path_column, max_named = PathColumn(str(column), _add_archive(rule, archive), True), n
        if path_column is not None:
            return path_column
    return (
        _find_number_column(tree, frame, with_header)
        or _find_column_of_part(tree, frame, file, with_header)
        or _find_column_of_image_names(frame, with_header)
    )


def _find_number_column(tree: Tree, frame: pd.DataFrame, with_header: bool) -> PathColumn | None:
    """Return the first column whose numbers, all different, are those of most images' names; None without a header."""
    names = tree.entries().image_names if with_header else []
    for column in frame.columns if names else []:
        texts = _sample_texts(frame[column])
        # Other columns of numbers, such as the epochs of a training log, name no images.
        can_name_images = bool(NUMBER_WORDS & set(split_words(str(column)))) or not any(
            text.isdigit() for text in texts
        )
        if can_name_images and len(texts) >= MIN_NUMBERED_ROWS and frame[column].astype(str).is_unique:
            rule, n = find_number_rule(texts, names)
            if n >= MIN_NAMED * len(texts):
                return PathColumn(str(column), rule, True)
    return None


def _find_column_of_part(tree: Tree, frame: pd.DataFrame, file: str, with_header: bool) -> PathColumn | None:
    """Return the first column that names images of a tree among many that are not in it; None if there is none.

    Its cells end like names of images, or name most images of the tree; numbers do so by chance.
    """
    image_names = tree.entries().image_names
    ends = {base_name(name) for name in image_names}
    ends |= {end.rpartition(".")[0] for end in ends}
    for column in frame.columns if ends else []:
        sample = _sample_texts(frame[column])
        if not sample or not _are_varied(sample) or (with_header and is_image_name(str(column))):
            continue
        image_texts = [
            text for text in to_path_texts(frame[column].dropna()) if base_name(normalise_path(text)) in ends
        ]
        min_named = 1 if _are_image_names(sample) else max(1, MIN_NAMED * len(image_names))
        if len(image_texts) < min_named or all(text.isdigit() for text in image_texts):
            continue
        inspected_texts = [image_texts[row] for row in sample_rows(len(image_texts), MAX_INSPECTED_ROWS)]
        rule, n = find_rule(inspected_texts, NameIndex(image_names), partial(rank_image_folder, file))
        if n >= MIN_NAMED * len(inspected_texts):
            return PathColumn(str(column), rule, True)
    return None


def _are_image_names(texts: list[str]) -> bool:
    """Whether most texts end like names of images."""
    return sum(map(is_image_name, texts)) > MIN_NAMED * len(texts)


def _are_varied(texts: list[str]) -> bool:
    """Whether texts can be paths: a column of 0 and 1 may name images too, but its values occur in many rows."""
    return len(set(texts)) >= MIN_NAMED * len(texts) or all(map(is_image_name, texts))


def _find_column_of_image_names(frame: pd.DataFrame, with_header: bool) -> PathColumn | None:
    """Return the first column whose cells end like names of images, although the source has none of them."""
    for column in frame.columns:
        texts = _sample_texts(frame[column])
        if texts and _are_image_names(texts):
            return None if with_header and is_image_name(str(column)) else PathColumn(str(column), PathRule(), False)
    return None


def part_of_file(file: str) -> str | None:
    """Return the part of a split that the name of a table, or of its folder, stands for."""
    folder, _, name = file.rpartition("/")
    return find_part(name.rpartition(".")[0]) or find_part(base_name(folder))


def rank_image_folder(file: str, folder: str) -> int:
    """Return the rank of a folder as that of a table's images: its own folder, one of its part, or one of images."""
    part = part_of_file(file)
    if folder == (file.rpartition("/")[0] or ".") or (part is not None and find_part(folder) == part):
        return 2
    return int(bool(IMAGE_WORDS & set(split_words(base_name(folder)))))


def _add_archive(rule: PathRule, archive: str | None) -> PathRule:
    if archive is None:
        return rule
    return replace(rule, root=archive if rule.root == "." else f"{archive}!{rule.root}")


def _list_archives(tree: Tree) -> list[str]:
    """Return the archives at the top of a folder."""
    if is_archive_name(tree.place):
        return []
    names = [entry.name for entry in tree.entries().others if not entry.outcome and "/" not in entry.name]
    return [name for name in names if is_archive_name(name)]


def _sample_texts(column: "pd.Series[Any]") -> list[str]:
    """Return the texts of an even sample of a column; empty if it holds lists, mappings or fractions."""
    values = column.dropna()
    if not len(values) or values.dtype.kind in "fbmMc":
        return []
    rows = sample_rows(len(values), MAX_INSPECTED_ROWS)
    sample = values.iloc[rows].tolist()
    return [] if any(isinstance(value, list | dict | np.ndarray) for value in sample) else [str(v) for v in sample]
