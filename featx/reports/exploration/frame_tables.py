"""Tables of pages from pandas frames."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from featx.reports.page.components import Column, Table

# Number of rows that a page shows; the files have all rows.
MAX_ROWS = 50
INTEGER_FORMAT = ",d"
NUMBER_FORMAT = ".3g"


def frame_table(
    name: str,
    caption: str,
    frame: pd.DataFrame,
    headings: Mapping[str, str] | None = None,
    formats: Mapping[str, str] | None = None,
) -> Table:
    """Return the first rows of a frame as a table of a page.

    Parameters
    ----------
    name
        Name of the table on the page: that of the file with all rows, and, after a space, which of them are shown.
    caption
        Caption of the table.
    frame
        The frame.
    headings
        Column → heading with its unit; by default the name of the column with spaces.
    formats
        Column → format of its numbers; by default ``,d`` for whole numbers and ``.3g`` for others.
    """
    headings, formats = headings or {}, formats or {}
    columns = [
        Column(headings.get(str(column), str(column).replace("_", " ")), formats.get(str(column), _format(values)))
        for column, values in frame.items()
    ]
    if len(frame) > MAX_ROWS:
        caption = f"{caption} The first {MAX_ROWS} of {len(frame)} rows; {name.partition(' ')[0]}.csv has all."
    rows = [[_plain(value) for value in row] for row in frame.head(MAX_ROWS).itertuples(index=False, name=None)]
    return Table(name, caption, columns, rows)


def _format(values: "pd.Series[Any]") -> str:
    if values.dtype.kind in "iu":
        return INTEGER_FORMAT
    return NUMBER_FORMAT if values.dtype.kind == "f" else ""


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None or value is pd.NA else value
