"""Conversion of label columns to columns whose values can be compared, counted and stored."""

from typing import Any

import numpy as np
import pandas as pd

INT64_RANGE = np.iinfo(np.int64)
UNHASHABLE_TYPES = (list, dict, set, np.ndarray)


def to_plain_columns(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the label columns, with text for all values of a column that mixes types or holds lists or mappings.

    Columns of text, numbers, booleans or dates are unchanged. A column with an integer outside the range of 64 bits
    becomes text too.
    """
    is_mixed = {name: labels[name].dtype == object and not _is_plain(labels[name].dropna()) for name in labels.columns}
    texts = {name: labels[name].map(_to_text, na_action="ignore") for name, mixed in is_mixed.items() if mixed}
    return labels.assign(**texts) if texts else labels


def _is_plain(values: "pd.Series[Any]") -> bool:
    types = set(map(type, values))
    if types and all(issubclass(t, int | float | np.integer | np.floating) and t is not bool for t in types):
        return all(INT64_RANGE.min <= value <= INT64_RANGE.max for value in values if isinstance(value, int))
    return len(types) <= 1 and not any(issubclass(t, UNHASHABLE_TYPES) for t in types)


def _to_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
