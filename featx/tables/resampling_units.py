"""Rows that must stay on one side of every cut: those of one group, and copies of one image, joined into units."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

RowPairs = tuple[NDArray[np.intp], NDArray[np.intp]]  # (p,) and (p,) row numbers
NO_PAIRS: RowPairs = (np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp))


def joined(n_rows: int, keys: Sequence[Sequence[Any] | NDArray[Any]], pairs: RowPairs = NO_PAIRS) -> NDArray[np.int64]:
    """Return the unit of each row: rows that share a key, directly or through other rows, are one unit.

    Parameters
    ----------
    keys
        Columns of `n_rows` values each; rows with equal values in one column belong together. A missing value (None or
        nan) ties a row to nothing.
    pairs
        Row numbers that belong together, pair by pair.

    Returns
    -------
    numpy.ndarray
        (n,) codes 0 … u-1, numbered in the order in which units first appear.

    Examples
    --------
    >>> joined(5, [["a", "a", None, None, "b"], [1, 2, 2, 3, 4]]).tolist()
    [0, 0, 0, 1, 2]
    """
    rows, nodes, n_nodes = [pairs[0]], [pairs[1]], n_rows
    for column in keys:
        codes, values = pd.factorize(np.asarray(column, dtype=object), use_na_sentinel=True)
        present = np.flatnonzero(codes >= 0)
        rows.append(present)
        nodes.append(n_nodes + codes[present])
        n_nodes += len(values)
    edges = np.concatenate(rows), np.concatenate(nodes)
    graph = sparse.coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(n_nodes, n_nodes))
    _, components = connected_components(graph, directed=False)
    codes, _ = pd.factorize(components[:n_rows])
    return np.asarray(codes, dtype=np.int64)


def are_mostly_single(units: NDArray[Any]) -> bool:
    """Return whether more than half of the units are one row each: images with some copies, rather than groups."""
    sizes = np.bincount(pd.factorize(units)[0])
    return bool(2 * (sizes == 1).sum() > len(sizes))


def folds_of_units(strata: NDArray[np.int64], units: NDArray[Any] | None, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row: strata in their shares, units whole.

    Parameters
    ----------
    strata
        (n,) codes 0 … s-1.
    units
        (n,) names or codes; None where every row stands for itself.

    Returns
    -------
    numpy.ndarray
        (n,) codes 0 … n_folds-1.

    Notes
    -----
    scikit-learn's ``StratifiedKFold`` on one row of each unit where most units are single rows, and
    ``StratifiedGroupKFold`` where they are groups. Strata with fewer units than folds are dealt out one by one.
    """
    if units is not None and not are_mostly_single(units):
        return _folds_of_groups(strata, pd.factorize(units)[0], n_folds, seed)
    codes = np.arange(len(strata)) if units is None else pd.factorize(units)[0]
    _, first = np.unique(codes, return_index=True)
    return _folds_of_rows(strata[first], n_folds, seed)[codes]


def _folds_of_rows(strata: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedKFold

    if np.unique(strata, return_counts=True)[1].min() >= n_folds:
        cuts = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(strata[:, None], strata)
        return _numbered(cuts, len(strata))
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
    kind = GroupKFold if is_small else StratifiedGroupKFold
    cuts = kind(n_folds, shuffle=True, random_state=seed).split(strata[:, None], strata, groups)
    return _numbered(cuts, len(strata))


def _numbered(cuts: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]], n_rows: int) -> NDArray[np.int64]:
    fold = np.empty(n_rows, dtype=np.int64)
    for number, (_, held) in enumerate(cuts):
        fold[held] = number
    return fold
