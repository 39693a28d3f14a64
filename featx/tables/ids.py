"""Ids of rows, and the kinds of targets."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import AlignmentError, DataError

Kind = Literal["classes", "labels", "numbers"]  # of a target


Ids = NDArray[np.object_] | Sequence[str]


def as_ids(ids: Ids) -> NDArray[np.object_]:
    """Return ids as (n,) array of str.

    Raises
    ------
    DataError
        an id stands twice.
    """
    array = np.asarray(ids, dtype=object)
    index = pd.Index(array)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise DataError(f"{len(twice)} ids stand more than once, first {twice[0]!r}; expected each image once")
    return array


def positions(ids: Ids, wanted: Ids, what: str) -> NDArray[np.intp]:
    """Return where each id of `wanted` stands in `ids`.

    Raises
    ------
    AlignmentError
        some are not there; `what` names the table in the message.
    """
    found: NDArray[np.intp] = pd.Index(np.asarray(ids, dtype=object)).get_indexer(
        pd.Index(np.asarray(wanted, dtype=object))
    )
    if (lost := np.flatnonzero(found < 0)).size:
        first = np.asarray(wanted, dtype=object)[lost[0]]
        raise AlignmentError(f"{lost.size} of {len(wanted)} ids are not in the {what}, first {first!r}")
    return found
