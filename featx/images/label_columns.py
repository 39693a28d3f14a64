"""Label columns: conversion to values that can be compared, counted and stored, and columns that can be targets."""

from typing import Any

import numpy as np
import pandas as pd

from featx.files.column_types import find_numbers_in_texts
from featx.images.column_roles import (
    LABEL_WORDS,
    find_identity_words,
    holds_only_dates,
    is_identifier,
    is_row_number_name,
)
from featx.images.measured_numbers import find_number_with_unit
from featx.images.names import split_words
from featx.images.split_columns import count_rows_without_part, find_column_parts
from featx.specs.base import to_normal_form

INT64_RANGE = np.iinfo(np.int64)
MAX_COLUMNS_NAMED = 6
MAX_VALUE_CHARACTERS = 30
UNHASHABLE_TYPES = (list, dict, set, np.ndarray)


def to_plain_columns(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the label columns, with text for all values of a column that mixes types or holds lists or mappings.

    Columns of text, numbers, booleans or dates are unchanged. A column with an integer outside the range of 64 bits
    becomes text too. Text and the names of columns are in Unicode normal form C, as in recipes, so that equal names are
    equal; two columns whose names would become equal keep them.
    """
    is_mixed = {name: labels[name].dtype == object and not _is_plain(labels[name].dropna()) for name in labels.columns}
    texts = {
        name: labels[name].map(_to_text, na_action="ignore")
        for name, is_column_mixed in is_mixed.items()
        if is_column_mixed
    }
    plain_labels = labels.copy(deep=False)
    for name, column in texts.items():
        plain_labels[name] = column
    for name in plain_labels.columns:
        if (
            plain_labels[name].dtype.kind == "O"
            and (normalised_column := _normalise_text(plain_labels[name])) is not None
        ):
            plain_labels[name] = normalised_column
    column_names = [to_normal_form(str(name)) for name in plain_labels.columns]
    if len(set(column_names)) == len(column_names) and not all(map(str.isascii, column_names)):
        plain_labels = plain_labels.set_axis(column_names, axis="columns")
    return plain_labels


def _normalise_text(column: "pd.Series[Any]") -> "pd.Series[Any] | None":
    """Return a column in Unicode normal form C; None if it is already, or holds no text."""
    texts = [value for value in column.unique().tolist() if isinstance(value, str) and not value.isascii()]
    forms = {text: to_normal_form(text) for text in texts}
    changed_forms = {text: form for text, form in forms.items() if text != form}
    return column.map(lambda value: changed_forms.get(value, value)) if changed_forms else None


def _is_plain(values: "pd.Series[Any]") -> bool:
    types = set(map(type, values))
    if types and all(issubclass(t, int | float | np.integer | np.floating) and t is not bool for t in types):
        return all(INT64_RANGE.min <= value <= INT64_RANGE.max for value in values if isinstance(value, int))
    return len(types) <= 1 and not any(issubclass(t, UNHASHABLE_TYPES) for t in types)


def _to_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def find_target_columns(labels: pd.DataFrame) -> list[str]:
    """Return the names of the columns that could be predicted: not constant, no parts of a split, no lists or texts."""
    return [str(name) for name in labels.columns if can_be_target(str(name), labels[name])]


def can_be_target(name: str, column: "pd.Series[Any]", *, may_be_split: bool = True) -> bool:
    """Whether a column could be predicted: its values repeat, or they are numbers; they are not parts of a split."""
    return not find_target_objection(name, column, may_be_split=may_be_split)


def find_target_objection(name: str, column: "pd.Series[Any]", *, may_be_split: bool = True) -> str:
    """Return why a column cannot be predicted, in a few words; empty if it could be.

    Parameters
    ----------
    name
        Name of the column.
    column
        Labels of all images.
    may_be_split
        Whether its values may be parts of a split.

    Examples
    --------
    >>> find_target_objection("id", pd.Series(["a", "b", "c", "d"])), find_target_objection("y", pd.Series([1, 1, 1]))
    ('4 different texts in 4 rows', "only the value '1'")
    >>> find_target_objection("y", pd.Series([0, 1, 1]))
    ''
    """
    values = column.dropna()
    if not len(values):
        return "no values"
    if _holds_containers(values):
        return "lists or mappings"
    if may_be_split and find_column_parts(name, column) is not None:
        return "parts of a split"
    if count_rows_without_part(name, column):
        return "parts of a split in some rows only"
    n = values.nunique()
    if objection := _find_role_objection(name, values, n):
        return objection
    if n < 2:
        return f"only the value {str(values.iloc[0])[:MAX_VALUE_CHARACTERS]!r}"
    if n <= max(2, len(values) // 2):
        return ""
    if values.dtype.kind not in "iuf" and find_numbers_in_texts(values) is None:
        return f"{n} different texts in {len(values)} rows"
    return "row numbers" if _is_row_number(values) else ""


def _find_role_objection(name: str, values: "pd.Series[Any]", n_values: int) -> str:
    """Return why a column cannot be predicted: identities, dates, row numbers or units; otherwise empty."""
    if n_values > 1 and is_identifier(name):
        word = min(find_identity_words(name))
        return f"identifies each {word}: join the table with the labels of each {name!r} to this table first"
    # Class folders may be called by dates; another warning asks whether they are classes.
    if holds_only_dates(values) and not LABEL_WORDS & set(split_words(name)):
        return "dates"
    if n_values == len(values) > 1 and values.dtype.kind in "iu" and is_row_number_name(name):
        return "a different number in each row, under the name of an id"
    if text := find_number_with_unit(values):
        return f"numbers with a unit as text, such as {text!r}: write the numbers alone"
    return ""


def describe_target_objections(labels: pd.DataFrame) -> str:
    """Return the reason for each column that cannot be predicted; more than a few columns are counted.

    Examples
    --------
    >>> describe_target_objections(pd.DataFrame({"id": ["a", "b", "c"], "y": [1, 1, 1]}))
    "'id' (3 different texts in 3 rows), 'y' (only the value '1')"
    """
    objections = {str(name): find_target_objection(str(name), labels[name]) for name in labels.columns}
    reasons = [f"{name!r} ({reason})" for name, reason in objections.items() if reason]
    n_more = len(reasons) - MAX_COLUMNS_NAMED
    return ", ".join(reasons[:MAX_COLUMNS_NAMED]) + (f", and {n_more} more columns" if n_more > 0 else "")


def _holds_containers(values: "pd.Series[Any]") -> bool:
    """Whether a value is a list or mapping, or all are texts of such."""
    if values.dtype.kind != "O":
        return False
    if any(issubclass(t, UNHASHABLE_TYPES) for t in set(map(type, values))):
        return True
    return all(map(_is_text_of_container, values.unique().tolist()))


def _is_text_of_container(value: object) -> bool:
    """Whether a value is the text of a list or mapping, as `to_plain_columns` writes it."""
    return isinstance(value, str) and (value[:1], value[-1:]) in {("[", "]"), ("{", "}")}


def _is_row_number(values: "pd.Series[Any]") -> bool:
    """Whether a column numbers the rows in their order."""
    return bool(values.dtype.kind in "iu" and (values.diff().dropna() == 1).all())
