"""Proposals of what to predict from label columns: the kind of target and its classes."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

import pandas as pd

from featx.errors import DataError
from featx.files.column_types import category_text, find_numbers_in_texts, is_missing_word
from featx.images.column_roles import LABEL_WORDS, find_identity_words
from featx.images.group_proposals import propose_groups
from featx.images.label_columns import can_be_target
from featx.images.measured_numbers import find_number_with_unit, is_measured
from featx.images.names import split_words
from featx.images.split_columns import describe_codes, explain_incomplete_split, find_split_column
from featx.tables.encoding import MAX_CLASSES, split_labels
from featx.tables.ids import Kind
from featx.tables.manifest import Manifest

MIN_ONE_HOT_COLUMNS = 3
LABEL_SEPARATORS = ("|", ";", ",", " ")
# Separators that occur in the names of classes too.
NAME_SEPARATORS = frozenset({",", " "})
# Number of different labels in one column above which its cells are texts, not lists of labels.
MAX_LABELS = 200
RANGE = re.compile(
    r"\D*(\d+(?:\.\d+)?)\s*(?:[-–—]|to|,)\s*(\d+(?:\.\d+)?)\D*|[<>≤≥=]*\s*(\d+(?:\.\d+)?)\s*[+<>]*(?:years?)?"
)
# Columns of folds of a cross-validation are neither labels nor parts.
FOLD_WORDS = frozenset({"fold", "folds"})


@dataclass(frozen=True)
class TargetProposal:
    """A target that the label columns offer.

    Attributes
    ----------
    name
        Name of the target: its column, or a name for several columns.
    kind
        Kind of the target.
    columns
        Its label columns.
    separator
        Text between the labels of one cell; None if a cell holds one value.
    classes
        Classes in their order, for ordered ones; empty otherwise.
    reason
        Reason for the kind, as one clause; empty for plain classes.
    """

    name: str
    kind: Kind = "classes"
    columns: tuple[str, ...] = ()
    separator: str | None = None
    classes: tuple[str, ...] = ()
    reason: str = ""

    def settings(self) -> dict[str, Any]:
        """Return the fields of the recipe's section."""
        has_several_columns = len(self.columns) > 1
        fields: dict[str, Any] = {"columns": list(self.columns)} if has_several_columns else {"column": self.columns[0]}
        if self.kind != "classes":
            fields["kind"] = self.kind
        if self.separator is not None:
            fields["separator"] = self.separator
        if self.classes:
            fields |= {"classes": list(self.classes), "ordered": True}
        return fields


@dataclass(frozen=True)
class TargetProposals:
    """Targets and groups that the label columns of a source offer.

    Attributes
    ----------
    targets
        Targets, the one that is proposed first.
    split_column
        Column with the parts of a split; None if there is none.
    group_column, group_reason
        Column of the groups that the split keeps together, and the reason; None and empty if there is none.
    warnings
        Messages about values that the user should check.
    """

    targets: tuple[TargetProposal, ...]
    split_column: str | None = None
    group_column: str | None = None
    group_reason: str = ""
    warnings: tuple[str, ...] = field(default=())


