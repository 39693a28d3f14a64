"""Tables in files of any common format: text, Parquet, Excel, JSON and JSON lines."""

import io
from collections.abc import Collection, Mapping
from decimal import Decimal
from itertools import zip_longest
from typing import Any

import pandas as pd
import pyarrow as pa

from featx.errors import MissingExtraError
from featx.files.column_types import MAX_EXACT_WHOLE_FLOAT, convert_columns, restore_whole_numbers
from featx.files.parsing import MAX_TABLE_VALUES, ParseError, parse_json, parse_with, read_parquet

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
TABLE_SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".xlsx", ".json", ".jsonl", ".ndjson")
# Number of unpacked bytes that an Excel file may state: a small file can state billions of equal cells.
MAX_EXCEL_BYTES = 1 << 30
# Rows that the format allows.
MAX_EXCEL_ROWS = 1 << 20
EXCEL_SIGNATURE = b"PK\x03\x04"


def read_binary_table(
    content: bytes, suffix: str, sheet: str | None = None, text_columns: Collection[str] = ()
) -> pd.DataFrame:
    """Return the table of a file that is not a text table; rows are numbered from 0, and an index is one more column.

    Parameters
    ----------
    content
        The bytes of the file.
    suffix
        The suffix of its name, one of `TABLE_SUFFIXES`.
    sheet
        Name of the sheet of an Excel file; by default the first one.
    text_columns
        Names of columns of an Excel file that stay text.

    Raises
    ------
    ParseError
        The file is not a table of its format.
    MissingExtraError
        The package that reads Excel files is not installed.
    """
    if suffix == ".parquet":
        return _read_parquet_labels(content)
    if suffix == ".xlsx":
        return _read_excel(content, sheet, text_columns)
    return _read_json(content) if suffix == ".json" else _read_json_lines(content)


def _read_parquet_labels(content: bytes) -> pd.DataFrame:
    stored_frame = _restore_parquet_numbers(read_parquet(content), content)
    frame: pd.DataFrame = parse_with("a Parquet table", lambda: index_to_columns(stored_frame))
    check_column_names(frame)
    for name in frame.select_dtypes(["object", "str"]).columns:
        values = frame[name].dropna()
        if len(values) and values.map(lambda value: isinstance(value, Decimal)).all():
            frame[name] = restore_whole_numbers(frame[name].astype("float64"), frame[name].tolist())
        elif len(values) and values.map(lambda value: isinstance(value, bytes)).all():
            frame[name] = frame[name].map(lambda value: value.decode(errors="backslashreplace"), na_action="ignore")
    return frame


def _restore_parquet_numbers(frame: pd.DataFrame, content: bytes) -> pd.DataFrame:
    """Return a table whose columns of whole numbers with gaps are exact; pandas reads them as floats."""
    from pyarrow.parquet import ParquetFile

    if names := _inexact_columns(frame):
        with ParquetFile(io.BytesIO(content)) as file:
            table = file.read(columns=names)
        for name in table.column_names:
            frame[name] = restore_whole_numbers(frame[name], table.column(name).to_pylist())
    return frame


