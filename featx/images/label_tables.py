"""Label tables of a source: which files are tables, which images each names, and which of them holds the labels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.errors import DataError, MissingExtraError, ReadError
from featx.files.table_files import TABLE_SUFFIXES, TEXT_SUFFIXES
from featx.files.text_tables import detect_format
from featx.images.label_columns import find_target_columns
from featx.images.label_files import find_table, path_from_source, path_texts, read_bytes, read_labels
from featx.images.names import base_name, file_suffix, find_part, is_archive_name, is_image_name, split_words
from featx.images.path_matching import ImageIndex, PathRule, find_rule
from featx.images.sources import join_place, open_tree, shared
from featx.images.split_columns import find_split_column
from featx.images.trees import Entry, Tree
from featx.specs.data import LabelsSpec

# Number of rows of a column that are compared with the names of the images.
MAX_INSPECTED_ROWS = 200
# Number of tables of a source that are read; more are annotations of single images.
MAX_TABLES = 50
# Share of the inspected rows that must name an image.
MIN_NAMED = 0.5
# A table that names this many times the images of any other is the label table.
CLEAR_MAJORITY = 2
LABEL_FILE_WORDS = frozenset(
    {"label", "labels", "class", "classes", "target", "targets", "truth", "groundtruth", "gt", "attr", "attributes"}
)
ENCODING_NAMES = {"utf-8-sig": "UTF-8 with byte order mark", "cp1252": "Windows-1252", "latin-1": "Latin-1"}
SEPARATOR_TEXTS = {"comma": "commas", "tab": "tabs", "semicolon": "semicolons", "pipe": "|", "whitespace": "spaces"}


@dataclass(frozen=True)
class TableReport:
    """What was found in a table of a source.

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
    is_taken
        Whether the recipe reads it.
    reason
        Reason why it is not taken, or the number of named images.
    """

    file: str
    format: str = ""
    columns: tuple[str, ...] = ()
    n_rows: int = 0
    path: str | None = None
    n_named: int = 0
    n_missing: int = 0
    folder: str = ""
    is_taken: bool = False
    reason: str = ""


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


@dataclass(frozen=True, eq=False)
class TableChoice:
    """The label table of a source, and what was found in all its tables.

    Attributes
    ----------
    spec
        How to read the labels; None if no table holds labels.
    reports
        One report for each table.
    unlabelled
        Uris of images that a table names without labels → name of the table.
    """

    spec: LabelsSpec | None
    reports: tuple[TableReport, ...]
    unlabelled: dict[str, str]


def list_tables(tree: Tree) -> list[str]:
    """Return the files of a tree that may be label tables; a file with the name of an image belongs to that image."""
    entries = [entry for entry in tree.entries() if not entry.outcome]
    stems = {entry.name.rpartition(".")[0] for entry in entries if is_image_name(entry.name)}
    image_names = {base_name(stem) for stem in stems}
    tables = [
        entry.name
        for entry in entries
        if file_suffix(entry.name) in TABLE_SUFFIXES
        and not base_name(entry.name).startswith(".")
        and base_name(entry.name).rpartition(".")[0] not in image_names
    ]
    if len(tables) > MAX_TABLES:
        tables = [name for name in tables if "/" not in name]
    return sorted(tables, key=lambda name: (name.count("/"), name))[:MAX_TABLES]


def examine_tables(tree: Tree, files: Iterable[str]) -> tuple[list[Candidate], list[TableReport]]:
    """Return the tables whose rows name images of a tree, and a report on each of the others."""
    candidates, others = [], []
    for file in files:
        try:
            examined = examine_table(tree, file)
        except (ReadError, MissingExtraError) as error:
            others.append(TableReport(file, reason=str(error)))
            continue
        if isinstance(examined, Candidate):
            candidates.append(examined)
        else:
            others.append(examined)
    return candidates, others


def examine_table(tree: Tree, file: str) -> Candidate | TableReport:
    """Return what is found in a table: a candidate if its rows name images, otherwise a report.

    Raises
    ------
    ReadError
        it cannot be read as a table.
    """
    entry = find_table(tree, file)
    text_format = _describe_format(entry)
    report = TableReport(file, text_format)
    for spec in _ways_to_read(entry, file):
        frame = read_labels(entry, spec)
        report = TableReport(file, text_format, tuple(map(str, frame.columns)), len(frame))
        if best := _best_path_column(tree, frame, file, with_header=spec.columns is None):
            return _candidate(tree, replace(report, path=best[0]), spec, best, frame)
    return replace(report, reason=_no_paths_reason(report, read_labels(entry, next(_ways_to_read(entry, file)))))


def _no_paths_reason(report: TableReport, frame: pd.DataFrame) -> str:
    if not len(frame):
        return "has no rows"
    first = ", ".join(repr(str(value)) for value in frame.iloc[0].tolist()[:3])
    return f"names no image of the source: no column holds their paths (first row {first})"


def _describe_format(file: Entry) -> str:
    suffix = file_suffix(file.name)
    if suffix not in TEXT_SUFFIXES:
        return {"xlsx": "Excel", "parquet": "Parquet", "json": "JSON"}.get(suffix[1:], "JSON lines")
    found = detect_format(read_bytes(file))
    encoding = ENCODING_NAMES.get(found.encoding, found.encoding.upper())
    return f"{encoding}, separated by {SEPARATOR_TEXTS[found.separator]}"


def _ways_to_read(entry: Entry, file: str) -> Iterator[LabelsSpec]:
    """Yield the ways to read a table: with a header, then, as text, without one."""
    if file_suffix(entry.name) not in TEXT_SUFFIXES:
        yield LabelsSpec(file=file)
        return
    found = detect_format(read_bytes(entry))
    stated: dict[str, Any] = {"separator": found.separator}
    if found.encoding not in {"utf-8", "utf-8-sig"}:
        stated["encoding"] = found.encoding
    if found.skip_lines:
        stated["skip_lines"] = found.skip_lines
    if found.quote == "'":
        stated["quote"] = "single"
    if found.decimal == ",":
        stated["decimal"] = "comma"
    with_header = LabelsSpec.model_validate({"file": file, **stated})
    yield with_header
    n_columns = read_labels(entry, with_header).shape[1]
    yield with_header.model_copy(update={"columns": ("path", *(f"column{i}" for i in range(2, n_columns + 1)))})


def _best_path_column(
    tree: Tree, frame: pd.DataFrame, file: str, with_header: bool
) -> tuple[str, PathRule, Tree | None] | None:
    """Return the column whose cells name most images, the rule for its paths, and the archive that holds them."""
    for inside in (None, *_archives(tree)):
        searched = tree if inside is None else open_tree(join_place(tree.place, inside))
        names = [entry.name for entry in searched.entries() if is_image_name(entry.name)]
        best, n_best = None, 0
        for column in frame.columns:
            texts = _inspected_texts(frame[column])
            if not texts:
                continue
            rule, n = find_rule(texts, names, partial(_is_folder_of, file))
            # A column of 0 and 1 may name images too, but each of its values occurs in many rows.
            if n > n_best and n >= MIN_NAMED * len(texts) and len(set(texts)) >= MIN_NAMED * len(texts):
                is_header_an_image = with_header and find_rule([str(column)], names)[1] > 0
                if is_header_an_image or (with_header and is_image_name(str(column))):
                    return None
                best, n_best = (str(column), _rule_in_archive(rule, inside), searched), n
        if best is not None:
            return best
    return _column_of_image_names(frame, with_header)


def _column_of_image_names(frame: pd.DataFrame, with_header: bool) -> tuple[str, PathRule, Tree | None] | None:
    """Return the first column whose cells end like names of images, although the source has none of them."""
    for column in frame.columns:
        texts = _inspected_texts(frame[column])
        if texts and sum(map(is_image_name, texts)) > MIN_NAMED * len(texts):
            return None if with_header and is_image_name(str(column)) else (str(column), PathRule(), None)
    return None


def part_of_file(file: str) -> str | None:
    """Return the part of a split that the name of a table, or of its folder, stands for."""
    folder, _, name = file.rpartition("/")
    return find_part(name.rpartition(".")[0]) or find_part(base_name(folder))


def _is_folder_of(file: str, folder: str) -> bool:
    """Whether a folder holds a table, or stands for the same part of a split."""
    part = part_of_file(file)
    return folder == file.rpartition("/")[0] or (part is not None and find_part(folder) == part)


def _rule_in_archive(rule: PathRule, archive: str | None) -> PathRule:
    if archive is None:
        return rule
    return replace(rule, root=archive if rule.root == "." else f"{archive}!{rule.root}")


def _archives(tree: Tree) -> list[str]:
    """Return the archives at the top of a folder."""
    names = [entry.name for entry in tree.entries() if not entry.outcome and "/" not in entry.name]
    return [name for name in names if is_archive_name(name)] if not is_archive_name(tree.place) else []


def _inspected_texts(column: "pd.Series[Any]") -> list[str]:
    """Return the texts of an even sample of a column; empty if it holds lists, mappings or fractions."""
    values = column.dropna()
    if not len(values) or values.dtype.kind in "fbmMc":
        return []
    rows = np.unique(np.linspace(0, len(values) - 1, MAX_INSPECTED_ROWS, dtype=int))
    sample = values.iloc[rows].tolist()
    return [] if any(isinstance(value, list | dict | np.ndarray) for value in sample) else [str(v) for v in sample]


def _candidate(
    tree: Tree,
    report: TableReport,
    spec: LabelsSpec,
    best: tuple[str, PathRule, Tree | None],
    frame: pd.DataFrame,
) -> Candidate:
    column, rule, searched = best
    spec = spec.model_copy(
        update={"path": column, "root": rule.root, "suffix": rule.suffix, "match": rule.match}
        | ({"strip_folders": rule.strip_folders} if rule.strip_folders else {})
    )
    root = tree if rule.root == "." else open_tree(join_place(tree.place, rule.root))
    uris = {entry.name: entry.uri for entry in root.entries()} if searched is not None else {}
    index = ImageIndex(uris, rule)
    matched = [index.find(text) for text in path_texts(frame[column].dropna())]
    images = frozenset(uris[names[0]] for names in matched if names)
    n_named = sum(map(bool, matched))
    folder = "" if rule.root == "." else f" in {rule.root}/" if "!" not in rule.root else f" in {rule.root}"
    reason = f"names {n_named} of {len(uris) and sum(map(is_image_name, uris))} images{folder}"
    report = replace(report, n_named=n_named, n_missing=len(frame) - n_named, folder=rule.root, reason=reason)
    return Candidate(report, spec, frame.drop(columns=column), images)


def table_place(source: str, labels: str | None) -> tuple[str, str | None]:
    """Return the place of the images and the path of the table that the user named: a source may be a table itself."""
    if file_suffix(source) in TABLE_SUFFIXES and Path(source).is_file():
        return str(Path(source).parent), source
    return source, labels


def examine_source(place: str, labels: str | None, target: str | None) -> TableChoice:
    """Return the label table of a source, and a report on each of its tables.

    Parameters
    ----------
    place
        A place that `featx.images.sources.open_tree` takes.
    labels
        Path of the table that the user named; None examines all.
    target
        Name of the column to predict, if the user named it.

    Raises
    ------
    DataError
        the user named a table that names no images, or several tables fit.
    """
    key = ("choice", place, labels or "", target or "")
    return shared(key, lambda: _examine_source(open_tree(place), place, labels, target))


def _examine_source(tree: Tree, place: str, labels: str | None, target: str | None) -> TableChoice:
    if labels is not None:
        named = examine_table(tree, path_from_source(place, labels))
        if isinstance(named, TableReport):
            raise DataError(
                f"{labels!r} {named.reason}; expected a column with the paths of images of {place!r}, with or without "
                "their endings"
            )
        return TableChoice(named.spec, (replace(named.report, is_taken=True),), {})
    candidates, reports = examine_tables(tree, list_tables(tree))
    spec, reasons = choose_tables(candidates, target)
    taken = () if spec is None else spec.files
    reports += [
        replace(c.report, is_taken=c.file in taken, reason=reasons.get(c.file, c.report.reason)) for c in candidates
    ]
    labelled = frozenset[str]().union(*(c.images for c in candidates if c.file in taken))
    unlabelled = {uri: c.file for c in candidates if c.file not in taken for uri in c.images - labelled}
    return TableChoice(spec, tuple(sorted(reports, key=lambda report: not report.is_taken)), unlabelled)


# Choice between tables


def choose_tables(candidates: Sequence[Candidate], target: str | None) -> tuple[LabelsSpec | None, dict[str, str]]:
    """Return how to read the labels, and a reason by file for each table that is not taken.

    Parameters
    ----------
    candidates
        The tables whose rows name images.
    target
        Name of the column to predict, if the user named it: other tables are not considered.

    Raises
    ------
    DataError
        several tables fit equally well, or no table has the target.
    """
    unlabelled = frozenset[str]().union(*(c.images for c in candidates if not len(c.frame.columns)))
    reasons = {
        candidate.file: reason
        for candidate in candidates
        if (reason := _reason_against(candidate, target, unlabelled, candidates))
    }
    usable = [candidate for candidate in candidates if candidate.file not in reasons]
    if not usable and target is not None and candidates:
        listed = "; ".join(f"{c.file}: {', '.join(map(str, c.frame.columns)) or 'none'}" for c in candidates)
        raise DataError(f"no label column is called {target!r}; columns of {listed}")
    if not usable:
        return None, reasons
    chosen = _tables_of_parts(usable) or [_clear_winner(usable)]
    reasons |= {c.file: f"another table is taken; {c.report.reason}" for c in usable if c not in chosen}
    spec = _joined_spec(chosen)
    joined = [c for c in candidates if c not in chosen and len(chosen) == 1 and _adds_split(c, chosen[0])]
    if joined:
        spec = spec.model_copy(update={"join": tuple(candidate.file for candidate in joined)})
    taken = {candidate.file for candidate in (*chosen, *joined)}
    return spec, {file: reason for file, reason in reasons.items() if file not in taken}


def _reason_against(
    candidate: Candidate, target: str | None, unlabelled: frozenset[str], candidates: Sequence[Candidate]
) -> str:
    """Return why a table cannot be the label table; empty if it can."""
    if target is not None and len(candidate.frame.columns):
        return "" if target in candidate.frame.columns else f"has no column {target!r}"
    if not candidate.target_columns:
        return _no_labels_reason(candidate)
    if _is_template(candidate, unlabelled, candidates):
        return f"is a template for answers: {_where(candidate)} have no labels"
    return ""


def _where(candidate: Candidate) -> str:
    folder = candidate.report.folder
    return f"the {candidate.report.n_named} images that it names" + ("" if folder == "." else f" in {folder}/")


def _no_labels_reason(candidate: Candidate) -> str:
    if not len(candidate.frame.columns):
        return f"names {candidate.report.n_named} images and has no labels" + (
            "" if candidate.report.folder == "." else f" ({candidate.report.folder}/)"
        )
    listed = ", ".join(map(str, candidate.frame.columns[:5]))
    return f"has no column that could be predicted: {listed}"


def _is_template(candidate: Candidate, unlabelled: frozenset[str], candidates: Sequence[Candidate]) -> bool:
    """Whether a table is a form for answers, as competitions hand it out: by name, or for images without labels."""
    if "submission" in split_words(base_name(candidate.file)):
        return True
    is_of_unlabelled = bool(unlabelled) and candidate.images <= unlabelled
    return is_of_unlabelled and any(other.images - unlabelled for other in candidates)


def _tables_of_parts(usable: Sequence[Candidate]) -> list[Candidate]:
    """Return one table for each part, if their names say parts, one is train, and they share their columns.

    Raises
    ------
    DataError
        two tables stand for one part.
    """
    parts = dict.fromkeys(candidate.part for candidate in usable if candidate.part is not None)
    if "train" not in parts:
        return []
    by_part = {part: _clear_winner([c for c in usable if c.part == part]) for part in parts}
    train = by_part["train"]
    alike = {part: c for part, c in by_part.items() if c.spec.path == train.spec.path}
    return [c for c in alike.values() if set(train.target_columns) & set(c.frame.columns)]


def _clear_winner(usable: Sequence[Candidate]) -> Candidate:
    """Return the only table whose name says that it holds labels, or the one that names by far most images.

    Raises
    ------
    DataError
        several tables fit equally well.
    """
    named = [candidate for candidate in usable if LABEL_FILE_WORDS & set(split_words(base_name(candidate.file)))]
    if len(named) == 1 and 2 * len(named[0].images) > max(len(candidate.images) for candidate in usable):
        return named[0]
    by_size = sorted(usable, key=lambda candidate: -len(candidate.images))
    if len(by_size) > 1 and len(by_size[0].images) < CLEAR_MAJORITY * len(by_size[1].images):
        raise _question([c for c in by_size if CLEAR_MAJORITY * len(c.images) > len(by_size[0].images)])
    return by_size[0]


def _question(tables: Sequence[Candidate]) -> DataError:
    listed = "; ".join(
        f"{table.file} ({table.report.reason}; columns {', '.join(map(str, table.frame.columns[:5]))})"
        for table in tables
    )
    return DataError(f"{len(tables)} tables fit: {listed}; choose one with '--labels FILE' or '--target COLUMN'")


def _adds_split(candidate: Candidate, chosen: Candidate) -> bool:
    """Whether a table only says the part of the images that another table names."""
    columns = candidate.frame.columns
    is_split = len(columns) == 1 and find_split_column(candidate.frame) is not None
    is_new = not set(columns) & set(chosen.frame.columns) and find_split_column(chosen.frame) is None
    return is_split and is_new and candidate.spec.path == chosen.spec.path and chosen.images <= candidate.images


def _joined_spec(chosen: Sequence[Candidate]) -> LabelsSpec:
    if len(chosen) == 1:
        return chosen[0].spec
    files = {str(candidate.part): candidate.file for candidate in chosen}
    roots = {str(candidate.part): str(candidate.spec.root) for candidate in chosen}
    stated = chosen[0].spec
    same = {name: value for name, value in stated.model_dump().items()
            if all(getattr(candidate.spec, name) == getattr(stated, name) for candidate in chosen)}  # fmt: skip
    return LabelsSpec.model_validate(
        same | {"file": files, "root": roots if len(set(roots.values())) > 1 else next(iter(roots.values()))}
    )
