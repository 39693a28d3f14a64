"""A CSV, TSV or Parquet table with a path column and label columns; its images lie in any tree."""

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
from featx.images.names import base_of, is_archive_name, is_image_name, rule_against, suffix_of
from featx.images.readers import Listing
from featx.images.sources import is_tree, join, open_tree, read
from featx.images.trees import Entry, FolderTree, Tree
from featx.locations import home_of, is_url, source_place
from featx.specs.data import LabelsSpec, ReaderSpec

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "whitespace": r"\s+"}
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
# A trailing separator makes no index; "None" and "null" are words, gaps are these.
CSV: dict[str, Any] = {
    "skipinitialspace": True,
    "index_col": False,
    "keep_default_na": False,
    "na_values": ["", "NaN", "nan", "NA", "N/A", "n/a", "<NA>", "#N/A"],
}
LOOKED_AT = 50  # rows that must name images before a column is taken for the paths


class TableReader:
    """Reads a label table: its columns as they are, without the path column."""

    rank = 10

    def recognise(self, source: str, labels: str | None) -> ReaderSpec | None:
        """See `featx.images.readers.Reader`."""
        if suffix_of(source) in TABLE_SUFFIXES and Path(source).is_file():
            labels, source = source, str(Path(source).parent)
        if not is_tree(source):
            return None
        tree = open_tree(source)
        tables = [labels] if labels else [name for name in _top_files(tree) if suffix_of(name) in TABLE_SUFFIXES]
        for table in tables:
            file = _from_home(source, table) if labels else table
            try:
                found = _recognise(tree, file)
            except ReadError:
                if labels:
                    raise
                continue  # nobody said that this file is a label table
            if found:
                return ReaderSpec(source=source, labels=found)
        return None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """See `featx.images.readers.Reader`."""
        if data.labels is None:
            raise DataError("data.labels: is missing; the reader 'table' needs a label table, 'labels = { file = … }'")
        place = source_place(data.source, folder)
        tree = open_tree(place)
        frame = read_labels(_table(tree, data.labels.file), data.labels)
        names = _paths(frame, data.labels)
        root = tree if data.labels.root == "." else open_tree(join(place, data.labels.root))
        entries = [_found(root, name) for name in names]
        named = {entry.uri for entry in entries}
        ignored = {
            entry.name: entry.reason if entry.outcome == "ignored" else _rule(entry.name, data.labels.file)
            for entry in root.beside([entry.name for entry in entries])
            if entry.uri not in named
        }
        return Listing.of(entries, frame, ignored, names, _outside_warnings(root, names, data.labels.file))


def _outside_warnings(root: Tree, names: list[str], table: str) -> list[str]:
    """Say once that paths of a table lead out of the folder that they start from: its author chose them."""
    if not isinstance(root, FolderTree):
        return []
    home = f"{os.path.abspath(root.place)}{os.sep}"  # noqa: PTH100 (links are not followed)
    odd = [name for name in names if name.startswith("/") or ".." in name]
    outside = [name for name in odd if not os.path.abspath(os.path.join(home, name)).startswith(home)]  # noqa: PTH100, PTH118
    if not outside:
        return []
    return [
        f"{len(outside)} paths of {table} lead out of {root.place}, first {outside[0]!r}; check that they are meant"
    ]


def unread_tables(source: str) -> list[str]:
    """Say which files of a source look like label tables and cannot be read as such."""
    found = []
    if is_tree(source):
        tree = open_tree(source)
        for name in _top_files(tree):
            try:
                if suffix_of(name) in TABLE_SUFFIXES:
                    _recognise(tree, name)
            except ReadError as error:
                found.append(f"{error}; if it is the label table, mend it and run 'featx init' again")
    return found


def _top_files(tree: Tree) -> list[str]:
    return [entry.name for entry in tree.beside(["any"]) if not entry.outcome]


def _from_home(source: str, labels: str) -> str:
    """Write a local label table as seen from the source."""
    home = home_of(source)
    return os.path.abspath(labels) if home is None else os.path.relpath(labels, home)  # noqa: PTH100 (both as text)


def _rule(name: str, table: str) -> str:
    if name == table:
        return "is the label table"
    return f"is not named in {table}" if is_image_name(name) else rule_against(name)


def _paths(frame: pd.DataFrame, spec: LabelsSpec) -> list[str]:
    """Take the path column out of a label table.

    Raises
    ------
    DataError
        there is none, or a path is missing or stands twice.
    """
    if spec.path not in frame.columns:
        known = ", ".join(map(str, frame.columns))
        raise DataError(f"data.labels.path: {spec.file} has no column {spec.path!r}; columns: {known}")
    paths = frame.pop(spec.path)
    if paths.isna().any():
        first = int(paths.isna().argmax())
        raise DataError(f"{spec.file}: {int(paths.isna().sum())} rows have no path, first row {first}")
    ids = paths.astype(str).str.strip()
    if twice := ids[ids.duplicated()].unique().tolist():
        raise DataError(
            f"{spec.file}: {len(twice)} paths stand in several rows, first {twice[0]!r}; expected one row an image"
        )
    return ids.tolist()


