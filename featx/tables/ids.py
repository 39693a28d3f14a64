"""Ids and rows of tables, and the kinds of targets."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import AlignmentError, DataError
from featx.specs.target import Kind as Kind

Ids = NDArray[np.object_] | Sequence[str]
Floats = NDArray[np.float64]
T = TypeVar("T")


def as_ids(ids: Ids) -> NDArray[np.object_]:
    """Return ids as an (n,) array of str.

    Raises
    ------
    DataError
        An id occurs more than once.
    """
    array = np.asarray(ids, dtype=object)
    index: pd.Index[str] = pd.Index(array, dtype=object)
    if not index.is_unique:
        repeated_ids = index[index.duplicated()].unique()
        raise DataError(
            f"{len(repeated_ids)} ids occur more than once, first {repeated_ids[0]!r}; expected each image once"
        )
    return array


def positions(ids: Ids, requested_ids: Ids, table: str) -> NDArray[np.intp]:
    """Return the (n,) positions of the requested ids in `ids`.

    Parameters
    ----------
    table
        Name of the table that `ids` are from, for messages.

    Raises
    ------
    AlignmentError
        A requested id is missing from `ids`.
    """
    requested_ids = np.asarray(requested_ids, dtype=object)
    rows: NDArray[np.intp] = pd.Index(np.asarray(ids, dtype=object)).get_indexer(pd.Index(requested_ids))
    if (missing_ids := requested_ids[rows < 0]).size:
        raise AlignmentError(
            f"{missing_ids.size} of {len(requested_ids)} ids are not in the {table}, first {missing_ids[0]!r}"
        )
    return rows


def take_rows(table: T, rows: NDArray[np.intp]) -> T:
    """Return a frozen dataclass with the rows at the positions `rows` of each of its arrays."""
    columns = {field.name: getattr(table, field.name) for field in fields(table)}  # type: ignore[arg-type]
    arrays = {name: column[rows] for name, column in columns.items() if isinstance(column, np.ndarray)}
    return replace(table, **arrays)  # type: ignore[type-var]


def sample_rows(n_rows: int, n_sampled: int) -> NDArray[np.intp]:
    """Return the positions of an even sample of rows, the first and the last included; all rows if there are few.

    Examples
    --------
    >>> sample_rows(9, 3).tolist(), sample_rows(2, 3).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, n_rows - 1, n_sampled, dtype=np.intp))