def propose_targets(manifest: Manifest, target: str | None, *, may_list_labels: bool = True) -> TargetProposals:
    """Return what can be predicted from the label columns.

    Parameters
    ----------
    target
        Name of the column to predict; by default the first one whose name says label, else the first one whose name
        is that of neither an identity nor a fold.
    may_list_labels
        Whether one label text may list several labels; False for the names of folders and categories.

    Raises
    ------
    DataError
        the target is not a column, or its cells are numbers with units.
    """
    labels = manifest.labels
    split_column = find_split_column(labels, target)
    codes = describe_codes(split_column, labels[split_column]) if split_column is not None else ""
    # Without another column, numbers are more likely to be labels than parts.
    may_be_split = not codes or len(labels.columns) > 1
    split_column = split_column if may_be_split else None
    names = [str(name) for name in labels.columns if can_be_target(str(name), labels[name], may_be_split=may_be_split)]
    one_hot = _propose_one_hot(labels, names) if target is None else None
    targets = [] if one_hot is None else [one_hot]
    one_hot_columns = () if one_hot is None else one_hot.columns
    names = [name for name in names if name not in one_hot_columns]
    targets += [propose_kind(name, labels[name], may_list_labels=may_list_labels) for name in names]
    if target is not None:
        _check_target(target, manifest.column(target))
        proposal = propose_kind(target, labels[target], may_list_labels=may_list_labels)
        targets = [proposal, *(p for p in targets if p.name != target)]
    elif targets and len(targets[0].columns) == 1:
        targets.sort(key=lambda proposal: (_rank(proposal), proposal.kind == "numbers"))
    groups = (
        propose_groups(labels, targets[0].columns, _find_classes(labels, targets[0]))
        if targets
        else propose_groups(labels)
    )
    warnings = [*groups.warnings, *(_list_name_warnings(targets[0], labels) if targets else [])]
    warnings += _list_split_warnings(split_column, codes, labels)
    warnings += [] if target is not None else _list_choice_warnings(targets)
    return TargetProposals(tuple(targets), split_column, groups.column, groups.reason, tuple(warnings))


def _list_split_warnings(split_column: str | None, codes: str, labels: pd.DataFrame) -> list[str]:
    """Return a warning if numbers are read as parts, or if a column of parts is incomplete and therefore not used."""
    if split_column is None:
        return explain_incomplete_split(labels)
    if not codes:
        return []
    return [
        f"the numbers of column {split_column!r} are read as parts ({codes}); if they are labels, run featx init "
        f"--target {quote(split_column)}, otherwise remove 'column' and 'parts' from [split]"
    ]


def _list_choice_warnings(targets: Sequence[TargetProposal]) -> list[str]:
    """Return a warning if the name of another column is as likely to be that of the target."""
    if len(targets) < 2 or _rank(targets[0]) != _rank(targets[1]):
        return []
    names_text = ", ".join(proposal.name for proposal in targets[1:6]) + (", …" if len(targets) > 6 else "")
    return [
        f"the target is the first of {len(targets)} columns that could be predicted; others: {names_text} (featx "
        "init --target)"
    ]


def _check_target(name: str, column: "pd.Series[Any]") -> None:
    """Check that the column that the user named is not text of numbers with units.

    Raises
    ------
    DataError
        A cell is a number with its unit, such as ``12.3 mm``, and each number would be a class.
    """
    if text := find_number_with_unit(column):
        raise DataError(
            f"column {name!r} holds numbers with a unit as text, first {text!r}, which would be {column.nunique()} "
            "classes; to predict the number, write it alone into the cells, in one unit for all of them"
        )


def _rank(proposal: TargetProposal) -> int:
    if LABEL_WORDS & set(split_words(proposal.name)):
        return 0
    is_fold = bool(FOLD_WORDS & set(split_words(proposal.name)))
    return 2 if is_fold or find_identity_words(proposal.name) else 1


def _find_classes(labels: pd.DataFrame, proposal: TargetProposal) -> "pd.Series[Any] | None":
    """Return the class of each image; None for numbers and for several labels."""
    if proposal.kind != "classes":
        return None
    has_several_columns = len(proposal.columns) > 1
    return labels[list(proposal.columns)].idxmax(axis=1) if has_several_columns else labels[proposal.columns[0]]


def count_classes(labels: pd.DataFrame, proposal: TargetProposal) -> dict[str, int]:
    """Return the number of rows by class or label of a target; empty for numbers.

    Parameters
    ----------
    labels
        Label columns.
    proposal
        The target.
    """
    if proposal.kind == "numbers":
        return {}
    if len(proposal.columns) > 1:
        return {name: int(labels[name].sum()) for name in proposal.columns}
    # Numbers are sorted as numbers before they become text.
    column = labels[proposal.columns[0]]
    if proposal.separator is not None:
        cells = column.dropna().map(category_text)
        names = Counter(label for cell in cells for label in split_labels(cell, proposal.separator))
        return dict(sorted(names.items()))
    counts = column.value_counts().sort_index().rename(index=category_text)
    counts = counts.groupby(level=0, sort=False).sum()
    return {name: int(counts.get(name, 0)) for name in proposal.classes or counts.index}


