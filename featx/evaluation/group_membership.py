"""Which rows are of which group: a column of labels, bands of numbers, and where two columns meet."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.tables.encoding import category_text

MOST_VALUES = 10  # different numbers that are groups of their own
FIFTHS = 5
NUMBER = re.compile(r"\d+(?:\.\d+)?")
NOBODY = -1


@dataclass(frozen=True)
class GroupMembership:
    """Who is of which group.

    Attributes
    ----------
    name
        Of the grouping.
    codes
        (n,) which of `groups`, -1 where a row has no value.
    groups
        Names, in their order where they have one.
    ordered
        Whether they have.
    """

    name: str
    codes: NDArray[np.intp]
    groups: tuple[str, ...]
    ordered: bool

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) which rows have a value."""
        return np.asarray(self.codes != NOBODY)

    def of(self, group: int) -> NDArray[np.bool_]:
        """(n,) which rows are of one group."""
        return np.asarray(self.codes == group)


def members(name: str, column: "pd.Series[Any]") -> GroupMembership:
    """Return who is of which group by one column.

    Numbers with more than ten different values are cut in fifths; names that hold numbers (``20-40``) have an order.

    Parameters
    ----------
    column
        n values; missing ones belong to no group.
    """
    missing = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _of_numbers(name, column.to_numpy(np.float64), missing)
    texts = column.map(category_text).to_numpy(object)
    found = sorted(set(texts[~missing]), key=_place)
    ordered = len(found) > 1 and all(NUMBER.search(text) for text in found)
    return GroupMembership(name, _codes(texts, missing, found), tuple(found), ordered)


def _place(text: str) -> tuple[float, float, str]:
    """Return what sorts ``<20`` before ``20-40`` before ``>60``; names without numbers stand last."""
    numbers = [float(one) for one in NUMBER.findall(text)]
    if not numbers:
        return np.inf, np.inf, text
    return numbers[0], -1.0 if text.startswith(("<", "≤", "under")) else numbers[-1], text


def _codes(values: NDArray[Any], missing: NDArray[np.bool_], groups: list[Any]) -> NDArray[np.intp]:
    at = pd.Index(groups).get_indexer(pd.Index(values))
    return np.where(missing, NOBODY, at).astype(np.intp)


def _of_numbers(name: str, values: NDArray[np.float64], missing: NDArray[np.bool_]) -> GroupMembership:
    known = np.unique(values[~missing])
    if len(known) <= MOST_VALUES:
        return GroupMembership(
            name, _codes(values, missing, list(known)), tuple(map(category_text, known.tolist())), True
        )
    edges = np.unique(np.quantile(values[~missing], np.linspace(0, 1, FIFTHS + 1)[1:-1]))
    texts = [f"{edge:.4g}" for edge in edges]
    names = (f"<{texts[0]}", *map("–".join, pairwise(texts)), f"≥{texts[-1]}")
    codes = np.where(missing, NOBODY, np.searchsorted(edges, values, side="right"))
    return GroupMembership(name, codes.astype(np.intp), names, True)


def groupings(columns: Mapping[str, "pd.Series[Any]"]) -> Iterator[GroupMembership]:
    """Yield the grouping of each column, then those where two of them meet."""
    singles = [members(name, column) for name, column in columns.items()]
    yield from singles
    for first, second in combinations(singles, 2):
        yield _meeting(first, second)


def _meeting(first: GroupMembership, second: GroupMembership) -> GroupMembership:
    """Return the combinations of two groupings that some row has."""
    pairs = first.codes * len(second.groups) + second.codes
    pairs = np.where(first.known & second.known, pairs, NOBODY)
    found = [pair for pair in np.unique(pairs) if pair != NOBODY]
    names = [divmod(int(pair), len(second.groups)) for pair in found]
    return GroupMembership(
        f"{first.name} × {second.name}",
        _codes(pairs, pairs == NOBODY, found),
        tuple(f"{first.groups[a]} × {second.groups[b]}" for a, b in names),
        ordered=False,
    )
