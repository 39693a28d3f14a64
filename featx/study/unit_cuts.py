"""Cuts of rows in two by exact sizes: whole units, stratified by class, by scikit-learn's own functions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.tables.resampling_units import are_mostly_single

# Number of random splits by group; the one closest to the requested shares is used.
N_GROUP_DRAWS = 64
ADVICE = "add images, drop the class, or say 'split.stratify = false'"


@dataclass(frozen=True, eq=False)
class UnassignedRows:
    """The rows whose part is not given by a column of the source.

    Attributes
    ----------
    ids
        (n,) ids in the order of the manifest.
    units
        (n,) codes of units; all rows of a unit are assigned to one part.
    keys
        (n,) hashed text of each row: its group, its digest, or its id if neither is used.
    classes
        (n,) codes of classes to stratify by, None without stratification.
    """

    ids: pd.Index
    units: NDArray[np.int64]
    keys: NDArray[np.object_]
    classes: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, selection: NDArray[np.bool_] | NDArray[np.intp]) -> "UnassignedRows":
        """Return some of the rows, by a mask or by row numbers in any order."""
        classes = None if self.classes is None else self.classes[selection]
        return UnassignedRows(self.ids[selection], self.units[selection], self.keys[selection], classes)


class RowSplit(NamedTuple):
    """The two sides of a cut, as row numbers in the order in which scikit-learn returns them.

    Attributes
    ----------
    remaining_rows
        Rows that stay.
    cut_rows
        Rows that are cut off.
    """

    remaining_rows: NDArray[np.intp]
    cut_rows: NDArray[np.intp]


def held_out(  # noqa: PLR0913 (a cut and what it keeps to)
    ids: NDArray[np.object_],
    n_cut: int,
    codes: NDArray[np.int64] | None,
    groups: NDArray[Any] | None,
    seed: int,
    purpose: str,
) -> NDArray[np.object_]:
    """Return about `n_cut` of the given ids: stratified by class, with whole units, without classes of a single unit.

    Parameters
    ----------
    codes
        (n,) classes to stratify by, or None.
    groups
        (n,) the unit of each id; None where every id stands for itself.
    purpose
        Name of the cut, for messages.

    Raises
    ------
    DataError
        A class has too few rows, or there are too few groups.
    """
    index = pd.Index(ids)
    units = np.arange(len(index)) if groups is None else pd.factorize(np.asarray(groups))[0]
    free_rows = UnassignedRows(index, units, index.to_numpy(object), codes)
    if codes is not None:
        n_units = pd.Series(units).groupby(codes).transform("nunique").to_numpy()
        free_rows = free_rows.take(~np.isin(units, units[n_units == 1]))
    if len(np.unique(free_rows.units)) < 2:
        raise DataError(
            f"{purpose}: found {len(np.unique(free_rows.units))} images, groups or sets of copies to choose from, "
            "expected at least two (a class that occurs in only one of them stays in train); add images"
        )
    return np.asarray(free_rows.ids[cut_units(free_rows, n_cut, seed, purpose).cut_rows], dtype=object)


def cut_units(
    free_rows: UnassignedRows, n_cut: int, seed: int, purpose: str, *, counts_units: bool = False
) -> RowSplit:
    """Split off whole units: single images as `train_test_split` does, groups by the best of several draws.

    Parameters
    ----------
    free_rows
        The rows to split, with the unit of each.
    n_cut
        Number of rows to cut off; groups are cut to about this number.
    seed
        Seed of the draws.
    purpose
        Beginning of the messages of errors.
    counts_units
        Whether `n_cut` is a number of units instead: the first row of each unit stands for its copies.

    Raises
    ------
    DataError
        There are too few rows, or too few of a class.
    """
    first_rows = _find_first_rows(free_rows)
    if len(first_rows) < len(free_rows) and not counts_units:
        return _cut_groups(free_rows, n_cut, seed, purpose)
    return _expand_to_units(free_rows, _cut_single(free_rows.take(first_rows), n_cut, seed, purpose))


def _find_first_rows(free_rows: UnassignedRows) -> NDArray[np.intp]:
    """Return the index of the first row of each unit, in the order of the rows."""
    return np.sort(np.unique(free_rows.units, return_index=True)[1])


def _expand_to_units(free_rows: UnassignedRows, cut: RowSplit) -> RowSplit:
    """Return a cut of the first rows of the units, in the order of `_find_first_rows`, with all rows of the units."""
    units = free_rows.units[_find_first_rows(free_rows)]
    return RowSplit(*(_rows_of_units(free_rows, units[side]) for side in cut))


def _rows_of_units(free_rows: UnassignedRows, units: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the rows of some units, in the order of the units."""
    rank = pd.Series(np.arange(len(units)), index=units).reindex(free_rows.units).to_numpy(np.float64)
    return np.argsort(rank, kind="stable")[: int(np.isfinite(rank).sum())]


