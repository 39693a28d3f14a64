"""One type for each column of a table of text: numbers, truth values or text."""

import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
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
# A column of numbers with gaps is of floats, which hold whole numbers below this limit exactly.
MAX_EXACT_WHOLE_FLOAT = 2**53
# Numbers with leading zeros are codes: 007 is text.
DECIMAL_COMMA = r"^[+-]?(0|[1-9]\d*),\d+$"
# A comma in front of three digits may separate thousands.
THOUSANDS = r"^[+-]?[1-9]\d{0,2},\d{3}$"
INTEGER = r"^[+-]?(0|[1-9]\d*)$"
NUMBER = r"^[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^[+-]?[Ii]nf(inity)?$"


def is_missing_word(text: str) -> bool:
    """Whether a text stands for a missing value in a column of numbers, in any case; an empty text is no word.

    Examples
    --------
    >>> is_missing_word("Null"), is_missing_word("cat")
    (True, False)
    """
    return text.lower() in MISSING_WORDS


def convert_columns(table: pa.Table, decimal: str | None = ".", text_columns: Collection[str] = ()) -> pd.DataFrame:
    """Return a table of text with one type for each column, and spaces around its cells removed.

    A column is of whole numbers, numbers or truth values if all its cells are, apart from missing ones; otherwise all
    its cells are text as written, leading zeros included. It is text too where numbers would not be exact: whole
    numbers that do not fit into 64 bits, and codes such as ``1.1`` and ``1.10`` that are one number.

    Parameters
    ----------
    table
        Table whose columns are of text.
    decimal
        Character before the decimals of a number: a point or a comma. None decides by all rows of each column: commas
        are decimal commas if no column has decimal points, and if they cannot separate thousands.
    text_columns
        Names of columns that stay text.
    """
    cells = [compute.utf8_trim_whitespace(column) for column in table.columns]
    if decimal is None and any(_has_decimal_points(column) for column in cells):
        decimal = "."
    columns = {
        number: _to_texts(column) if name in text_columns else _convert_column(column, decimal)
        for number, (name, column) in enumerate(zip(table.column_names, cells, strict=True))
    }
    frame = pd.DataFrame(columns, index=range(table.num_rows))
    frame.columns = pd.Index(table.column_names)
    return frame


def _convert_column(texts: pa.ChunkedArray, decimal: str | None) -> "pd.Series[Any]":
    values = _drop_missing(texts, MISSING_NUMBERS)
    if values.null_count < len(values):
        if decimal == "," or (decimal is None and _has_decimal_commas(values)):
            values = compute.replace_substring(values, ",", ".")
        if _all_match(values, NUMBER):
            numbers = _to_exact_numbers(values)
            return pd.Series(values.to_pandas()).astype("str") if numbers is None else pd.Series(numbers.to_pandas())
        if not values.null_count and compute.all(_is_in(values, TRUTH_VALUES)).as_py():
            return pd.Series(compute.equal(compute.utf8_lower(values), "true").to_pandas())
    return _to_texts(texts)


def _to_texts(texts: pa.ChunkedArray) -> "pd.Series[Any]":
    return pd.Series(_drop_missing(texts, MISSING_TEXTS).to_pandas()).astype("str")


def _drop_missing(texts: pa.ChunkedArray, missing_texts: tuple[str, ...]) -> pa.ChunkedArray:
    return compute.if_else(_is_in(texts, missing_texts), pa.scalar(None, pa.string()), texts)


def _has_decimal_points(texts: pa.ChunkedArray) -> bool:
    """Whether a column is of numbers, some of which have decimal points."""
    values = _drop_missing(texts, MISSING_NUMBERS)
    return _all_match(values, NUMBER) and bool(compute.any(compute.match_substring(values, ".")).as_py())


