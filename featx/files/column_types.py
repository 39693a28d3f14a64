"""One type for each column of a table of text: numbers, truth values or text."""

from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import compute

# Texts that are missing values in every column; pandas and Excel write them.
MISSING_TEXTS = ("", "nan", "NaN", "<NA>", "#N/A")
# Texts that are missing values in a column of numbers; in a column of text they are text.
MISSING_NUMBERS = (*MISSING_TEXTS, "NA", "N/A", "n/a", "None", "none", "null", "NULL", "-", "?")
MISSING_WORDS = frozenset(text.lower() for text in MISSING_NUMBERS if text)
TRUTH_VALUES = ("true", "false", "True", "False", "TRUE", "FALSE")
N_FIRST_ROWS = 1000
# Numbers with leading zeros are codes: 007 is text.
INTEGER = r"^[+-]?(0|[1-9]\d{0,17})$"
NUMBER = r"^[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^[+-]?[Ii]nf(inity)?$"


def is_missing_word(text: str) -> bool:
    """Whether a text stands for a missing value in a column of numbers, in any case; an empty text is no word.

    Examples
    --------
    >>> is_missing_word("Null"), is_missing_word("cat")
    (True, False)
    """
    return text.lower() in MISSING_WORDS


def convert_columns(table: pa.Table, decimal: str = ".") -> pd.DataFrame:
    """Return a table of text with one type for each column, and spaces around its cells removed.

    A column is of whole numbers, numbers or truth values if all its cells are, apart from missing ones; otherwise all
    its cells are text as written, leading zeros included.

    Parameters
    ----------
    table
        Table whose columns are of text.
    decimal
        Character before the decimals of a number: a point or a comma.
    """
    columns = {number: _convert_column(column, decimal) for number, column in enumerate(table.columns)}
    frame = pd.DataFrame(columns, index=range(table.num_rows))
    frame.columns = pd.Index(table.column_names)
    return frame


def _convert_column(column: pa.ChunkedArray, decimal: str) -> "pd.Series[Any]":
    texts = compute.utf8_trim_whitespace(column)
    values = compute.if_else(_is_in(texts, MISSING_NUMBERS), pa.scalar(None, pa.string()), texts)
    if values.null_count < len(values):
        if decimal == ",":
            values = compute.replace_substring(values, ",", ".")
        if _all_match(values, NUMBER):
            number_type = pa.int64() if _all_match(values, INTEGER) else pa.float64()
            return pd.Series(compute.utf8_ltrim(values, "+").cast(number_type).to_pandas())
        if not values.null_count and compute.all(_is_in(values, TRUTH_VALUES)).as_py():
            return pd.Series(compute.equal(compute.utf8_lower(values), "true").to_pandas())
    texts = compute.if_else(_is_in(texts, MISSING_TEXTS), pa.scalar(None, pa.string()), texts)
    return pd.Series(texts.to_pandas()).astype("str")


def _is_in(texts: pa.ChunkedArray, values: tuple[str, ...]) -> pa.ChunkedArray:
    return compute.fill_null(compute.is_in(texts, pa.array(values)), True)


def _all_match(texts: pa.ChunkedArray, pattern: str) -> bool:
    # The first rows suffice to recognise most columns of words.
    return all(
        bool(compute.all(compute.match_substring_regex(rows, pattern)).as_py())
        for rows in (texts.slice(0, N_FIRST_ROWS), texts)
    )