def _cut_single(free_rows: UnassignedRows, n_cut: int, seed: int, purpose: str) -> RowSplit:
    # Importing scikit-learn takes half a second, and a split by hash does without it.
    from sklearn.model_selection import train_test_split

    try:
        return RowSplit(
            *train_test_split(np.arange(len(free_rows)), test_size=n_cut, random_state=seed, stratify=free_rows.classes)
        )
    except ValueError as error:
        raise _too_few_error(free_rows, n_cut, purpose) from error


def _too_few_error(free_rows: UnassignedRows, n_cut: int, purpose: str) -> DataError:
    counts = None if free_rows.classes is None else np.unique(free_rows.classes, return_counts=True)[1]
    smallest_class_text = "" if counts is None else f", the smallest class has {counts.min()} left"
    return DataError(
        f"{purpose}: cannot select {n_cut} of {len(free_rows)} images{smallest_class_text}; expected at least one "
        f"image of each class in every part: {ADVICE}"
    )


def _cut_groups(free_rows: UnassignedRows, n_cut: int, seed: int, purpose: str) -> RowSplit:
    """Split off whole groups, about `n_cut` rows in all, whose classes are mixed most like all of `free_rows`."""
    n_groups = len(np.unique(free_rows.units))
    if n_groups < 2:
        raise DataError(f"{purpose}: {n_groups} group to choose from; expected at least two")
    n_cut_groups = min(math.ceil(n_cut / len(free_rows) * n_groups), n_groups - 1)
    shares = None if free_rows.classes is None else np.bincount(free_rows.classes) / len(free_rows)

    def distance(cut: NDArray[np.intp]) -> float:
        size = abs(len(cut) - n_cut) / len(free_rows)
        if shares is None:
            return size
        cut_shares = np.bincount(free_rows.classes[cut], minlength=len(shares)) / len(cut)  # type: ignore[index]
        return size + float(np.abs(cut_shares - shares).sum()) / 2

    return min(_draw_groups(free_rows, n_cut_groups, seed, purpose), key=lambda cut: distance(cut.cut_rows))


def _draw_groups(free_rows: UnassignedRows, n_cut_groups: int, seed: int, purpose: str) -> Iterator[RowSplit]:
    """Yield random cuts of whole groups; where most groups are single rows, they are stratified by class."""
    from sklearn.model_selection import GroupShuffleSplit, StratifiedShuffleSplit

    if free_rows.classes is None or not are_mostly_single(free_rows.units):
        draws = GroupShuffleSplit(N_GROUP_DRAWS, test_size=n_cut_groups, random_state=seed)
        yield from (RowSplit(*sides) for sides in draws.split(free_rows.ids, groups=free_rows.units))
        return
    first_rows = free_rows.take(_find_first_rows(free_rows))
    stratified_draws = StratifiedShuffleSplit(N_GROUP_DRAWS, test_size=n_cut_groups, random_state=seed)
    try:
        cuts = list(stratified_draws.split(first_rows.ids, first_rows.classes))
    except ValueError as error:
        raise _too_few_error(first_rows, n_cut_groups, purpose) from error
    yield from (_expand_to_units(free_rows, RowSplit(*sides)) for sides in cuts)
