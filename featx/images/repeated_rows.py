"""Rows of a label table that name an image again: equal rows are left out, different rows are an error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError

MAX_COLUMNS_NAMED = 3


def find_first_rows(images: Sequence[str], ids: Sequence[str], labels: pd.DataFrame, table: str) -> NDArray[np.intp]:
    """Return the numbers of the rows that name an image for the first time.

    Parameters
    ----------
    images
        (n,) uri of the image of each row.
    ids
        (n,) path of each row as it is written, for errors.
    labels
        n rows of labels.
    table
        Name of the table, for errors.

    Raises
    ------
    DataError
        Rows of one image have different labels.

    Examples
    --------
    >>> find_first_rows(["/a", "/b", "/a"], ["a", "b", "a"], pd.DataFrame({"y": [1, 2, 1]}), "t.csv").tolist()
    [0, 1]
    """
    index: pd.Index[str] = pd.Index(np.asarray(images, dtype=object))
    is_repeat = index.duplicated()
    if is_repeat.any():
        _check_repeats_are_equal(index, ids, labels, table)
    return np.flatnonzero(~is_repeat)


def _check_repeats_are_equal(index: "pd.Index[str]", ids: Sequence[str], labels: pd.DataFrame, table: str) -> None:
    rows = np.flatnonzero(index.duplicated(keep=False))
    # Texts can be compared and counted, lists cannot.
    texts = labels.iloc[rows].astype(object).where(labels.iloc[rows].notna(), "").map(str)
    images = index[rows]
    is_different = texts.groupby(images, sort=False).nunique() > 1
    different_images = is_different.index[is_different.any(axis=1)]
    if not len(different_images):
        return
    first_image = different_images[0]
    columns = [name for name in texts.columns if is_different.loc[first_image, name]]
    cells = texts[images == first_image]
    values = ", ".join(_describe_values(str(name), cells[name]) for name in columns[:MAX_COLUMNS_NAMED])
    raise DataError(
        f"{table}: {len(different_images)} images have several rows with different labels, first "
        f"{ids[int(rows[images == first_image][0])]!r} ({values}); expected one row for each image: remove rows, or "
        "write several labels into one cell with '|' between them"
    )


def _describe_values(name: str, cells: "pd.Series[Any]") -> str:
    return f"{name} {' and '.join(map(repr, cells.unique().tolist()[:2]))}"


def warn_of_repeats(n_rows: int, table: str) -> list[str]:
    """Return one warning if rows of a table were left out because another row is equal."""
    return [f"{n_rows} rows of {table} repeat another row and are left out"] if n_rows else []
