"""Choice of the label table among the tables of a source that name images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featx.errors import DataError
from featx.files.table_files import TABLE_SUFFIXES
from featx.images.label_columns import describe_target_objections
from featx.images.label_files import relate_to_source
from featx.images.label_tables import Candidate, TableReport, examine_table, examine_tables
from featx.images.names import base_name, file_suffix, split_words
from featx.images.sources import open_tree, shared
from featx.images.split_columns import find_split_column
from featx.images.table_listing import list_tables
from featx.images.trees import Tree
from featx.images.unsupported_tables import explain_table_format
from featx.specs.data import LabelsSpec

# A table that names this many times the images of any other is the label table.
CLEAR_MAJORITY = 2
# Settings of the format of a table, which are detected for each file if they are not stated.
FORMAT_SETTINGS = ("encoding", "separator", "quote", "skip_lines", "decimal", "sheet")
LABEL_FILE_WORDS = frozenset(
    {"label", "labels", "class", "classes", "target", "targets", "truth", "groundtruth", "gt", "attr", "attributes"}
)


@dataclass(frozen=True, eq=False)
class TableChoice:
    """The label table of a source, and a report on each of its tables.

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


def split_table_place(source: str, labels: str | None) -> tuple[str, str | None]:
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
        if reason := explain_table_format(labels):
            raise DataError(f"{labels!r} {reason}; expected a label table ({', '.join(TABLE_SUFFIXES)})")
        examination = examine_table(tree, relate_to_source(place, labels))
        if isinstance(examination, TableReport):
            raise DataError(
                f"{labels!r} {examination.reason}; expected a column with the paths of images of {place!r}, with or "
                "without their endings"
            )
        return TableChoice(examination.spec, (replace(examination.report, is_used=True),), {})
    candidates, reports = examine_tables(tree, list_tables(tree))
    spec, reasons = choose_tables(candidates, target)
    taken_files = () if spec is None else spec.files
    reports += [
        replace(c.report, is_used=c.file in taken_files, reason=reasons.get(c.file, c.report.reason))
        for c in candidates
    ]
    labelled_images = frozenset[str]().union(*(c.images for c in candidates if c.file in taken_files))
    tables_by_image = {
        uri: c.file for c in candidates if c.file not in taken_files for uri in c.images - labelled_images
    }
    return TableChoice(spec, tuple(sorted(reports, key=lambda report: not report.is_used)), tables_by_image)


def choose_tables(candidates: Sequence[Candidate], target: str | None) -> tuple[LabelsSpec | None, dict[str, str]]:
    """Return how to read the labels, and a reason by file for each table that is not used.

    Parameters
    ----------
    candidates
        The tables whose rows name images.
    target
        Name of the column to predict, if the user named it: other tables are not considered.

    Raises
    ------
    DataError
        several tables fit equally well.
    """
    unlabelled_images = frozenset[str]().union(*(c.images for c in candidates if not len(c.frame.columns)))
    reasons = {
        candidate.file: reason
        for candidate in candidates
        if (reason := _find_objection(candidate, target, unlabelled_images, candidates))
    }
    usable_candidates = [candidate for candidate in candidates if candidate.file not in reasons]
    if not usable_candidates:
        return None, reasons
    chosen_tables = _find_part_tables(usable_candidates) or [_find_clear_winner(usable_candidates)]
    reasons |= {
        c.file: f"another table is taken; {c.report.reason}" for c in usable_candidates if c not in chosen_tables
    }
    spec = chosen_tables[0].spec
    if len(chosen_tables) > 1:
        spec = merge_specs({str(candidate.part): candidate for candidate in chosen_tables})
    joined_tables = []
    if len(chosen_tables) == 1:
        joined_tables = [c for c in candidates if c not in chosen_tables and _adds_split(c, chosen_tables[0])]
    if joined_tables:
        sheet = spec.sheet or next((item.spec.sheet for item in joined_tables if item.spec.sheet is not None), None)
        # One key names the sheet of all tables.
        joined_tables = [candidate for candidate in joined_tables if candidate.spec.sheet in {None, sheet}]
        specs = [spec, *(candidate.spec for candidate in joined_tables)]
        files = tuple(candidate.file for candidate in joined_tables)
        spec = spec.model_copy(update=_find_shared_format(specs) | {"join": files, "sheet": sheet})
    taken_files = {candidate.file for candidate in (*chosen_tables, *joined_tables)}
    return spec, {file: reason for file, reason in reasons.items() if file not in taken_files}


def _find_objection(
    candidate: Candidate, target: str | None, unlabelled_images: frozenset[str], candidates: Sequence[Candidate]
) -> str:
    """Return why a table cannot be the label table; empty if it can."""
    if target is not None and len(candidate.frame.columns):
        return "" if target in candidate.frame.columns else f"has no column {target!r}"
    if not candidate.target_columns:
        return _explain_no_labels(candidate)
    if _is_template(candidate, unlabelled_images, candidates):
        return f"is a submission template: {_describe_images(candidate)} have no labels"
    return ""


