"""Resampling units: rows of one group and copies of one image, which every split keeps in one part."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

RowPairs = tuple[NDArray[np.intp], NDArray[np.intp]]  # (p,) first and (p,) second row numbers
NO_PAIRS: RowPairs = (np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp))


def join_units(
    n_rows: int, keys: Sequence[Sequence[Any] | NDArray[Any]], pairs: RowPairs = NO_PAIRS
) -> NDArray[np.int64]:
    """Return the (n,) unit codes of the rows; rows that share a key, directly or through other rows, form one unit.

    Parameters
    ----------
    n_rows
        Number of rows, n.
    keys
        Columns of n values each; rows with equal values in a column form one unit. Missing values (None or nan) join
        no rows.
    pairs
        Row numbers of pairs that form one unit.

    Returns
    -------
    numpy.ndarray
        (n,) codes 0 … u-1, numbered in the order in which units first appear.

    Examples
    --------
    >>> join_units(5, [["a", "a", None, None, "b"], [1, 2, 2, 3, 4]]).tolist()
    [0, 0, 0, 1, 2]
    """
    rows, nodes, n_nodes = [pairs[0]], [pairs[1]], n_rows
    for column in keys:
        codes, values = pd.factorize(np.asarray(column, dtype=object), use_na_sentinel=True)
        present_rows = np.flatnonzero(codes >= 0)
        rows.append(present_rows)
        nodes.append(n_nodes + codes[present_rows])
        n_nodes += len(values)
    edges = np.concatenate(rows), np.concatenate(nodes)
    graph = sparse.coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(n_nodes, n_nodes))
    _, components = connected_components(graph, directed=False)
    codes, _ = pd.factorize(components[:n_rows])
    return np.asarray(codes, dtype=np.int64)


def are_mostly_single(units: NDArray[Any]) -> bool:
    """Return whether more than half of the units are single rows, as for images with a few copies."""
    sizes = np.bincount(pd.factorize(units)[0])
    return bool(2 * (sizes == 1).sum() > len(sizes))


def assign_folds(strata: NDArray[np.int64], units: NDArray[Any] | None, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row; folds are stratified and keep units whole.

    Parameters
    ----------
    strata
        (n,) stratum codes 0 … s-1.
    units
        (n,) unit names or codes; None if each row is a unit.
    n_folds
        Number of folds, f.
    seed
        Seed of the random assignment.

    Returns
    -------
    numpy.ndarray
        (n,) fold numbers 0 … f-1.

    Notes
    -----
    If most units are single rows, scikit-learn's ``StratifiedKFold`` splits one row of each unit, otherwise
    ``StratifiedGroupKFold`` splits the groups. Strata with fewer units than folds are assigned to the folds in turn.
    """
    if units is not None and not are_mostly_single(units):
        return _folds_of_groups(strata, pd.factorize(units)[0], n_folds, seed)
    codes = np.arange(len(strata)) if units is None else pd.factorize(units)[0]
    _, first_rows = np.unique(codes, return_index=True)
    return _folds_of_rows(strata[first_rows], n_folds, seed)[codes]


def _folds_of_rows(strata: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedKFold

    if np.unique(strata, return_counts=True)[1].min() >= n_folds:
        splits = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(strata[:, None], strata)
        return _fold_numbers(splits, len(strata))
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(strata), dtype=np.int64)
    fold[order] = np.arange(len(order)) % n_folds
    return fold


def _folds_of_groups(
    strata: NDArray[np.int64], groups: NDArray[np.int64], n_folds: int, seed: int
) -> NDArray[np.int64]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    is_small = np.unique(strata, return_counts=True)[1].min() < n_folds
    splitter = GroupKFold if is_small else StratifiedGroupKFold
    splits = splitter(n_folds, shuffle=True, random_state=seed).split(strata[:, None], strata, groups)
    return _fold_numbers(splits, len(strata))


def _fold_numbers(splits: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]], n_rows: int) -> NDArray[np.int64]:
    """Return the (n,) fold numbers of scikit-learn's (train, test) row numbers."""
    fold = np.empty(n_rows, dtype=np.int64)
    for number, (_, test_rows) in enumerate(splits):
        fold[test_rows] = number
    return fold
