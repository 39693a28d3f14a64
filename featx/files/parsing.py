"""Files of others as values: JSON, TOML, Parquet and CSV, each read by one function here.

Parsers raise many kinds of errors for broken files: `RecursionError` for deep nesting, `ValueError` for a number of
5,000 digits, `KeyError`, `TypeError` or an Arrow error for damaged Parquet. These functions raise `ParseError` for all.
"""

import io
import json
import math
import tomllib
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd  # decoders start without it

MAX_NESTING = 100  # levels of lists and tables inside each other; what reads and writes values calls itself a level
# Values that a Parquet file may state: columns of equal values take next to nothing in it.
MAX_TABLE_VALUES = 500_000_000
T = TypeVar("T")


class ParseError(ValueError):
    """The content of a file is not what its format allows; the message is one line without the file's name."""


def parse_json(content: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raises
    ------
    ParseError
        it is no JSON, nests too deep, or holds a number that no float holds.
    """
    found = _parsed("JSON", lambda: json.loads(content, parse_float=_finite_float))
    _check_nesting("JSON", found)
    return found


def parse_toml(content: str) -> dict[str, Any]:
    """Return the table of a TOML document.

    Raises
    ------
    ParseError
        it is no TOML, nests too deep, or holds a number that cannot be read.
    """
    found: dict[str, Any] = _parsed("TOML", lambda: tomllib.loads(content, parse_float=_finite_float))
    _check_nesting("TOML", found)
    return found


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
    given = io.BytesIO(source) if isinstance(source, bytes) else source
    frame: pd.DataFrame = _parsed("a Parquet table", lambda: _read_parquet(given))
    if missing := [name for name in columns if name not in frame.columns]:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise ParseError(f"has no column {missing[0]!r}; columns: {found}")
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
    # Texts are decoded when they are used, and damaged ones would end whatever uses them.
    pa.Table.from_pandas(frame.select_dtypes("str"), preserve_index=False).validate(full=True)
    return frame


def parse_csv(content: bytes, **options: Any) -> "pd.DataFrame":
    """Return the table of a CSV document.

    Parameters
    ----------
    options
        Of `pandas.read_csv`.

    Raises
    ------
    ParseError
        it cannot be read, or a row is wider than the header.
    """
    import pandas as pd
    from pandas.errors import ParserWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", ParserWarning)  # rows wider than the header would be cut
        frame: pd.DataFrame = _parsed("a table of text", lambda: pd.read_csv(io.BytesIO(content), **options))
    return frame


def checked(value: Any, kind: type[T]) -> T:
    """Return `value` as `kind`: a pydantic model, a dataclass, or a type such as ``dict[str, int]``.

    Raises
    ------
    ParseError
        it is something else; names the first key that is wrong.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ParseError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def _parsed(what: str, parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except RecursionError as error:
        raise _nested_too_deep(what) from error
    except Exception as error:  # what pandas and pyarrow raise for damaged metadata has no common base
        lines = str(error).splitlines() or [type(error).__name__]
        raise ParseError(f"is not {what}: {lines[0]}") from error


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number) and "inf" not in text:
        raise ParseError(f"the number {text[:20]} is too large")
    return number


def _check_nesting(what: str, value: Any) -> None:
    level = [value]
    for _ in range(MAX_NESTING):
        level = [inside for one in level for inside in _items(one) if isinstance(inside, dict | list)]
        if not level:
            return
    raise _nested_too_deep(what)


def _nested_too_deep(what: str) -> ParseError:
    return ParseError(f"is {what} that nests too deep; expected at most {MAX_NESTING} levels")


def _items(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