def _has_decimal_commas(values: pa.ChunkedArray) -> bool:
    """Whether the commas of a column of numbers are decimal commas without doubt."""
    has_comma = compute.match_substring(values, ",")
    fractions = values.filter(compute.fill_null(has_comma, False))
    if not len(fractions) or not _all_match(values, f"{DECIMAL_COMMA}|{INTEGER}") or _all_match(fractions, THOUSANDS):
        return False
    return _to_exact_numbers(compute.replace_substring(values, ",", ".")) is not None


def _to_exact_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the numbers of texts; None if a whole number would not be exact, or if two texts are one number."""
    unsigned_texts = compute.utf8_ltrim(texts, "+")
    if _all_match(texts, INTEGER):
        try:
            numbers = unsigned_texts.cast(pa.int64())
        except pa.ArrowInvalid:
            return None
        limits = compute.min_max(numbers).as_py()
        if texts.null_count and max(map(abs, limits.values())) >= MAX_EXACT_WHOLE_FLOAT:
            return None
    else:
        numbers = unsigned_texts.cast(pa.float64())
    is_exact = compute.count_distinct(texts).as_py() == compute.count_distinct(numbers).as_py()
    return numbers if is_exact else None


def find_numbers_in_texts(column: "pd.Series[Any]") -> "pd.Series[Any] | None":
    """Return the numbers of a column of text whose cells are fractions in several notations; None for other columns.

    Whole numbers that are text are codes, such as ``007`` or a number of 20 digits.

    Examples
    --------
    >>> find_numbers_in_texts(pd.Series(["1", "1.0", "2.50"])).tolist()
    [1.0, 1.0, 2.5]
    >>> find_numbers_in_texts(pd.Series(["007", "1.5"])) is None
    True
    """
    if column.dtype.kind != "O":
        return None
    texts = column.dropna().unique().tolist()
    if not texts or not all(isinstance(text, str) and re.search(NUMBER, text) for text in texts):
        return None
    return None if all(re.search(INTEGER, text) for text in texts) else pd.to_numeric(column)


def restore_whole_numbers(column: "pd.Series[Any]", values: Sequence[Any]) -> "pd.Series[Any]":
    """Return a column of floats as text if its values were whole numbers that a float does not hold exactly.

    Parameters
    ----------
    column
        n values, as pandas stores them.
    values
        n values as they were read: Python's numbers, with None or NaN where one is missing.
    """
    if column.dtype.kind != "f" or not column.abs().max() >= MAX_EXACT_WHOLE_FLOAT:
        return column
    is_present = column.notna()
    whole_numbers = [value for value, has_value in zip(values, is_present, strict=True) if has_value]
    if not all(isinstance(value, int | np.integer) or _is_whole_decimal(value) for value in whole_numbers):
        return column
    texts = pd.Series([str(int(value)) for value in whole_numbers], index=column.index[is_present], dtype="str")
    return texts.reindex(column.index)


def _is_whole_decimal(value: object) -> bool:
    return isinstance(value, Decimal) and value == value.to_integral_value()


def _is_in(texts: pa.ChunkedArray, values: tuple[str, ...]) -> pa.ChunkedArray:
    return compute.fill_null(compute.is_in(texts, pa.array(values)), True)


def _all_match(texts: pa.ChunkedArray, pattern: str) -> bool:
    # The first rows suffice to recognise most columns of words.
    return all(
        bool(compute.all(compute.match_substring_regex(rows, pattern)).as_py())
        for rows in (texts.slice(0, N_FIRST_ROWS), texts)
    )


def category_text(value: object) -> str:
    """Return a value as a class name; whole floats that a double holds exactly are written without decimal point.

    Examples
    --------
    >>> category_text(-1.0), category_text("cat"), category_text(0.5)
    ('-1', 'cat', '0.5')
    """
    if isinstance(value, float | np.floating) and value.is_integer() and abs(float(value)) < MAX_EXACT_WHOLE_FLOAT:
        return str(int(value))
    return str(value)
