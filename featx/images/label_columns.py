"""Label columns whose values can be compared, counted and stored."""

from typing import Any

import numpy as np
import pandas as pd

INT64 = np.iinfo(np.int64)
NOT_HASHABLE = (list, dict, set, np.ndarray)


def plain_columns(labels: pd.DataFrame) -> pd.DataFrame:
    """Return label columns each of one kind: those that mix kinds, or hold lists or tables, become text.

    Columns of text, of numbers, of truth values and of dates stay as they are. A column with a whole number that no
    64-bit integer holds becomes text too.
    """
    mixed = [name for name in labels.columns if labels[name].dtype == object and not _is_plain(labels[name].dropna())]
    return labels.assign(**{name: labels[name].map(_text, na_action="ignore") for name in mixed}) if mixed else labels


def _is_plain(values: "pd.Series[Any]") -> bool:
    kinds = set(map(type, values))
    if kinds and all(issubclass(kind, int | float | np.integer | np.floating) and kind is not bool for kind in kinds):
        return all(INT64.min <= value <= INT64.max for value in values if isinstance(value, int))
    return len(kinds) <= 1 and not any(issubclass(kind, NOT_HASHABLE) for kind in kinds)


def _text(value: object) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
