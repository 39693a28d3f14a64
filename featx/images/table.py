"""CSV, TSV or Parquet tables with a column of image paths and columns of labels."""

import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.parsing import ParseError, parse_csv, read_parquet
from featx.images.names import base_name, file_suffix, is_archive_name, is_image_name, non_image_rule
from featx.images.readers import Listing
from featx.images.sources import is_tree, join_place, open_tree, read_content
from featx.images.trees import Entry, FolderTree, Tree
from featx.locations import base_folder, is_url, resolve_source
from featx.specs.data import LabelsSpec, ReaderSpec

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "whitespace": r"\s+"}
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
# A trailing separator makes no index column. Only these texts are missing values: "None" and "null" are words.
CSV_OPTIONS: dict[str, Any] = {
    "skipinitialspace": True,
    "index_col": False,
    "keep_default_na": False,
    "na_values": ["", "NaN", "nan", "NA", "N/A", "n/a", "<NA>", "#N/A"],
}
# Number of rows of a column that are inspected for paths of images.
MAX_INSPECTED_ROWS = 50


class TableReader:
    """Reads a label table: its columns are the labels, without the column of paths."""

    rank = 10

    def recognise(self, source: str, labels: str | None) -> ReaderSpec | None:
        """Return how to read the first table with a column of image paths, or None if there is no such table."""
        if file_suffix(source) in TABLE_SUFFIXES and Path(source).is_file():
            labels, source = source, str(Path(source).parent)
        if not is_tree(source):
            return None
        tree = open_tree(source)
        tables = (
            [labels] if labels else [name for name in _top_level_names(tree) if file_suffix(name) in TABLE_SUFFIXES]
        )
        for table in tables:
            file = _path_from_source(source, table) if labels else table
            try:
                spec = _recognise_table(tree, file)
            except ReadError:
                if labels:
                    raise
                # The file need not be the label table: the user did not name it.
                continue
            if spec:
                return ReaderSpec(source=source, labels=spec)
        return None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return the images that the table names, with their labels; the other files beside them are ignored."""
        if data.labels is None:
            raise DataError("data.labels: is missing; the reader 'table' needs a label table, 'labels = { file = … }'")
        place = resolve_source(data.source, folder)
        tree = open_tree(place)
        frame = read_labels(_find_table(tree, data.labels.file), data.labels)
        names = _pop_paths(frame, data.labels)
        root = tree if data.labels.root == "." else open_tree(join_place(place, data.labels.root))
        entries = [_find_image(root, name) for name in names]
        uris = {entry.uri for entry in entries}
        ignored = {
            entry.name: entry.reason if entry.outcome == "ignored" else _ignore_rule(entry.name, data.labels.file)
            for entry in root.siblings([entry.name for entry in entries])
            if entry.uri not in uris
        }
        return Listing.from_entries(entries, frame, ignored, names, _outside_warnings(root, names, data.labels.file))


def _outside_warnings(root: Tree, names: list[str], table: str) -> list[str]:
    """Return one warning if paths of a table point outside the folder that they start from."""
    if not isinstance(root, FolderTree):
        return []
    home = f"{os.path.abspath(root.place)}{os.sep}"  # noqa: PTH100 (links are not followed)
    suspects = [name for name in names if name.startswith("/") or ".." in name]
    outside = [name for name in suspects if not os.path.abspath(os.path.join(home, name)).startswith(home)]  # noqa: PTH100, PTH118
    if not outside:
        return []
    return [f"{len(outside)} paths of {table} point outside {root.place}, first {outside[0]!r}; check them"]


def unreadable_table_warnings(source: str) -> list[str]:
    """Return one warning for each file of a source that has the name of a label table and cannot be read as one."""
    warnings = []
    if is_tree(source):
        tree = open_tree(source)
        for name in _top_level_names(tree):
            try:
                if file_suffix(name) in TABLE_SUFFIXES:
                    _recognise_table(tree, name)
            except ReadError as error:
                warnings.append(f"{error}; if it is the label table, correct it and run 'featx init' again")
    return warnings


def _top_level_names(tree: Tree) -> list[str]:
    return [entry.name for entry in tree.siblings(["any"]) if not entry.outcome]


def _path_from_source(source: str, labels: str) -> str:
    """Return the path of a local label table relative to the source, or absolute if the source is a URL."""
    home = base_folder(source)
    return os.path.abspath(labels) if home is None else os.path.relpath(labels, home)  # noqa: PTH100 (both as text)


def _ignore_rule(name: str, table: str) -> str:
    if name == table:
        return "is the label table"
    return f"is not named in {table}" if is_image_name(name) else non_image_rule(name)


def _pop_paths(frame: pd.DataFrame, spec: LabelsSpec) -> list[str]:
    """Remove the column of paths from a label table and return it.

    Raises
    ------
    DataError
        there is no such column, or a path is missing or occurs twice.
    """
    if spec.path not in frame.columns:
        columns = ", ".join(map(str, frame.columns))
        raise DataError(f"data.labels.path: {spec.file} has no column {spec.path!r}; columns: {columns}")
    paths = frame.pop(spec.path)
    if paths.isna().any():
        first = int(paths.isna().argmax())
        raise DataError(f"{spec.file}: {int(paths.isna().sum())} rows have no path, first row {first}")
    ids = paths.astype(str).str.strip()
    if repeated := ids[ids.duplicated()].unique().tolist():
        raise DataError(
            f"{spec.file}: {len(repeated)} paths occur in several rows, first {repeated[0]!r}; "
            "expected one row per image"
        )
    return ids.tolist()


def _find_image(tree: Tree, name: str) -> Entry:
    r"""Return the file with the path of a table, or else with ``\`` read as ``/`` or in another Unicode form."""
    slashed = name.replace("\\", "/")
    spellings = [name, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))]
    for spelling in dict.fromkeys(spellings):
        entry = tree.entry(spelling)
        if entry.outcome != "missing":
            return entry
    return tree.entry(name)


def _find_table(tree: Tree, file: str) -> Entry:
    """Return a label table: in the tree, beside it if the tree is an archive, or anywhere on disk.

    Raises
    ------
    DataError
        there is no such file.
    """
    table = tree.entry(file)
    home = base_folder(tree.place)
    if table.outcome and (home is not None or Path(file).is_absolute()):
        table = FolderTree(str(home or "/")).entry(file)
    if table.outcome:
        raise DataError(
            f"data.labels.file: {file!r} {table.reason} ({tree.place}); expected a CSV, TSV or Parquet file"
        )
    return table


def read_labels(file: Entry, spec: LabelsSpec) -> pd.DataFrame:
    """Return a label table; spaces around the text of a cell are removed.

    Raises
    ------
    ReadError
        it cannot be read or does not have the columns of `spec`.
    """
    content = _read_bytes(file)
    try:
        if file_suffix(file.name) == ".parquet":
            frame = read_parquet(content)
        else:
            header: Literal["infer"] | None = None if spec.columns else "infer"
            separator = SEPARATORS[spec.separator] if spec.separator else _sniff_separator(content)
            frame = parse_csv(content, sep=separator, header=header, encoding="utf-8-sig", **CSV_OPTIONS)
    except ParseError as error:
        raise ReadError(f"{file.name} cannot be read as a table: it {error}") from error
    if spec.columns:
        if len(spec.columns) != frame.shape[1]:
            raise ReadError(f"{file.name} has {frame.shape[1]} columns; data.labels.columns names {len(spec.columns)}")
        frame.columns = pd.Index(spec.columns)
    # Names of columns in a Parquet file may be numbers or tuples.
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()][0]
        raise ReadError(f"{file.name} has several columns called {repeated!r}; expected different names")
    text_columns = frame.select_dtypes(["object", "str"]).columns
    frame[text_columns] = frame[text_columns].map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    return frame


def _read_bytes(file: Entry) -> bytes:
    try:
        content = read_content(file.uri)
    except OSError as error:
        raise ReadError(f"{file.name} cannot be read as a table: {error}") from error
    assert isinstance(content, bytes)
    return content


def _sniff_separator(content: bytes) -> str:
    """Return the separator that the first line of a text table uses."""
    first = content.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    return next((SEPARATORS[name] for name in ("tab", "semicolon", "comma") if SEPARATORS[name] in first), r"\s+")


def _recognise_table(tree: Tree, name: str) -> LabelsSpec | None:
    """Return how to read a table if one of its columns holds paths of images, otherwise None."""
    file = _find_table(tree, name)
    for spec in _candidate_specs(file):
        frame = read_labels(file, spec)
        for column in frame.columns:
            paths = frame[column].dropna().head(MAX_INSPECTED_ROWS).astype(str)
            if 2 * sum(is_image_name(path) for path in paths) > min(MAX_INSPECTED_ROWS, len(frame)):
                # The first line names an image too: it is not a header.
                if spec.columns is None and is_image_name(column):
                    break
                return spec.model_copy(update={"file": name, "path": column, "root": _find_root(tree, paths.tolist())})
    return None


def _candidate_specs(file: Entry) -> Iterator[LabelsSpec]:
    """Yield the ways to read a table: with a header, then without one."""
    if file_suffix(file.name) == ".parquet":
        yield LabelsSpec(file=file.name)
        return
    content = _read_bytes(file)
    separator = next(name for name, text in SEPARATORS.items() if text == _sniff_separator(content))
    with_header = LabelsSpec.model_validate({"file": file.name, "separator": separator})
    yield with_header
    n_columns = read_labels(file, with_header).shape[1]
    yield with_header.model_copy(update={"columns": ("path", *(f"column{i}" for i in range(2, n_columns + 1)))})


def _find_root(tree: Tree, names: list[str]) -> str:
    """Return the folder, archive or ``ARCHIVE!FOLDER`` in `tree` from which most of `names` lead to files, or ``.``."""
    roots = _count_roots(tree, names)
    for archive in [] if roots else _archive_names(tree):
        archive_roots = _count_roots(open_tree(join_place(tree.place, archive)), names)
        roots |= Counter(
            {archive if folder == "." else f"{archive}!{folder}": n for folder, n in archive_roots.items()}
        )
    return max([".", *roots], key=roots.__getitem__)


def _count_roots(tree: Tree, names: list[str]) -> Counter[str]:
    """Return the folders of a tree from which paths of `names` lead to files, with the number of those paths."""
    by_base_name: dict[str, set[str]] = {}
    for name in {posixpath.normpath(_normalise(name)) for name in names}:
        by_base_name.setdefault(base_name(name), set()).add(name)
    roots: Counter[str] = Counter()
    for entry in tree.entries():
        path = _normalise(entry.name)
        for name in by_base_name.get(base_name(path), ()):
            if f"/{path}".endswith(f"/{name}"):
                folders = entry.name.split("/")[: -name.count("/") - 1]
                roots["/".join(folders) or "."] += 1
    return roots


def _normalise(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _archive_names(tree: Tree) -> list[str]:
    home = Path(tree.place)
    if is_url(tree.place) or not home.is_dir():
        return []
    return sorted(child.name for child in home.iterdir() if is_archive_name(child.name) and child.is_file())
