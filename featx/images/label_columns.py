"""Label columns: conversion to values that can be compared, counted and stored, and columns that can be targets."""

import unicodedata
from typing import Any

import numpy as np
import pandas as pd

from featx.images.split_columns import count_rows_without_part, find_column_parts

INT64_RANGE = np.iinfo(np.int64)
UNHASHABLE_TYPES = (list, dict, set, np.ndarray)


def to_plain_columns(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the label columns, with text for all values of a column that mixes types or holds lists or mappings.

    Columns of text, numbers, booleans or dates are unchanged. A column with an integer outside the range of 64 bits
    becomes text too. Text is in Unicode normal form C, so that equal class names are equal.
    """
    is_mixed = {name: labels[name].dtype == object and not _is_plain(labels[name].dropna()) for name in labels.columns}
    texts = {name: labels[name].map(_to_text, na_action="ignore") for name, mixed in is_mixed.items() if mixed}
    plain = labels.assign(**texts) if texts else labels
    normal = {name: _normalise_text(plain[name]) for name in plain.columns if plain[name].dtype.kind == "O"}
    return plain.assign(**{name: column for name, column in normal.items() if column is not None})


def _normalise_text(column: "pd.Series[Any]") -> "pd.Series[Any] | None":
    """Return a column in Unicode normal form C; None if it is already, or holds no text."""
    texts = [value for value in column.unique().tolist() if isinstance(value, str) and not value.isascii()]
    forms = {text: unicodedata.normalize("NFC", text) for text in texts}
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


def can_be_target(name: str, column: "pd.Series[Any]") -> bool:
    """Whether a column could be predicted: its values repeat, or they are numbers; they are not parts of a split."""
    values = column.dropna()
    if not len(values) or isinstance(values.iloc[0], UNHASHABLE_TYPES) or find_column_parts(name, column) is not None:
        return False
    if count_rows_without_part(name, column):
        return False
    if values.dtype == object and values.map(lambda value: isinstance(value, UNHASHABLE_TYPES)).any():
        return False
    n = values.nunique()
    if n < 2 or (values.dtype.kind == "O" and values.map(_is_text_of_container).all()):
        return False
    is_number = values.dtype.kind in "iuf"
    return n <= max(2, len(values) // 2) or (is_number and not _is_row_number(values))


def _is_text_of_container(value: object) -> bool:
    """Whether a value is the text of a list or mapping, as `to_plain_columns` writes it."""
    return isinstance(value, str) and (value[:1], value[-1:]) in {("[", "]"), ("{", "}")}


def _is_row_number(values: "pd.Series[Any]") -> bool:
    """Whether a column numbers the rows in their order."""
    return bool(values.dtype.kind in "iu" and (values.diff().dropna() == 1).all())
