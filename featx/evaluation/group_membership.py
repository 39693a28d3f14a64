"""Membership of rows in groups: values of a column, bins of numbers, and combinations of two columns."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.files.column_types import category_text, find_numbers_in_texts
from featx.text.four_digits import count_distinguishing_digits, show_digits

# Number of different numbers up to which each is a group; more are cut into bins.
MAX_NUMERIC_GROUPS = 10
# Number of quantile bins.
N_BINS = 5
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# Code of a row without a value.
NO_GROUP = -1


@dataclass(frozen=True)
class GroupMembership:
    """Membership of n rows in the groups of one grouping.

    Attributes
    ----------
    name
        Name of the grouping.
    codes
        (n,) indices into `groups`; -1 for a row without a value.
    groups
        Names of the groups, in their order if they have one.
    ordered
        Whether the groups have an order.
    """

    name: str
    codes: NDArray[np.intp]
    groups: tuple[str, ...]
    ordered: bool

    @property
    def has_value(self) -> NDArray[np.bool_]:
        """(n,) whether each row has a value, and so belongs to a group."""
        return np.asarray(self.codes != NO_GROUP)

    def rows_of(self, group: int) -> NDArray[np.bool_]:
        """Return (n,) whether each row belongs to one group."""
        return np.asarray(self.codes == group)


def group_rows(name: str, column: "pd.Series[Any]") -> GroupMembership:
    """Group rows by the values of one column.

    More than ten different numbers are cut into five quantile bins. Names that hold numbers (``20-40``) have an order.

    Parameters
    ----------
    name
        Name of the grouping.
    column
        n values; rows with missing values belong to no group.
    """
    is_missing = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _group_numbers(name, column.to_numpy(), is_missing)
    numbers = find_numbers_in_texts(column)
    if numbers is not None and numbers.nunique() > MAX_NUMERIC_GROUPS:
        return _group_numbers(name, numbers.to_numpy(np.float64), is_missing)
    texts = column.map(category_text).to_numpy(object)
    groups = sorted(set(texts[~is_missing]), key=_sort_key)
    is_ordered = len(groups) > 1 and all(NUMBER.search(text) for text in groups)
    return GroupMembership(name, _codes(texts, is_missing, groups), tuple(groups), is_ordered)


def _sort_key(text: str) -> tuple[float, float, str]:
    """Return a key that sorts ``<20`` before ``20-40`` before ``>60``, and names without numbers last."""
    numbers = [float(number) for number in NUMBER.findall(text)]
    if not numbers:
        return np.inf, np.inf, text
    return numbers[0], -1.0 if text.startswith(("<", "≤", "under")) else numbers[-1], text


def _codes(values: NDArray[Any], is_missing: NDArray[np.bool_], groups: list[Any]) -> NDArray[np.intp]:
    indices = pd.Index(groups).get_indexer(pd.Index(values))
    return np.where(is_missing, NO_GROUP, indices).astype(np.intp)


def _group_numbers(name: str, values: NDArray[Any], is_missing: NDArray[np.bool_]) -> GroupMembership:
    unique_values = np.unique(values[~is_missing])
    if len(unique_values) <= MAX_NUMERIC_GROUPS:
        names = tuple(map(category_text, unique_values.tolist()))
        return GroupMembership(name, _codes(values, is_missing, list(unique_values)), names, True)
    edges = np.unique(np.quantile(values[~is_missing], np.linspace(0, 1, N_BINS + 1)[1:-1]))
    n_digits = count_distinguishing_digits(edges.tolist())
    texts = [show_digits(edge, n_digits) for edge in edges.tolist()]
    names = (f"<{texts[0]}", *map("–".join, pairwise(texts)), f"≥{texts[-1]}")
    codes = np.where(is_missing, NO_GROUP, np.searchsorted(edges, values, side="right"))
    return GroupMembership(name, codes.astype(np.intp), names, True)


def groupings(columns: Mapping[str, "pd.Series[Any]"]) -> Iterator[GroupMembership]:
    """Yield the grouping of each column, then the combination of each pair of columns."""
    singles = [group_rows(name, column) for name, column in columns.items()]
    yield from singles
    for first, second in combinations(singles, 2):
        yield _combine(first, second)


def _combine(first: GroupMembership, second: GroupMembership) -> GroupMembership:
    """Return the combinations of two groupings that occur in at least one row."""
    codes = first.codes * len(second.groups) + second.codes
    codes = np.where(first.has_value & second.has_value, codes, NO_GROUP)
    unique_codes = [code for code in np.unique(codes) if code != NO_GROUP]
    pairs = [divmod(int(code), len(second.groups)) for code in unique_codes]
    return GroupMembership(
        f"{first.name} × {second.name}",
        _codes(codes, codes == NO_GROUP, unique_codes),
        tuple(f"{first.groups[a]} × {second.groups[b]}" for a, b in pairs),
        ordered=False,
    )