def _describe_images(candidate: Candidate) -> str:
    folder = candidate.report.folder
    return f"the {candidate.report.n_named} images that it names" + ("" if folder == "." else f" in {folder}/")


def _explain_no_labels(candidate: Candidate) -> str:
    if not len(candidate.frame.columns):
        return f"names {candidate.report.n_named} images and has no labels" + (
            "" if candidate.report.folder == "." else f" ({candidate.report.folder}/)"
        )
    return f"has no column that could be predicted: {describe_target_objections(candidate.frame)}"


def _is_template(candidate: Candidate, unlabelled_images: frozenset[str], candidates: Sequence[Candidate]) -> bool:
    """Whether a table is the submission template of a competition: its name says so, or its images have no labels."""
    if any(word.startswith("submission") for word in split_words(base_name(candidate.file))):
        return True
    is_of_unlabelled = bool(unlabelled_images) and candidate.images <= unlabelled_images
    return is_of_unlabelled and any(other_candidate.images - unlabelled_images for other_candidate in candidates)


def _find_part_tables(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return one table for each part, if their names say parts, one is train, and they share their columns.

    Raises
    ------
    DataError
        two tables stand for one part.
    """
    parts = dict.fromkeys(candidate.part for candidate in candidates if candidate.part is not None)
    if "train" not in parts:
        return []
    candidates_by_part = {part: _find_clear_winner([c for c in candidates if c.part == part]) for part in parts}
    train = candidates_by_part["train"]
    tables_by_part = {part: c for part, c in candidates_by_part.items() if has_same_path_rule(c.spec, train.spec)}
    return [c for c in tables_by_part.values() if set(train.target_columns) & set(c.frame.columns)]


def _find_clear_winner(candidates: Sequence[Candidate]) -> Candidate:
    """Return the only table whose name says that it holds labels, or the one that names by far most images.

    Raises
    ------
    DataError
        several tables fit equally well.
    """
    label_tables = [
        candidate for candidate in candidates if LABEL_FILE_WORDS & set(split_words(base_name(candidate.file)))
    ]
    if len(label_tables) == 1 and 2 * len(label_tables[0].images) > max(
        len(candidate.images) for candidate in candidates
    ):
        return label_tables[0]
    sorted_candidates = sorted(candidates, key=lambda candidate: -len(candidate.images))
    sizes = [len(candidate.images) for candidate in sorted_candidates]
    if len(sizes) > 1 and sizes[0] < CLEAR_MAJORITY * sizes[1]:
        raise _make_tie_error([c for c in sorted_candidates if CLEAR_MAJORITY * len(c.images) > sizes[0]])
    return sorted_candidates[0]


def _make_tie_error(tables: Sequence[Candidate]) -> DataError:
    descriptions = "; ".join(
        f"{table.file} ({table.report.reason}; columns {', '.join(map(str, table.frame.columns[:5]))})"
        for table in tables
    )
    return DataError(
        f"{len(tables)} tables fit: {descriptions}; choose one with 'featx init SOURCE --labels FILE' or '--target "
        "COLUMN'"
    )


def _adds_split(candidate: Candidate, chosen_candidate: Candidate) -> bool:
    """Whether a table only says the part of the images that another table names."""
    columns = candidate.frame.columns
    is_split = len(columns) == 1 and find_split_column(candidate.frame) is not None
    is_new = (
        not set(columns) & set(chosen_candidate.frame.columns) and find_split_column(chosen_candidate.frame) is None
    )
    return (
        is_split
        and is_new
        and candidate.spec.path == chosen_candidate.spec.path
        and candidate.spec.columns == chosen_candidate.spec.columns
        and (candidate.spec.sheet in {None, chosen_candidate.spec.sheet} or chosen_candidate.spec.sheet is None)
        and chosen_candidate.images <= candidate.images
    )


def has_same_path_rule(first_spec: LabelsSpec, second_spec: LabelsSpec) -> bool:
    """Whether the images of two tables are found in the same way, below one root or two."""
    rules = [spec.model_dump(exclude={*FORMAT_SETTINGS, "file", "root"}) for spec in (first_spec, second_spec)]
    return rules[0] == rules[1]


def merge_specs(tables: Mapping[str, Candidate]) -> LabelsSpec:
    """Return how to read one table for each part.

    Parameters
    ----------
    tables
        Table by part, whose images are found in the same way.
    """
    files = {part: candidate.file for part, candidate in tables.items()}
    roots = {part: str(candidate.spec.root) for part, candidate in tables.items()}
    specs = [candidate.spec for candidate in tables.values()]
    root = roots if len(set(roots.values())) > 1 else specs[0].root
    return specs[0].model_copy(update=_find_shared_format(specs) | {"file": files, "root": root})


def _find_shared_format(specs: Sequence[LabelsSpec]) -> dict[str, Any]:
    """Return the settings of the format that tables share; those that differ are None, and so detected for each."""
    settings = [spec.model_dump(include=set(FORMAT_SETTINGS)) for spec in specs]
    return {
        name: value if all(other_settings[name] == value for other_settings in settings) else None
        for name, value in settings[0].items()
    }
