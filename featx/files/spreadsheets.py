"""CSV files that spreadsheets open: text in them is never a formula."""

from pathlib import Path
from typing import Any

import pandas as pd

from featx.files.atomic import whole_file
from featx.text.escaping import escaped

# A spreadsheet calculates a cell that begins so, or with the full-width form of one of these.
FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write_csv(file: Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV, whole; ``'`` stands before text that a spreadsheet would take for a formula.

    Control characters are written as escapes, since a carriage return would begin a new row. Numbers stay as they are,
    also those that are written as text.

    Raises
    ------
    OSError
        the file cannot be written.
    """
    safe = frame.rename(columns=text_cell)
    texts = safe.select_dtypes(["object", "string", "category"]).columns
    safe[texts] = safe[texts].astype(object).map(text_cell)
    with whole_file(file) as private:
        safe.to_csv(private, index=False)


def text_cell(value: Any) -> Any:
    """Return a cell's value: text on one line, behind a ``'`` where it begins like a formula.

    Examples
    --------
    >>> text_cell("=1+1"), text_cell("-0.5"), text_cell(-0.5), text_cell("cat")
    ("'=1+1", '-0.5', -0.5, 'cat')
    """
    if not isinstance(value, str):
        return value
    text = escaped(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
