"""Write CSV files in which spreadsheet programs find no formulas."""

from pathlib import Path
from typing import Any

import pandas as pd

from featx.files.atomic import atomic_file
from featx.text.sanitising import sanitise_value

# A spreadsheet program evaluates a cell that begins with one of these characters or its full-width form.
FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write_csv(file: Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV, atomically, its text changed by `text_cells`.

    Raises
    ------
    OSError
        the file cannot be written.
    """
    with atomic_file(file) as private_file:
        text_cells(frame).to_csv(private_file, index=False)


def text_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with ``'`` before text that a spreadsheet program would evaluate.

    Control characters are written as escapes, since a carriage return would begin a new row, and secrets in URLs are
    masked. Numbers stay unchanged, also those that are stored as text.
    """
    safe_frame = frame.rename(columns=text_cell)
    texts = safe_frame.select_dtypes(["object", "string", "category"]).columns
    safe_frame[texts] = safe_frame[texts].astype(object).map(text_cell)
    return safe_frame


def text_cell(value: Any) -> Any:
    """Return a cell's value, text as one line and with a ``'`` before it where it begins like a formula.

    Examples
    --------
    >>> text_cell("=1+1"), text_cell("-0.5"), text_cell(-0.5), text_cell("cat")
    ("'=1+1", '-0.5', -0.5, 'cat')
    """
    if not isinstance(value, str):
        return value
    text = sanitise_value(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