def index_to_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose index is columns, except for numbers of rows and levels that repeat a column of their name.

    Examples
    --------
    >>> index_to_columns(pd.DataFrame({"age": [3, 4]}, index=pd.Index(["a", "b"], name="id"))).columns.tolist()
    ['id', 'age']
    """
    index = frame.index
    repeats = [
        level
        for level, name in enumerate(index.names)
        if name in frame.columns and index.get_level_values(level).equals(pd.Index(frame[name]))
    ]
    frame = frame.reset_index(level=repeats, drop=True)
    # pandas stores the numbers of rows as a range, reversed or with an offset for a part of a table.
    return frame.reset_index(drop=isinstance(frame.index, pd.RangeIndex), allow_duplicates=True)


def check_column_names(frame: pd.DataFrame) -> None:
    """Check that the columns of a table have different names.

    Raises
    ------
    ParseError
        Two have the same name.
    """
    if not frame.columns.is_unique:
        repeated_name = frame.columns[frame.columns.duplicated()][0]
        raise ParseError(f"has several columns called {repeated_name!r}; expected different names")


def list_sheets(content: bytes) -> list[str]:
    """Return the names of the sheets of an Excel file.

    Raises
    ------
    ParseError
        The file is not an Excel file.
    MissingExtraError
        The package that reads Excel files is not installed.
    """
    return list(_open_excel(content).sheetnames)


def _open_excel(content: bytes) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError('is an Excel file, which needs an extra: pip install "featx[excel]"') from error
    if not content.startswith(EXCEL_SIGNATURE):
        raise ParseError("is not an Excel file of the format .xlsx; save it as .xlsx or as CSV")
    _check_unpacked_size(content)
    return parse_with("an Excel file", lambda: openpyxl.load_workbook(io.BytesIO(content), True, data_only=True))


def _read_excel(content: bytes, sheet: str | None, text_columns: Collection[str]) -> pd.DataFrame:
    book = _open_excel(content)
    if sheet is not None and sheet not in book.sheetnames:
        raise ParseError(f"has no sheet {sheet!r}; sheets: {', '.join(book.sheetnames)}")
    rows = parse_with("an Excel file", lambda: _list_filled_rows(book[sheet or book.sheetnames[0]]))
    if not rows:
        raise ParseError("is empty")
    if (n_values := len(rows) * max(map(len, rows))) > MAX_TABLE_VALUES:
        raise ParseError(f"has {n_values} cells, expected at most {MAX_TABLE_VALUES}")
    columns = list(zip_longest(*rows))
    names = [f"column{n}" if column[0] is None else str(column[0]).strip() for n, column in enumerate(columns, 1)]
    arrays = [pa.chunked_array([[_format_cell(cell) for cell in column[1:]]], pa.string()) for column in columns]
    return convert_columns(pa.table(arrays, names=names), text_columns=text_columns)


def _list_filled_rows(sheet: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a sheet that are not empty, each up to its last cell that is not."""
    # Programs that write row by row state no size of the sheet, or a wrong one.
    sheet.reset_dimensions()
    rows = []
    for row in sheet.iter_rows(max_row=MAX_EXCEL_ROWS, values_only=True):
        filled_columns = [number for number, cell in enumerate(row, 1) if cell is not None]
        if filled_columns:
            rows.append(row[: filled_columns[-1]])
    return rows


def _check_unpacked_size(content: bytes) -> None:
    import zipfile

    archive = parse_with("an Excel file", lambda: zipfile.ZipFile(io.BytesIO(content)))
    if (n_bytes := sum(info.file_size for info in archive.infolist())) > MAX_EXCEL_BYTES:
        raise ParseError(f"states {n_bytes} bytes once unpacked, expected at most {MAX_EXCEL_BYTES}")


def _format_cell(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell)


def _read_json_lines(content: bytes) -> pd.DataFrame:
    rows = [parse_json(line) for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    return _make_frame(rows)


def _read_json(content: bytes) -> pd.DataFrame:
    """Return the table of a JSON document.

    It may be a list of rows; one list, or one mapping of row numbers, for each column; one row or one label for each
    path; or a mapping with one list of rows among its values.
    """
    value = parse_json(content)
    if isinstance(value, dict):
        items = list(value.values())
        lists_of_rows = [item for item in items if isinstance(item, list) and item and isinstance(item[0], dict)]
        if len(lists_of_rows) == 1:
            return _make_frame(lists_of_rows[0])
        if items and all(isinstance(item, list) for item in items) and len({len(item) for item in items}) == 1:
            return _make_frame_of_columns({str(name): dict(enumerate(item)) for name, item in value.items()})
        if items and all(isinstance(item, dict) for item in items):
            if all(str(key).isdigit() for item in items for key in item):
                # pandas writes one mapping of row numbers to cells for each column.
                return _make_frame_of_columns(value).reset_index(drop=True)
            return _make_frame([{"path": name, **item} for name, item in value.items()])
        if items and not any(isinstance(item, list | dict) for item in items):
            return _make_frame([{"path": name, "label": item} for name, item in value.items()])
    return _make_frame(value)


def _make_frame(rows: Any) -> pd.DataFrame:
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ParseError("is not a table: expected a list of rows, each a mapping of column names to values")
    frame: pd.DataFrame = parse_with("a table", lambda: pd.DataFrame(rows))
    for name in _inexact_columns(frame):
        frame[name] = restore_whole_numbers(frame[name], [row.get(name) for row in rows])
    return frame


def _make_frame_of_columns(cells: Mapping[str, Mapping[Any, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame({name: pd.Series(column) for name, column in cells.items()})
    for name in _inexact_columns(frame):
        frame[name] = restore_whole_numbers(frame[name], [cells[name].get(row) for row in frame.index])
    return frame


def _inexact_columns(frame: pd.DataFrame) -> list[str]:
    """Return the names of columns of floats that are too large to be exact whole numbers."""
    return [
        str(name)
        for name, column in frame.items()
        if column.dtype.kind == "f" and column.abs().max() >= MAX_EXACT_WHOLE_FLOAT
    ]
