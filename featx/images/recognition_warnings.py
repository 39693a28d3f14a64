"""Warnings about tables and labels of a source that the user should check."""

import posixpath
from collections import Counter
from typing import Any

import pandas as pd

from featx.images.class_folders import explain_origin_folders
from featx.images.label_tables import ASSUMED_ENCODINGS, TableReport
from featx.images.name_pattern import suggest_pattern
from featx.images.names import find_part
from featx.images.path_columns import part_of_file
from featx.images.readers import Listing
from featx.images.split_columns import find_column_parts, find_split_column
from featx.images.target_proposals import TargetProposals, count_classes
from featx.images.unsupported_tables import explain_unsupported_tables
from featx.specs.data import ReaderSpec
from featx.tables.encoding import MAX_CLASSES
from featx.tables.manifest import Manifest

MAX_FOLDERS_NAMED = 4
MAX_CLASSES_NAMED = 4
# Mean number of images of a folder from which the folders may be classes.
MIN_IMAGES_OF_FOLDER = 4
# Encoding that a text is most likely to have if the detected one is wrong.
OTHER_ENCODINGS = {"cp1251": "koi8-r", "cp932": "gbk", "gbk": "cp932", "big5": "gbk", "cp1253": "cp1251"}
ARRAY_READERS = frozenset({"arrays", "datasets"})


def list_table_warnings(tables: tuple[TableReport, ...]) -> list[str]:
    """Return a warning for rows that name no image, for sheets that are not read, and for unreadable tables."""
    warnings = [
        f"{table.n_missing} of {table.n_rows} rows of {table.file} name no image of the source"
        for table in tables
        if table.is_used and table.n_missing
    ]
    warnings += [
        f"sheet {sheet!r} of {table.file} names {n} images too and is not read; put all rows into one sheet, or name "
        "the sheet to read in data.labels.sheet"
        for table in tables
        for sheet, n in table.other_sheets.items()
        if table.is_used
    ]
    if any(table.is_used for table in tables):
        return warnings
    return [
        f"{table.reason}; if it is the label table, correct it and run 'featx init' again"
        for table in tables
        if not table.format
    ]


def list_label_warnings(
    data: ReaderSpec, listing: Listing, proposals: TargetProposals, tables: tuple[TableReport, ...]
) -> list[str]:
    """Return a warning if images have no label, or if there is nothing to predict."""
    if proposals.targets:
        target_columns = proposals.targets[0].columns
        n_gaps = int(listing.manifest.labels[list(target_columns)].isna().any(axis=1).sum())
        return [f"{n_gaps} images have no {target_columns[0]!r}; the recipe leaves them out"] if n_gaps else []
    columns = listing.manifest.labels.columns
    is_array = data.reader_name in ARRAY_READERS
    pattern = "" if len(columns) or tables or is_array else suggest_pattern(listing.manifest.ids.tolist())
    if pattern:
        step = f"their names have equal parts: try featx init SOURCE --labels '{pattern}' with names of your own"
    elif len(columns) or any(table.path and len(table.columns) > 1 for table in tables):
        step = (
            f"expected 2 to {MAX_CLASSES} classes that repeat, or numbers; choose a column with 'featx init SOURCE "
            "--target COLUMN'"
        )
    elif is_array:
        step = "store them in the file as a dataset with one row for each image"
    elif not tables and (explanations := explain_unsupported_tables(listing.ignored)):
        step = explanations[0]
    else:
        step = (
            "name a table with a column of the images' paths with 'featx init SOURCE --labels FILE', or put the images "
            "into one folder for each class"
        )
    return [f"nothing is fitted, because there are no labels; {step}; without labels, extract, export and predict work"]


