"""Label tables of a source: which images each names, and how it is read."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from featx.errors import MissingExtraError, ReadError
from featx.files.table_files import TEXT_SUFFIXES
from featx.files.text_tables import detect_format
from featx.images.label_columns import find_target_columns
from featx.images.label_files import find_table, read_labels, read_sheet_names, read_table_bytes, to_path_texts
from featx.images.names import base_name, file_suffix
from featx.images.path_columns import PathColumn, find_path_column, part_of_file
from featx.images.path_matching import ImageIndex
from featx.images.sources import join_place, open_tree, shared
from featx.images.trees import Entries, Entry, Tree
from featx.locations import base_folder
from featx.specs.data import LabelsSpec

MAX_COLUMNS_NAMED = 6
# Names of encodings that are assumed where a text is not Unicode; another one may have been meant.
ASSUMED_ENCODINGS = {
    "cp1252": "Windows-1252", "latin-1": "Latin-1", "cp1251": "Windows-1251", "koi8-r": "KOI8-R",
    "cp1253": "Windows-1253", "cp932": "Shift-JIS", "euc_jp": "EUC-JP", "gbk": "GBK", "big5": "Big5",
    "cp949": "Windows-949",
}  # fmt: skip
ENCODING_NAMES = {"utf-8-sig": "UTF-8 with byte order mark"} | ASSUMED_ENCODINGS
SEPARATOR_TEXTS = {"comma": "commas", "tab": "tabs", "semicolon": "semicolons", "pipe": "|", "whitespace": "spaces"}


@dataclass(frozen=True)
class TableReport:
    """A table of a source, and why it is taken for the labels or not.

    Attributes
    ----------
    file
        Name of the file.
    format
        Encoding and separator, or the file format; empty if it cannot be read.
    columns
        Names of the columns.
    n_rows
        Number of rows.
    path
        Name of the column with paths of images; None if there is none.
    n_named
        Number of rows that name an image of the source.
    n_missing
        Number of rows that name none.
    folder
        Folder of the named images; of the first one, such as ``../images``, if they are outside the source.
    is_used
        Whether the recipe reads it.
    reason
        Reason why it is not used, or the number of named images.
    other_sheets
        Number of images by each other sheet of an Excel file that names images; one sheet is read.
    """

    file: str
    format: str = ""
    columns: tuple[str, ...] = ()
    n_rows: int = 0
    path: str | None = None
    n_named: int = 0
    n_missing: int = 0
    folder: str = ""
    is_used: bool = False
    reason: str = ""
    other_sheets: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A table whose rows name images.

    Attributes
    ----------
    report
        What was found in it.
    spec
        How to read it.
    frame
        Its columns, without the column of paths.
    images
        Uris of the images that it names.
    """

    report: TableReport
    spec: LabelsSpec
    frame: pd.DataFrame = field(repr=False)
    images: frozenset[str] = field(repr=False)

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.report.file

    @cached_property
    def target_columns(self) -> list[str]:
        """Columns that could be predicted."""
        return find_target_columns(self.frame)

    @cached_property
    def part(self) -> str | None:
        """Part of a split that the name of the file or of its folder stands for."""
        return part_of_file(self.file)


def examine_tables(tree: Tree, files: Iterable[str]) -> tuple[list[Candidate], list[TableReport]]:
    """Return the tables whose rows name images of a tree, and a report on each of the others."""
    candidates, reports = [], []
    for file in files:
        try:
            examination = shared(("examined", tree.place, file), partial(examine_table, tree, file))
        except (ReadError, MissingExtraError) as error:
            reports.append(TableReport(file, reason=str(error)))
            continue
        if isinstance(examination, Candidate):
            candidates.append(examination)
        else:
            reports.append(examination)
    return candidates, reports


def examine_table(tree: Tree, file: str) -> Candidate | TableReport:
    """Return a candidate if the rows of a table name images, otherwise a report on the table.

    Raises
    ------
    ReadError
        it cannot be read as a table.
    """
    entry = find_table(tree, file)
    if file_suffix(entry.name) == ".xlsx":
        return _examine_sheets(tree, entry, file)
    text_format = _describe_format(entry)
    reports = []
    for spec in _list_ways_to_read(entry, file):
        examination = _examine_way_to_read(tree, entry, spec, TableReport(file, text_format))
        if isinstance(examination, Candidate) or examination.path is not None:
            return examination
        reports.append(examination)
    return replace(reports[-1], reason=reports[0].reason)


def _examine_sheets(tree: Tree, entry: Entry, file: str) -> Candidate | TableReport:
    """Return the first sheet of an Excel file that names images and has labels, with the others that name images.

    Raises
    ------
    ReadError
        no sheet can be read.
    """
    examinations, errors = [], []
    for sheet in read_sheet_names(entry):
        report = TableReport(file, f"Excel, sheet {sheet!r}")
        try:
            examinations.append(_examine_way_to_read(tree, entry, LabelsSpec(file=file, sheet=sheet), report))
        except ReadError as error:
            errors.append(error)
    if not examinations:
        raise errors[0]
    candidates = [examination for examination in examinations if isinstance(examination, Candidate)]
    if not candidates:
        reports = [examination for examination in examinations if isinstance(examination, TableReport)]
        return next((report for report in reports if report.path is not None), reports[0])
    candidate = next((candidate for candidate in candidates if candidate.target_columns), candidates[0])
    other_sheets = {str(other.spec.sheet): len(other.images) for other in candidates if other is not candidate}
    return replace(candidate, report=replace(candidate.report, other_sheets=other_sheets))