def _found(tree: Tree, name: str) -> Entry:
    """Return the file that a table means: by its name, with its slashes turned, or in another Unicode form."""
    found = tree.entry(name)
    if found.outcome != "missing":
        return found
    slashed = name.replace("\\", "/")
    others = [slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))]
    for other in dict.fromkeys(others):
        if other != name and (entry := tree.entry(other)).outcome != "missing":
            return entry
    return found


def _table(tree: Tree, file: str) -> Entry:
    """Return a label table: in the tree, beside it where it is an archive, or anywhere on disk.

    Raises
    ------
    DataError
        there is none.
    """
    found = tree.entry(file)
    home = home_of(tree.place)
    if found.outcome and (home is not None or Path(file).is_absolute()):
        found = FolderTree(str(home or "/")).entry(file)
    if found.outcome:
        raise DataError(
            f"data.labels.file: {file!r} {found.reason} ({tree.place}); expected a CSV, TSV or Parquet file"
        )
    return found


def read_labels(file: Entry, spec: LabelsSpec) -> pd.DataFrame:
    """Read a label table; text cells lose the spaces around them.

    Raises
    ------
    ReadError
        it cannot be read or has other columns than `spec` says.
    """
    content = _content(file)
    try:
        if suffix_of(file.name) == ".parquet":
            frame = read_parquet(content)
        else:
            header: Literal["infer"] | None = None if spec.columns else "infer"
            separator = SEPARATORS[spec.separator] if spec.separator else sniffed(content)
            frame = parse_csv(content, sep=separator, header=header, encoding="utf-8-sig", **CSV)
    except ParseError as error:
        raise ReadError(f"{file.name} cannot be read as a table: it {error}") from error
    if spec.columns:
        if len(spec.columns) != frame.shape[1]:
            raise ReadError(f"{file.name} has {frame.shape[1]} columns; data.labels.columns names {len(spec.columns)}")
        frame.columns = pd.Index(spec.columns)
    frame.columns = pd.Index([str(name) for name in frame.columns])  # those of a Parquet file may be numbers or tuples
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ReadError(f"{file.name} has several columns called {twice!r}; expected different names")
    texts = frame.select_dtypes(["object", "str"]).columns
    frame[texts] = frame[texts].map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    return frame


def _content(file: Entry) -> bytes:
    try:
        content = read(file.uri)
    except OSError as error:
        raise ReadError(f"{file.name} cannot be read as a table: {error}") from error
    assert isinstance(content, bytes)
    return content


def sniffed(content: bytes) -> str:
    """Return the separator that the first line of a text table uses."""
    first = content.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    return next((SEPARATORS[name] for name in ("tab", "semicolon", "comma") if SEPARATORS[name] in first), r"\s+")


def _recognise(tree: Tree, name: str) -> LabelsSpec | None:
    """Say how to read a table where one of its columns names images at, or one folder or archive below, the tree."""
    file = _table(tree, name)
    for spec in _ways_to_read(file):
        frame = read_labels(file, spec)
        for column in frame.columns:
            names = frame[column].dropna().head(LOOKED_AT).astype(str)
            if 2 * sum(is_image_name(path) for path in names) > min(LOOKED_AT, len(frame)):
                # The first line names an image too: it is no header.
                if spec.columns is None and is_image_name(column):
                    break
                return spec.model_copy(update={"file": name, "path": column, "root": _root_of(tree, names.tolist())})
    return None


def _ways_to_read(file: Entry) -> Iterator[LabelsSpec]:
    if suffix_of(file.name) == ".parquet":
        yield LabelsSpec(file=file.name)
        return
    content = _content(file)
    separator = next(name for name, text in SEPARATORS.items() if text == sniffed(content))
    with_header = LabelsSpec.model_validate({"file": file.name, "separator": separator})
    yield with_header
    n_columns = read_labels(file, with_header).shape[1]
    yield with_header.model_copy(update={"columns": ("path", *(f"column{i}" for i in range(2, n_columns + 1)))})


def _root_of(tree: Tree, names: list[str]) -> str:
    """Return the folder, archive or ``ARCHIVE!FOLDER`` below `tree` where most of `names` start, or else ``.``."""
    roots = _starts(tree, names)
    for archive in [] if roots else _archives_in(tree):
        inside = _starts(open_tree(join(tree.place, archive)), names)
        roots |= Counter({archive if folder == "." else f"{archive}!{folder}": n for folder, n in inside.items()})
    return max([".", *roots], key=roots.__getitem__)


def _starts(tree: Tree, names: list[str]) -> Counter[str]:
    """Count the folders of a tree from which paths of `names` lead to files."""
    by_base: dict[str, set[str]] = {}
    for name in {posixpath.normpath(_plain(name)) for name in names}:
        by_base.setdefault(base_of(name), set()).add(name)
    found: Counter[str] = Counter()
    for entry in tree.entries():
        path = _plain(entry.name)
        for name in by_base.get(base_of(path), ()):
            if f"/{path}".endswith(f"/{name}"):
                above = entry.name.split("/")[: -name.count("/") - 1]
                found["/".join(above) or "."] += 1
    return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _archives_in(tree: Tree) -> list[str]:
    home = Path(tree.place)
    if is_url(tree.place) or not home.is_dir():
        return []
    return sorted(child.name for child in home.iterdir() if is_archive_name(child.name) and child.is_file())
