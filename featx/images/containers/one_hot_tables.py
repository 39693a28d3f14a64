"""Roboflow's multi-class exports: ``_classes.csv`` beside the images of each part, with one column per class."""

import pandas as pd

from featx.errors import DataError
from featx.files.parsing import ParseError
from featx.files.table_files import check_column_names
from featx.files.text_tables import detect_format, parse_text_table
from featx.images.containers.categories import Categories, CategoryReader, read_annotation
from featx.images.names import base_name
from featx.images.trees import Entry, Tree

TABLE_NAME = "_classes.csv"
PATH_COLUMN = "filename"


class OneHotReader(CategoryReader):
    """Reads the classes of each image from the tables beside the images."""

    name = "one_hot"
    rank = 8

    def has_annotations(self, tree: Tree) -> bool:
        """Whether a folder of the tree holds such a table."""
        return bool(_list_tables(tree))

    def read_categories(self, tree: Tree) -> Categories:
        """Return the classes of all images that the tables name."""
        categories = Categories()
        for table in _list_tables(tree):
            frame = _read_table(table)
            home = table.name.removesuffix(TABLE_NAME)
            paths = frame.pop(PATH_COLUMN).astype(str).str.strip()
            flags = frame.to_numpy() == 1
            for path, row in zip(paths, flags, strict=True):
                image = tree.entry(home + path)
                names = {str(name) for name, flag in zip(frame.columns, row, strict=True) if flag}
                if categories.by_image.setdefault(image, names) != names:
                    raise DataError(
                        f"annotation {table.name!r} has several rows with different classes for {path!r}; expected one "
                        "row for each image"
                    )
            categories.annotations[table.name] = "is the label table"
        return categories


def _list_tables(tree: Tree) -> list[Entry]:
    return [entry for entry in tree.entries().readable(".csv") if base_name(entry.name) == TABLE_NAME]


def _read_table(table: Entry) -> pd.DataFrame:
    """Return a table of file names and columns of 0 and 1.

    Raises
    ------
    DataError
        it is no such table.
    """
    try:
        content = read_annotation(table)
        frame = parse_text_table(content, detect_format(content))
        check_column_names(frame)
    except ParseError as error:
        raise DataError(f"annotation {table.name!r} {error}; correct or remove it") from error
    values = frame.drop(columns=PATH_COLUMN, errors="ignore")
    if PATH_COLUMN not in frame.columns or not values.isin([0, 1]).all(axis=None) or frame[PATH_COLUMN].isna().any():
        columns = ", ".join(map(str, frame.columns))
        raise DataError(
            f"annotation {table.name!r} has the columns {columns}; expected {PATH_COLUMN!r} and columns of 0 and 1"
        )
    return frame