def _examine_way_to_read(tree: Tree, entry: Entry, spec: LabelsSpec, report: TableReport) -> Candidate | TableReport:
    """Return a candidate if the rows of a table, read in one way, name images, otherwise a report on the table."""
    frame = read_labels(entry, spec)
    report = replace(report, columns=tuple(map(str, frame.columns)), n_rows=len(frame))
    column = find_path_column(tree, frame, report.file, with_header=spec.columns is None)
    if column is None:
        return replace(report, reason=_explain_no_paths(frame))
    text_format = report.format + _describe_decimal_commas(entry, spec, frame)
    return _make_candidate(tree, replace(report, format=text_format, path=column.name), spec, column, frame)


def _reject_missing_images(tree: Tree, report: TableReport, paths: list[str]) -> TableReport:
    folder = _find_outside_folder(tree, report.file, paths[0]) if paths else ""
    place = f", which is in {folder}" if folder else ""
    first_text = f" (first {paths[0]!r}{place})" if paths else ""
    reason = f"names {len(paths)} images, none of which is in the source{first_text}"
    return replace(report, n_missing=len(paths), folder=folder, reason=reason)


def _find_outside_folder(tree: Tree, file: str, path: str) -> str:
    """Return the folder of an image outside a source, relative to it, that a path from a table leads to; or no text."""
    home = base_folder(tree.place)
    if home is None:
        return ""
    image = home / PurePosixPath(file).parent / path.replace("\\", "/")
    folder = os.path.relpath(image.parent, home)
    try:
        return Path(folder).as_posix() if folder.startswith("..") and image.is_file() else ""
    # A cell may be longer than a path.
    except OSError:
        return ""


def _explain_no_paths(frame: pd.DataFrame) -> str:
    if not len(frame):
        return "has no rows"
    first_cells = ", ".join(repr(str(value)) for value in frame.iloc[0].tolist()[:3])
    return f"names no image of the source: no column holds their paths (first row {first_cells})"


def _describe_format(file: Entry) -> str:
    suffix = file_suffix(file.name)
    if suffix not in TEXT_SUFFIXES:
        return {"parquet": "Parquet", "json": "JSON"}.get(suffix[1:], "JSON lines")
    text_format = detect_format(read_table_bytes(file))
    encoding = ENCODING_NAMES.get(text_format.encoding, text_format.encoding.upper())
    return f"{encoding}, separated by {SEPARATOR_TEXTS[text_format.separator]}"


def _describe_decimal_commas(file: Entry, spec: LabelsSpec, frame: pd.DataFrame) -> str:
    """Return which columns of a table are of numbers with decimal commas, as the end of its format."""
    if file_suffix(file.name) not in TEXT_SUFFIXES or spec.separator == "comma":
        return ""
    point_frame = read_labels(file, spec.model_copy(update={"decimal": "point"}))
    names = [repr(name) for name in frame if frame[name].dtype.kind == "f" and point_frame[name].dtype.kind == "O"]
    names_text = ", ".join(names[:MAX_COLUMNS_NAMED]) + (", …" if len(names) > MAX_COLUMNS_NAMED else "")
    return f", decimal commas in {names_text}" if names else ""


def _list_ways_to_read(entry: Entry, file: str) -> Iterator[LabelsSpec]:
    """Yield the ways to read a table: with a header, then, as text, without one."""
    if file_suffix(entry.name) not in TEXT_SUFFIXES:
        yield LabelsSpec(file=file)
        return
    text_format = detect_format(read_table_bytes(entry))
    settings: dict[str, Any] = {"separator": text_format.separator}
    if text_format.encoding not in {"utf-8", "utf-8-sig"}:
        settings["encoding"] = text_format.encoding
    if text_format.skip_lines:
        settings["skip_lines"] = text_format.skip_lines
    if text_format.quote == "'":
        settings["quote"] = "single"
    with_header = LabelsSpec.model_validate({"file": file, **settings})
    yield with_header
    n_columns = read_labels(entry, with_header).shape[1]
    yield with_header.model_copy(update={"columns": ("path", *(f"column{i}" for i in range(2, n_columns + 1)))})


def _make_candidate(
    tree: Tree,
    report: TableReport,
    spec: LabelsSpec,
    column: PathColumn,
    frame: pd.DataFrame,
) -> Candidate | TableReport:
    rule = column.rule
    spec = spec.model_copy(
        update={"path": column.name, "root": rule.root, "suffix": rule.suffix, "match": rule.match}
        | ({"strip_folders": rule.strip_folders} if rule.strip_folders else {})
    )
    root = tree if rule.root == "." else open_tree(join_place(tree.place, rule.root))
    entries = root.entries() if column.has_images else Entries()
    paths = to_path_texts(frame[column.name].dropna())
    matches = ImageIndex(entries.by_name, rule).find_all(paths)
    names = list(filter(None, matches.names))
    if not names:
        return _reject_missing_images(tree, report, paths)
    images = frozenset(entries.by_name[name].uri for name in names)
    folder = "" if rule.root == "." else f" in {rule.root}" + ("" if "!" in rule.root else "/")
    reason = f"names {len(images)} of {len(entries.image_names)} images{folder}"
    if rule.match == "number":
        path_matches = zip(paths, matches.names, strict=True)
        example = next(name for path, name in path_matches if name and path not in matches.unclear)
        reason += f", by the numbers of their names such as {base_name(example)!r}"
    report = replace(report, n_named=len(names), n_missing=len(frame) - len(names), folder=rule.root, reason=reason)
    return Candidate(report, spec, frame.drop(columns=column.name), images)