def list_part_warnings(manifest: Manifest, proposals: TargetProposals) -> list[str]:
    """Return warnings about classes or labels that are only in a given val or test part: no head can learn them."""
    if not proposals.targets or proposals.split_column is None or proposals.targets[0].kind == "numbers":
        return []
    parts = _given_parts(manifest, proposals.split_column).to_numpy()
    train_counts = count_classes(manifest.labels[parts == "train"], proposals.targets[0])
    counts = count_classes(manifest.labels[parts != "train"], proposals.targets[0])
    names = [name for name, n in counts.items() if n and not train_counts.get(name)]
    if not names:
        return []
    names_text = ", ".join(f"{name!r} ({counts[name]})" for name in names[:MAX_CLASSES_NAMED])
    drop_text = ", ".join(f'"{name}"' for name in names[:MAX_CLASSES_NAMED])
    return [
        f"{len(names)} classes are in the given val or test part and not in train: {names_text}"
        f"{', …' if len(names) > MAX_CLASSES_NAMED else ''}; no model can learn them: correct the split, or set "
        f"drop = [{drop_text}] in [targets.{proposals.targets[0].name}]"
    ]


def list_shared_group_warnings(manifest: Manifest, proposals: TargetProposals) -> list[str]:
    """Return a warning if groups have images in several parts of a given split: such a recipe cannot be fitted."""
    if proposals.split_column is None or proposals.group_column is None:
        return []
    groups = manifest.column(proposals.group_column)
    parts = _given_parts(manifest, proposals.split_column)
    part_counts = parts.groupby(groups).nunique()
    shared_groups = part_counts.index[part_counts > 1]
    if not shared_groups.size:
        return []
    part_names = " and ".join(sorted(parts[groups == shared_groups[0]].dropna().unique()))
    name = proposals.group_column
    return [
        f"{shared_groups.size} of {part_counts.size} values of {name!r} are in several parts of the given split, first "
        f"{shared_groups[0]!r} in {part_names}, and 'featx fit' refuses this: remove 'column' from [split] for a split "
        f"by {name!r}, or remove 'by' if images with the same {name!r} may be in several parts"
    ]


def _given_parts(manifest: Manifest, split_column: str) -> "pd.Series[Any]":
    """Return the part of each image in a given split; None for images without a part."""
    column = manifest.labels[split_column]
    part_by_value = find_column_parts(split_column, column) or {}
    return column.map(lambda value: part_by_value.get(str(value)))


def list_unused_label_warnings(data: ReaderSpec, manifest: Manifest, tables: tuple[TableReport, ...]) -> list[str]:
    """Return warnings about labels that are there and not used: class folders beside a table, lists of parts."""
    lists = [table.file for table in tables if not table.is_used and table.path and len(table.columns) == 1]
    lists = [file for file in lists if part_of_file(file) is not None]
    warnings = []
    if lists and data.parts is None and find_split_column(manifest.labels) is None:
        warnings.append(
            f"{', '.join(lists)} list the images of parts and are not used, and the split is made by featx; to use "
            "them, name them in data.parts"
        )
    if data.reader_name == "table":
        warnings += _list_class_folder_warnings(manifest)
    warnings += [
        f"{table.file} is not Unicode and was read as {name} (encoding = {encoding!r}); if names look wrong, write "
        f"another encoding into data.labels, such as encoding = {OTHER_ENCODINGS.get(encoding, 'cp1251')!r}"
        for table in tables
        for encoding, name in ASSUMED_ENCODINGS.items()
        if table.is_used and table.format.startswith(f"{name},")
    ]
    return warnings


def _list_class_folder_warnings(manifest: Manifest) -> list[str]:
    """Return a warning if the images that a table names lie in folders that may be classes.

    Folders with the same name count once, for example ``study1`` of every patient. There is no warning if the names are
    those of patients or dates.
    """
    counts = Counter(posixpath.basename(posixpath.dirname(uri)) for uri in manifest.uris)
    is_repeated = 1 < len(counts) <= len(manifest) // MIN_IMAGES_OF_FOLDER
    if not is_repeated or any(map(find_part, counts)) or explain_origin_folders(counts):
        return []
    folders_text = ", ".join(map(repr, sorted(counts)[:MAX_FOLDERS_NAMED]))
    return [
        f"the images lie in folders of {len(counts)} names ({folders_text}): if these are the classes, remove 'labels' "
        "from [data] and take column = 'class'"
    ]
