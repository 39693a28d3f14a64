"""Reading of label tables: the columns of labels, and the images that the column of paths names."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import DataError, MissingExtraError, ReadError
from featx.files.parsing import ParseError
from featx.files.table_files import (
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    check_column_names,
    list_sheets,
    read_binary_table,
)
from featx.files.text_tables import TextFormat, detect_format, parse_text_table
from featx.images.names import file_suffix, is_image_name, non_image_rule
from featx.images.path_matching import ImageIndex, PathRule
from featx.images.sources import read_content, shared
from featx.images.trees import Entry, FolderTree, Tree
from featx.images.unsupported_tables import explain_table_format
from featx.locations import base_folder
from featx.specs.base import to_normal_form
from featx.specs.data import LabelsSpec

QUOTES = {"double": '"', "single": "'"}
DECIMALS = {"point": ".", "comma": ","}


def to_path_texts(column: "pd.Series[Any]") -> list[str]:
    """Return the cells of a column of paths as text."""
    return column.astype("str").str.strip().tolist()


def make_path_rule(spec: LabelsSpec, root: str) -> PathRule:
    """Return the way from the paths of a table to the images below a root."""
    return PathRule(root, spec.strip_folders, spec.suffix, spec.match)


def find_images(root: Tree, texts: Sequence[str], rule: PathRule, table: str) -> tuple[list[Entry], list[str]]:
    """Return the image and the id of each path of a table; the outcome of an image that does not exist is ``missing``.

    An id is the path as written, or the image's name where the rule changes the path.

    Parameters
    ----------
    root
        Tree that the paths start from.
    texts
        n paths of the table.
    rule
        The way from paths to names of files.
    table
        Name of the table, for errors.

    Raises
    ------
    DataError
        a path can mean several images.
    """
    entries = root.entries().by_name
    matches = ImageIndex(entries, rule).find_all(texts)
    if matches.unclear:
        n_unclear = sum(text in matches.unclear for text in texts)
        text, (first_name, second_name, *_) = next(iter(matches.unclear.items()))
        raise DataError(
            f"{table}: {n_unclear} paths fit several images, first {text!r} ({first_name!r}, {second_name!r}); write "
            "longer paths into the table, or name the folder of its images in data.labels.root"
        )
    names = [name or text for name, text in zip(matches.names, texts, strict=True)]
    images = [
        # A table may name an image among files that are ignored otherwise.
        entries[name] if image_name and entries[name].outcome != "ignored" else root.entry(name)
        for name, image_name in zip(names, matches.names, strict=True)
    ]
    is_changed = rule.strip_folders or rule.suffix or rule.match != "path"
    return images, names if is_changed else list(texts)


def pop_paths(frame: pd.DataFrame, spec: LabelsSpec, file: str) -> list[str]:
    """Remove the column of paths from a label table and return it.

    Raises
    ------
    DataError
        there is no such column, or a path is missing.
    """
    if spec.path not in frame.columns:
        columns = ", ".join(map(str, frame.columns))
        raise DataError(f"data.labels.path: {file} has no column {spec.path!r}; columns: {columns}")
    paths = frame.pop(spec.path)
    if paths.isna().any():
        first_row = int(paths.isna().argmax())
        raise DataError(f"{file}: {int(paths.isna().sum())} rows have no path, first row {first_row}")
    return to_path_texts(paths)


def find_table(tree: Tree, file: str) -> Entry:
    """Return a label table: in the tree, beside it if the tree is an archive, or anywhere on disk.

    Raises
    ------
    DataError
        there is no such file, or its suffix is not that of a table.
    """
    table = tree.entry(file)
    home = base_folder(tree.place)
    if table.outcome and (home is not None or Path(file).is_absolute()):
        table = FolderTree(str(home or "/")).entry(file)
    if reason := table.reason if table.outcome else explain_table_format(file):
        raise DataError(
            f"data.labels.file: {file!r} from {tree.place}: {reason}; expected a label table "
            f"({', '.join(TABLE_SUFFIXES)})"
        )
    return table


@contextmanager
def _naming_file(file: Entry) -> Iterator[None]:
    """Put the name of a table before the errors of its parser."""
    try:
        yield
    except ParseError as error:
        raise ReadError(f"{file.name} cannot be read as a table: it {error}") from error
    except MissingExtraError as error:
        raise MissingExtraError(f"{file.name} {error}") from error


def read_sheet_names(file: Entry) -> list[str]:
    """Return the names of the sheets of an Excel file.

    Raises
    ------
    ReadError
        it cannot be read.
    MissingExtraError
        the package that reads Excel files is not installed.
    """
    with _naming_file(file):
        return list_sheets(read_table_bytes(file))


def read_labels(file: Entry, spec: LabelsSpec) -> pd.DataFrame:
    """Return a label table; spaces around the text of a cell are removed.

    Raises
    ------
    ReadError
        it cannot be read or does not have the columns of `spec`.
    MissingExtraError
        it is an Excel file, and the package that reads it is not installed.
    """
    format_settings = spec.model_dump(
        include={"columns", "encoding", "separator", "quote", "skip_lines", "decimal", "sheet", "text"}
    )
    frame = shared(("table", file.uri, repr(format_settings)), lambda: _read_labels(file, spec))
    return frame.copy(deep=False)


def _read_labels(file: Entry, spec: LabelsSpec) -> pd.DataFrame:
    content = read_table_bytes(file)
    with _naming_file(file):
        if file_suffix(file.name) in TEXT_SUFFIXES:
            frame = parse_text_table(content, _stated_format(content, spec), spec.columns, spec.text)
        else:
            frame = read_binary_table(content, file_suffix(file.name), spec.sheet, spec.text)
    if spec.columns and file_suffix(file.name) not in TEXT_SUFFIXES:
        raise ReadError(f"{file.name}: data.labels.columns names the columns of a text table, found another format")
    # Names of columns in a Parquet file may be numbers or tuples.
    frame.columns = pd.Index([to_normal_form(str(name)) for name in frame.columns])
    with _naming_file(file):
        check_column_names(frame)
    for name, column in frame.items():
        if column.dtype == object:
            frame[name] = column.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
        elif column.dtype == "str":
            frame[name] = column.str.strip()
    return frame


def _stated_format(content: bytes, spec: LabelsSpec) -> TextFormat:
    """Return the format of a text table: as the spec states it, otherwise as detected."""
    detected_format = detect_format(content)
    return TextFormat(
        spec.encoding or detected_format.encoding,
        spec.separator or detected_format.separator,
        QUOTES[spec.quote] if spec.quote else detected_format.quote,
        detected_format.skip_lines if spec.skip_lines is None else spec.skip_lines,
        DECIMALS[spec.decimal] if spec.decimal else None,
    )


def read_table_bytes(file: Entry) -> bytes:
    """Return the bytes of a table.

    Raises
    ------
    ReadError
        it cannot be read.
    """
    try:
        content = shared(("bytes", file.uri), lambda: read_content(file.uri))
    except OSError as error:
        raise ReadError(f"{file.name} cannot be read as a table: {error}") from error
    assert isinstance(content, bytes)
    return content


def warn_of_outside_paths(root: Tree, names: list[str], table: str) -> list[str]:
    """Return one warning if paths of a table that lead to no file of a tree point outside its folder."""
    if not isinstance(root, FolderTree):
        return []
    home = f"{os.path.abspath(root.place)}{os.sep}"  # noqa: PTH100 (links are not followed)
    suspects = [name for name in names if name.startswith("/") or ".." in name]
    outside_names = [name for name in suspects if not os.path.abspath(os.path.join(home, name)).startswith(home)]  # noqa: PTH100, PTH118
    if not outside_names:
        return []
    return [f"{len(outside_names)} paths of {table} point outside {root.place}, first {outside_names[0]!r}; check them"]


def relate_to_source(source: str, labels: str) -> str:
    """Return the path of a local label table relative to the source, or absolute if the source is a URL."""
    home = base_folder(source)
    return os.path.abspath(labels) if home is None else os.path.relpath(labels, home)  # noqa: PTH100 (both as text)


def find_ignore_rule(name: str, table: str, sheet: str | None) -> str:
    """Return the rule by which a file beside the images of a table, or of one sheet of it, is left out."""
    if name == table:
        return "is the label table"
    place = table if sheet is None else f"sheet {sheet!r} of {table}"
    return f"is not named in {place}" if is_image_name(name) else non_image_rule(name)
