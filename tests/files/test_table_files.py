"""Label tables in binary and structured formats."""

import io
import json
import zipfile
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featx.files.parsing import ParseError
from featx.files.table_files import read_binary_table

ROWS = [{"path": "a.png", "label": "cat", "age": 3}, {"path": "b.png", "label": "dog", "age": 4}]
FRAME = pd.DataFrame(ROWS)


@pytest.mark.parametrize(
    "document",
    [
        ROWS,
        {"data": ROWS, "version": 2},
        {"path": ["a.png", "b.png"], "label": ["cat", "dog"], "age": [3, 4]},
        {row["path"]: {"label": row["label"], "age": row["age"]} for row in ROWS},
    ],
)
def test_json_may_hold_rows_columns_or_a_mapping(document: object) -> None:
    frame = read_binary_table(json.dumps(document).encode(), ".json")
    pd.testing.assert_frame_equal(frame, FRAME, check_dtype=False)


def test_json_may_map_paths_to_labels() -> None:
    frame = read_binary_table(b'{"a.png": "cat", "b.png": "dog"}', ".json")
    assert frame.to_dict("list") == {"path": ["a.png", "b.png"], "label": ["cat", "dog"]}


@pytest.mark.parametrize("content", [b"[]", b"[1, 2]", b'{"a": {}, "b": [1]}', b'"text"', b"{"])
def test_other_json_is_no_table(content: bytes) -> None:
    with pytest.raises(ParseError, match="is not"):
        read_binary_table(content, ".json")


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_repeated_keys_of_json_are_named(suffix: str) -> None:
    content = b'{"a.png": "cat", "b.png": "cat", "a.png": "dog"}'
    with pytest.raises(ParseError, match=r"^repeats the key 'a\.png' in one mapping; expected each key once$"):
        read_binary_table(content, suffix)


def test_json_lines_are_rows() -> None:
    content = "\n".join(json.dumps(row) for row in ROWS).encode()
    pd.testing.assert_frame_equal(read_binary_table(content, ".jsonl"), FRAME, check_dtype=False)


def test_an_index_and_decimals_of_parquet_are_columns() -> None:
    stream = io.BytesIO()
    FRAME.assign(age=[Decimal("1.5"), Decimal("2.5")]).set_index("path").to_parquet(stream)
    frame = read_binary_table(stream.getvalue(), ".parquet")
    assert frame["path"].tolist() == ["a.png", "b.png"]
    assert frame["age"].tolist() == [1.5, 2.5]


LEVELS: dict[str, tuple[pd.DataFrame, list[str]]] = {
    "one": (FRAME.set_index("path"), ["path", "label", "age"]),
    "a copy": (FRAME.set_index("path", drop=False), ["path", "label", "age"]),
    "two, a copy": (FRAME.set_index(["path", "age"], drop=False).drop(columns="age"), ["age", "path", "label"]),
    "numbers of rows": (FRAME[1:], ["path", "label", "age"]),
}


@pytest.mark.parametrize("kind", LEVELS)
def test_levels_of_the_index_are_columns_unless_they_are_copies(kind: str) -> None:
    frame, names = LEVELS[kind]
    stream = io.BytesIO()
    frame.to_parquet(stream)
    read_frame = read_binary_table(stream.getvalue(), ".parquet")
    assert (read_frame.columns.tolist(), read_frame.index.tolist()) == (names, list(range(len(frame))))


def test_an_index_with_the_name_of_another_column_is_reported() -> None:
    stream = io.BytesIO()
    FRAME.set_index(pd.Index(["x", "y"], name="path")).to_parquet(stream)
    with pytest.raises(ParseError, match=r"^has several columns called 'path'; expected different names$"):
        read_binary_table(stream.getvalue(), ".parquet")


@pytest.mark.parametrize("rows", [slice(None, None, -1), slice(1, None), slice(None, None, 2)])
def test_rows_of_parquet_are_numbered_from_zero(rows: slice) -> None:
    stream = io.BytesIO()
    FRAME[rows].to_parquet(stream)
    pd.testing.assert_frame_equal(
        read_binary_table(stream.getvalue(), ".parquet"), FRAME[rows].reset_index(drop=True), check_dtype=False
    )


IDS = [12345678901234567, 12345678901234568, None]


@pytest.mark.parametrize(
    "document",
    [
        [{"id": number} for number in IDS],
        [{"id": IDS[0], "a": 1}, {"id": IDS[1], "a": 2}, {"a": 3}],
        {"id": IDS, "a": [1, 2, 3]},
        {"id": {"0": IDS[0], "1": IDS[1]}, "a": {"0": 1, "1": 2, "2": 3}},
    ],
)
def test_long_numbers_with_gaps_are_exact_in_json(document: object) -> None:
    frame = read_binary_table(json.dumps(document).encode(), ".json")
    assert frame["id"].fillna("").tolist() == [str(IDS[0]), str(IDS[1]), ""]


@pytest.mark.parametrize("kind", ["int64", "decimal"])
def test_long_numbers_with_gaps_are_exact_in_parquet(kind: str) -> None:
    stream = io.BytesIO()
    values = IDS if kind == "int64" else [None if number is None else Decimal(number) for number in IDS]
    pq.write_table(pa.table({"id": pa.array(values), "age": [1.5, 2.5, None]}), stream)
    frame = read_binary_table(stream.getvalue(), ".parquet")
    assert frame["id"].fillna("").tolist() == [str(IDS[0]), str(IDS[1]), ""]
    assert frame["age"].tolist()[:2] == [1.5, 2.5]


def test_excel_files_are_read_by_sheet() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["path", "label", "code"])
    for row in (("a.png", "cat", "007"), ("b.png", "dog", "008")):
        book.active.append(row)
    book.create_sheet("other").append(["x"])
    stream = io.BytesIO()
    book.save(stream)
    frame = read_binary_table(stream.getvalue(), ".xlsx")
    assert frame["code"].tolist() == ["007", "008"]
    with pytest.raises(ParseError, match="has no sheet 'gone'; sheets: Sheet, other"):
        read_binary_table(stream.getvalue(), ".xlsx", "gone")


EXCEL_ROWS = [["path", "label", "note"], ["a.png", "cat"], ["b.png", "dog", "z", "beyond"]]
SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    "dimension", [b"", b'<dimension ref="A1"/>', b'<dimension ref="A1:Z1000"/>', b'<dimension ref="C2:C2"/>']
)
def test_the_stated_size_of_an_excel_sheet_does_not_matter(dimension: bytes) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in EXCEL_ROWS:
        sheet.append(row)
    written, stream = io.BytesIO(), io.BytesIO()
    book.save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(b"<sheetData>", dimension + b"<sheetData>"))
        assert b"<sheetData>" in source.read(SHEET)
        assert b"<dimension" not in source.read(SHEET)
    frame = read_binary_table(stream.getvalue(), ".xlsx")
    assert frame.fillna("").to_dict("list") == {
        "path": ["a.png", "b.png"],
        "label": ["cat", "dog"],
        "note": ["", "z"],
        "column4": ["", "beyond"],
    }


def test_an_old_excel_file_is_reported() -> None:
    pytest.importorskip("openpyxl")
    with pytest.raises(ParseError, match=r"is not an Excel file of the format \.xlsx"):
        read_binary_table(b"\xd0\xcf\x11\xe0" * 100, ".xlsx")
