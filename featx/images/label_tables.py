"""Label tables of a source: which images each names, and how it is read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from featx.errors import MissingExtraError, ReadError
from featx.files.table_files import TEXT_SUFFIXES
from featx.files.text_tables import detect_format
from featx.images.class_folders import IMAGE_WORDS
from featx.images.label_columns import find_target_columns
from featx.images.label_files import find_table, read_labels, read_sheet_names, read_table_bytes, to_path_texts
from featx.images.names import base_name, file_suffix, find_part, is_archive_name, is_image_name, split_words
from featx.images.path_matching import ImageIndex, NameIndex, PathRule, find_number_rule, find_rule, normalise_path
from featx.images.sources import join_place, open_tree, shared
from featx.images.trees import Entries, Entry, Tree
from featx.specs.data import LabelsSpec
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
        Folder of the named images.
    is_used
        Whether the recipe reads it.
    reason
        Reason why it is not used, or the number of named images.
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


class _PathColumn(NamedTuple):
    """A column with paths of images: its name, the rule for its paths, and whether the images exist."""

    name: str
    rule: PathRule
    has_images: bool


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
    text_format = _describe_format(entry)
    report = TableReport(file, text_format)
    for spec in _list_ways_to_read(entry, file):
        frame = read_labels(entry, spec)
        if spec.sheet is not None:
            text_format = f"Excel, sheet {spec.sheet!r}"
        report = TableReport(file, text_format, tuple(map(str, frame.columns)), len(frame))
        if column := _find_path_column(tree, frame, file, with_header=spec.columns is None):
            text_format += _describe_decimal_commas(entry, spec, frame)
            return _make_candidate(tree, replace(report, format=text_format, path=column.name), spec, column, frame)
    return replace(report, reason=_explain_no_paths(read_labels(entry, next(_list_ways_to_read(entry, file)))))


def _reject_missing_images(report: TableReport, paths: list[str]) -> TableReport:
    reason = f"names {len(paths)} images, none of which is in the source (first {paths[0]!r})"
    return replace(report, n_missing=len(paths), reason=reason)


def _explain_no_paths(frame: pd.DataFrame) -> str:
    if not len(frame):
        return "has no rows"
    first_cells = ", ".join(repr(str(value)) for value in frame.iloc[0].tolist()[:3])
    return f"names no image of the source: no column holds their paths (first row {first_cells})"


def _describe_format(file: Entry) -> str:
    suffix = file_suffix(file.name)
    if suffix not in TEXT_SUFFIXES:
        return {"xlsx": "Excel", "parquet": "Parquet", "json": "JSON"}.get(suffix[1:], "JSON lines")
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
    if file_suffix(entry.name) == ".xlsx":
        yield from (LabelsSpec(file=file, sheet=sheet) for sheet in read_sheet_names(entry))
        return
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


def _find_path_column(tree: Tree, frame: pd.DataFrame, file: str, with_header: bool) -> _PathColumn | None:
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
                path_column, max_named = _PathColumn(str(column), _add_archive(rule, archive), True), n
        if path_column is not None:
            return path_column
    return (
        _find_number_column(tree, frame, with_header)
        or _find_column_of_part(tree, frame, file, with_header)
        or _find_column_of_image_names(frame, with_header)
    )


def _find_number_column(tree: Tree, frame: pd.DataFrame, with_header: bool) -> _PathColumn | None:
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
                return _PathColumn(str(column), rule, True)
    return None


def _find_column_of_part(tree: Tree, frame: pd.DataFrame, file: str, with_header: bool) -> _PathColumn | None:
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
            return _PathColumn(str(column), rule, True)
    return None


def _are_image_names(texts: list[str]) -> bool:
    """Whether most texts end like names of images."""
    return sum(map(is_image_name, texts)) > MIN_NAMED * len(texts)


def _are_varied(texts: list[str]) -> bool:
    """Whether texts can be paths: a column of 0 and 1 may name images too, but its values occur in many rows."""
    return len(set(texts)) >= MIN_NAMED * len(texts) or all(map(is_image_name, texts))


def _find_column_of_image_names(frame: pd.DataFrame, with_header: bool) -> _PathColumn | None:
    """Return the first column whose cells end like names of images, although the source has none of them."""
    for column in frame.columns:
        texts = _sample_texts(frame[column])
        if texts and _are_image_names(texts):
            return None if with_header and is_image_name(str(column)) else _PathColumn(str(column), PathRule(), False)
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


def _make_candidate(
    tree: Tree,
    report: TableReport,
    spec: LabelsSpec,
    column: _PathColumn,
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
        return _reject_missing_images(report, paths)
    images = frozenset(entries.by_name[name].uri for name in names)
    folder = "" if rule.root == "." else f" in {rule.root}" + ("" if "!" in rule.root else "/")
    reason = f"names {len(images)} of {len(entries.image_names)} images{folder}"
    if rule.match == "number":
        path_matches = zip(paths, matches.names, strict=True)
        example = next(name for path, name in path_matches if name and path not in matches.unclear)
        reason += f", by the numbers of their names such as {base_name(example)!r}"
    report = replace(report, n_named=len(names), n_missing=len(frame) - len(names), folder=rule.root, reason=reason)
    return Candidate(report, spec, frame.drop(columns=column.name), images)