def propose_kind(name: str, column: "pd.Series[Any]", *, may_list_labels: bool = True) -> TargetProposal:
    """Return the target that a column offers: classes, ordered classes, several labels, or a number.

    Parameters
    ----------
    name
        Name of the column.
    column
        Labels of all images.
    may_list_labels
        Whether one text may list several labels.

    Examples
    --------
    >>> propose_kind("finding", pd.Series(["A|B", "A", "B", "C|A"])).kind
    'labels'
    >>> propose_kind("age", pd.Series([0.5 * n for n in range(100)])).kind
    'numbers'
    """
    values = column.dropna()
    if values.dtype.kind in "iuf":
        return _propose_number(name, values)
    if (numbers := find_numbers_in_texts(values)) is not None:
        proposal = _propose_number(name, numbers)
        return proposal if proposal.kind == "numbers" else TargetProposal(name, "classes", (name,))
    texts = pd.Series([category_text(value) for value in values.unique().tolist()], dtype="str")
    if may_list_labels and (separator := _find_label_separator(texts)):
        n_labels = len({label for text in texts.unique() for label in split_labels(text, separator)})
        return TargetProposal(
            name, "labels", (name,), separator, reason=f"{n_labels} labels separated by {separator!r}"
        )
    if order := _find_range_order(texts):
        return TargetProposal(name, "classes", (name,), classes=order, reason="ranges of numbers, ordered")
    return TargetProposal(name, "classes", (name,))


def _propose_number(name: str, values: "pd.Series[Any]") -> TargetProposal:
    n_values, is_whole = values.nunique(), bool((values % 1 == 0).all())
    if not is_measured(values) or (is_whole and LABEL_WORDS & set(split_words(name)) and n_values <= MAX_CLASSES):
        return TargetProposal(name, "classes", (name,))
    return TargetProposal(
        name, "numbers", (name,), reason=f"{n_values} different numbers in {len(values)} rows: a measured number"
    )


def _find_label_separator(texts: "pd.Series[str]") -> str | None:
    """Return the separator of lists of labels: most labels of a list occur alone, or in other lists too."""
    cells = texts.unique().tolist()
    for separator in LABEL_SEPARATORS:
        lists = [split_labels(cell, separator) for cell in cells]
        if not any(len(labels) > 1 for labels in lists):
            continue
        counts: dict[str, int] = {}
        for labels in lists:
            for label in set(labels):
                counts[label] = counts.get(label, 0) + 1
        single_labels = {labels[0] for labels in lists if len(labels) == 1}
        n_repeated = sum(n > 1 or label in single_labels for label, n in counts.items())
        is_list = n_repeated > len(counts) / 2 and (separator not in NAME_SEPARATORS or _are_label_lists(lists))
        if separator == " ":
            # Words of a name such as "golden retriever" rarely occur alone.
            is_list &= 2 * len(single_labels & _listed_labels(lists)) >= len(counts)
        if 2 <= len(counts) <= MAX_LABELS and is_list:
            return separator
    return None


def _are_label_lists(lists: Sequence[Sequence[str]]) -> bool:
    """Return whether the parts of cells are labels: most also occur alone, or there are more combinations than labels.

    The parts of names, such as "carcinoma, ductal", do neither.
    """
    listed_labels = _listed_labels(lists)
    single_labels = {labels[0] for labels in lists if len(labels) == 1}
    n_labels = len(listed_labels | single_labels)
    n_single = len(listed_labels & single_labels)
    return len(set(map(tuple, lists))) > n_labels or 2 * n_single >= len(listed_labels)


def _listed_labels(lists: Sequence[Sequence[str]]) -> set[str]:
    return {label for labels in lists if len(labels) > 1 for label in labels}


