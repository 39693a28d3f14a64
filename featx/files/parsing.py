"""Parse files from outside featx: one function each for JSON, TOML and Parquet.

Parsers raise many kinds of errors for broken files: `RecursionError` for deep nesting, `ValueError` for a number of
5,000 digits, `KeyError`, `TypeError` or an Arrow error for damaged Parquet. These functions raise `ParseError` for all.
"""

import io
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    # Decoding processes start faster without pandas.
    import pandas as pd

# Levels of lists and tables inside each other. Code that reads or writes values is recursive.
MAX_NESTING = 100
# Characters of a wrong line that are quoted.
MAX_QUOTED = 80
# Number of values that a Parquet file may state: a small file can state billions of equal values.
MAX_TABLE_VALUES = 500_000_000
T = TypeVar("T")


class ParseError(ValueError):
    """The content of a file is not what its format allows; the message is one line without the file's name."""


def parse_json(content: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raises
    ------
    ParseError
        it is no JSON, nests too deep, repeats a key, or contains a number that is too large for a float.
    """
    repeated_keys: list[str] = []

    def make_mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated_keys.append(next(key for key, n in counts.items() if n > 1))
        return mapping

    value = parse_with("JSON", lambda: json.loads(content, parse_float=_finite_float, object_pairs_hook=make_mapping))
    _check_nesting("JSON", value)
    if repeated_keys:
        raise ParseError(f"repeats the key {repeated_keys[0][:MAX_QUOTED]!r} in one mapping; expected each key once")
    return value


def parse_toml(content: str) -> dict[str, Any]:
    """Return the table of a TOML document.

    Raises
    ------
    ParseError
        it is no TOML, nests too deep, or contains a number that cannot be read; the message quotes the line.
    """
    try:
        table: dict[str, Any] = parse_with("TOML", lambda: tomllib.loads(content, parse_float=_finite_float))
    except ParseError as error:
        raise ParseError(f"{error}{_quoted_line(content, str(error))}") from error
    _check_nesting("TOML", table)
    return table


def _quoted_line(content: str, message: str) -> str:
    """Return the line that a message of `tomllib` names, and advice about backslashes; empty if it names none."""
    place = re.search(r"\(at line (\d+), ", message)
    line = content.split("\n")[int(place[1]) - 1].strip() if place else ""
    advice = "; write paths with '/', or in single quotes" if "\\" in line else ""
    return f": {line[:MAX_QUOTED]!r}{advice}" if line else ""


def read_parquet(source: Path | bytes, columns: Collection[str] = ()) -> "pd.DataFrame":
    """Return the table of a Parquet file.

    Parameters
    ----------
    source
        A file or its content.
    columns
        Columns that the table must have.

    Raises
    ------
    ParseError
        it cannot be read, or a column is missing.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    frame: pd.DataFrame = parse_with("a Parquet table", lambda: _read_parquet(file))
    if missing_columns := [name for name in columns if name not in frame.columns]:
        names_text = ", ".join(map(str, frame.columns)) or "none"
        raise ParseError(f"has no column {missing_columns[0]!r}; columns: {names_text}")
    return frame


def _read_parquet(source: Path | io.BytesIO) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(source) as file:
        n_values = file.metadata.num_rows * file.metadata.num_columns
        if n_values > MAX_TABLE_VALUES:
            raise ParseError(f"it states {n_values} values, expected at most {MAX_TABLE_VALUES}")
    frame = pd.read_parquet(source)
    # Arrow decodes text only when it is used, so damaged text would raise an error far from here.
    pa.Table.from_pandas(frame.select_dtypes("str"), preserve_index=False).validate(full=True)
    return frame


def validate_as(value: Any, kind: type[T]) -> T:
    """Return `value` as `kind`: a pydantic model, a dataclass, or a type such as ``dict[str, int]``.

    Raises
    ------
    ParseError
        it has another type; the message names the first key that is wrong.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first_error = error.errors()[0]
        key = ".".join(map(str, first_error["loc"]))
        raise ParseError(f"{key}: {first_error['msg']}" if key else first_error["msg"]) from error


def parse_with(format_name: str, parse: Callable[[], Any]) -> Any:
    """Return what a parser returns.

    Raises
    ------
    ParseError
        the parser raised an error of any kind.
    """
    try:
        return parse()
    except RecursionError as error:
        raise _nesting_error(format_name) from error
    # The errors of pandas and pyarrow for damaged metadata have no common base class.
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ParseError(f"is not {format_name}: {lines[0]}") from error


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number) and "inf" not in text:
        raise ParseError(f"the number {text[:20]} is too large")
    return number


def _check_nesting(format_name: str, value: Any) -> None:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [item for container in level for item in _items(container) if isinstance(item, dict | list)]
        if not level:
            return
    raise _nesting_error(format_name)


def _nesting_error(format_name: str) -> ParseError:
    return ParseError(f"is {format_name} that nests too deep; expected at most {MAX_NESTING} levels")


def _items(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