def _find_range_order(texts: "pd.Series[str]") -> tuple[str, ...]:
    """Return the values in the order of their numbers if all are ranges such as ``10-19``, ``<18`` or ``60+``."""
    values = texts.unique().tolist()
    matches = {value: RANGE.fullmatch(value.strip()) for value in values}
    if len(values) < 3 or not all(matches.values()) or not any(match and match[1] for match in matches.values()):
        return ()
    lower = {value: _parse_lower_end(value, match) for value, match in matches.items() if match}
    return tuple(sorted(values, key=lower.__getitem__)) if len(set(lower.values())) == len(values) else ()


def _parse_lower_end(value: str, match: "re.Match[str]") -> float:
    number = float(match[1] or match[3])
    return number - 0.5 if value.strip().startswith(("<", "≤")) else number


def _propose_one_hot(labels: pd.DataFrame, names: Sequence[str]) -> TargetProposal | None:
    """Return the target of columns of 0 and 1: one class if each row has exactly one 1, several labels otherwise."""
    columns = [name for name in labels.columns if _is_indicator(labels[name])]
    if len(columns) < MIN_ONE_HOT_COLUMNS:
        return None
    indicators = labels[columns].astype("float64")
    if not (indicators.sum(axis=1) == 1).all():
        return None
    class_columns = [str(name) for name in columns]
    reason = f"{len(class_columns)} columns of 0 and 1, exactly one 1 in each row"
    return TargetProposal(
        "class" if "class" not in names else "one_hot", "classes", tuple(class_columns), reason=reason
    )


def _is_indicator(column: "pd.Series[Any]") -> bool:
    values = set(column.unique().tolist())
    return not column.isna().any() and column.dtype.kind in "biuf" and values <= {0, 1}


def _list_name_warnings(proposal: TargetProposal, labels: pd.DataFrame) -> list[str]:
    """Return warnings about lists of labels, class names that may be one class, and words for missing values."""
    if proposal.kind == "numbers" or len(proposal.columns) > 1:
        return []
    counts = labels[proposal.columns[0]].value_counts().rename(index=category_text).groupby(level=0, sort=False).sum()
    warnings = [] if proposal.separator is None else _describe_separator(proposal, counts.index, proposal.separator)
    for names in _group_alike(counts).values():
        variants = " and ".join(f"{name!r} ({counts[name]})" for name in names)
        merges = ", ".join(f'"{name}" = "{names[0]}"' for name in names[1:])
        problem = "differ in case or spaces only" if _has_letters(names[0]) else "are one number"
        warnings.append(f"classes {variants} {problem}; if they are one, set map = {{ {merges} }}")
    empty_words = [str(name) for name in counts.index if is_missing_word(str(name))]
    if empty_words and proposal.kind == "classes":
        name = empty_words[0]
        warnings.append(
            f'{counts[name]} images have the class {name!r}; if it means that they have no label, set drop = ["{name}"]'
        )
    return warnings


def _describe_separator(proposal: TargetProposal, cells: "pd.Index[Any]", separator: str) -> list[str]:
    """Return a warning that cells are read as lists of labels if they could be names of classes too."""
    lists = {cell: split_labels(cell, separator) for cell in map(str, cells)}
    if separator not in NAME_SEPARATORS and _are_label_lists(list(lists.values())):
        return []
    cell, labels = next((cell, labels) for cell, labels in lists.items() if len(labels) > 1)
    return [
        f"the cells of {proposal.name!r} are read as several labels separated by {separator!r}, such as {cell!r} as "
        f"{', '.join(map(repr, labels))}; if each cell is one class, remove 'kind' and 'separator' from "
        f"[targets.{proposal.name}]"
    ]


def _group_alike(counts: "pd.Series[int]") -> dict[str, list[str]]:
    """Return the names that are equal apart from case, spaces, ``_`` and ``-``, or that are one number."""
    groups: dict[str, list[str]] = {}
    names = list(map(str, counts.index))
    numbers = find_numbers_in_texts(pd.Series(names, dtype="str"))
    keys = map(_fold, names) if numbers is None else map(str, numbers)
    for name, key in zip(names, keys, strict=True):
        if numbers is not None or _has_letters(name):
            groups.setdefault(key, []).append(name)
    return {key: names for key, names in groups.items() if len(names) > 1}


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _has_letters(name: str) -> bool:
    return any(character.isalpha() for character in str(name))
