"""Tables of text in the formats of spreadsheets, statistics programs and published data sets.

Modules: files.column_types, files.text_tables.
"""

import io

import numpy as np
import pandas as pd
import pytest

from featx.files.parsing import ParseError
from featx.files.text_tables import SEPARATORS, TextFormat, detect_format, parse_text_table


def parsed(content: bytes) -> pd.DataFrame:
    """Return the table of a text in the format that is detected."""
    return parse_text_table(content, detect_format(content))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encodings_and_separators_are_detected(encoding: str, separator: str) -> None:
    rows = [("file", "Größe"), ("a b.png", "Ödem"), ("c.png", "gesund")]
    content = "\r\n".join(separator.join(row) for row in rows).encode(encoding)
    frame = parsed(content)
    assert [tuple(frame.columns), *map(tuple, frame.to_numpy().tolist())] == rows
    assert SEPARATORS[detect_format(content).separator] == separator


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("sep=;\na;b\nx;1,5\n", ["a", "b"], ["x", 1.5]),
        ("# made by hand\n# twice\na,b\nx,1\n", ["a", "b"], ["x", 1]),
        ("\na,b\nx,1\n", ["a", "b"], ["x", 1]),
        (" \r\n\r\na,b\r\nx,1\r\n", ["a", "b"], ["x", 1]),
        (";;\na;b\nx;1\n", ["a", "b"], ["x", 1]),
        ("# made by hand\n\na,b\nx,1\n", ["a", "b"], ["x", 1]),
        ("\n# made by hand\n\n# twice\na;b\nx;1\n", ["a", "b"], ["x", 1]),
        ("\n2\n\nBald Male\n1.jpg -1  1\n2.jpg  1 -1\n", ["column1", "Bald", "Male"], ["1.jpg", -1, 1]),
        ("#a,b\nx,1\n", ["#a", "b"], ["x", 1]),
        ("2\nBald Male\n1.jpg -1  1\n2.jpg  1 -1\n", ["column1", "Bald", "Male"], ["1.jpg", -1, 1]),
        ('"a" "b c"\n"1" "x y" 3\n"2" "z" 4\n', ["column1", "a", "b c"], [1, "x y", 3]),
        ("'a','b'\n'it, is','z'\n'c','d'\n", ["a", "b"], ["it, is", "z"]),
        ("a,b,\nx,1,\ny,2,\n", ["a", "b"], ["x", 1]),
        ("a,b\nx,1,\ny,2,\n", ["a", "b"], ["x", 1]),
        ('a, b\nx, "q, w"\ny, "1"\n', ["a", "b"], ["x", "q, w"]),
        ('"a\nb",c\nx,1\n', ["a\nb", "c"], ["x", 1]),
        ("a,b\rx,1\ry,2\r", ["a", "b"], ["x", 1]),
        ("file,labels\nx.png,A;B\ny.png,C;D\n", ["file", "labels"], ["x.png", "A;B"]),
        ('a,b\n"5"" screen",1\n', ["a", "b"], ['5" screen', 1]),
    ],
)
def test_lines_above_quotes_and_row_names_are_understood(text: str, columns: list[str], first: list[object]) -> None:
    frame = parsed(text.encode())
    assert frame.columns.tolist() == columns
    assert frame.iloc[0].tolist() == first


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["001", "002", "unknown"], ["001", "002", "unknown"]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (["1", "2", "NA"], [1.0, 2.0, np.nan]),
        (["cat", "NA", "None"], ["cat", "NA", "None"]),
        (["cat", "", "nan"], ["cat", np.nan, np.nan]),
        (["1", "-2", "+3"], [1, -2, 3]),
        (["1e3", ".5", "2."], [1000.0, 0.5, 2.0]),
        (["True", "FALSE", "true"], [True, False, True]),
        (["True", "", "true"], ["True", np.nan, "true"]),
        (["9" * 30, "1", "2"], ["9" * 30, "1", "2"]),
        (["9" * 18, "1", "2"], [10**18 - 1, 1, 2]),
        (["9223372036854775807", "1"], [2**63 - 1, 1]),
        (["9223372036854775808", "NA"], ["9223372036854775808", np.nan]),
        (["12345678901234567", "12345678901234568", ""], ["12345678901234567", "12345678901234568", np.nan]),
        (["12345678901234567", "12345678901234568"], [12345678901234567, 12345678901234568]),
        (["1.1", "1.10", "1.2"], ["1.1", "1.10", "1.2"]),
        (["1", "1.0", "2.50", "?"], ["1", "1.0", "2.50", np.nan]),
        (["1.50", "2.50", "1.50"], [1.5, 2.5, 1.5]),
        (["0.0", "-0.0", "1.5"], [0.0, -0.0, 1.5]),
        ([" a ", "b", "c"], ["a", "b", "c"]),
        (["inf", "1", "2"], [np.inf, 1.0, 2.0]),
    ],
)
def test_a_column_has_one_type(values: list[str], expected: list[object]) -> None:
    content = "\n".join(["path,y", *(f"{i}.png,{value}" for i, value in enumerate(values))]).encode()
    column = parsed(content)["y"]
    pd.testing.assert_series_equal(column, pd.Series(expected, name="y", dtype=column.dtype))
    assert column.dtype.kind == pd.Series(expected).dtype.kind


def test_types_do_not_depend_on_the_first_rows() -> None:
    values = ["00" + str(i % 3) for i in range(5000)] + ["unknown"] * 20
    column = parsed("\n".join(["y,z", *(f"{value},1" for value in values)]).encode())["y"]
    assert sorted(column.unique()) == ["000", "001", "002", "unknown"]


def test_decimal_commas_are_read_where_the_separator_is_no_comma() -> None:
    content = b"file;age;who\na;1,5;x\nb;20;y\n"
    assert detect_format(content) == TextFormat("utf-8", "semicolon", decimal=None)
    assert parsed(content)["age"].tolist() == [1.5, 20.0]
    assert parse_text_table(content, TextFormat(separator="semicolon", decimal="."))["age"].tolist() == ["1,5", "20"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1"] * 60 + ["0,5", "1,5", "NA"], [1.0] * 60 + [0.5, 1.5, np.nan]),
        (["1,234", "12,500", "950"], ["1,234", "12,500", "950"]),
        (["1,1", "1,10", "2"], ["1,1", "1,10", "2"]),
        (["0,125", "1,500", "12,250"], [0.125, 1.5, 12.25]),
        (["1,5", "x", "NA"], ["1,5", "x", "NA"]),
        (["1,5", "2.5", "3"], ["1,5", "2.5", "3"]),
    ],
)
def test_decimal_commas_are_decided_by_all_rows_of_a_column(cells: list[str], expected: list[object]) -> None:
    column = parsed("\n".join(["file;y", *(f"{i}.png;{cell}" for i, cell in enumerate(cells))]).encode())["y"]
    pd.testing.assert_series_equal(column, pd.Series(expected, name="y", dtype=column.dtype))


def test_a_column_with_decimal_points_says_that_commas_are_none() -> None:
    rows = [f"{i};0.{i};1,{i}" for i in range(1, 9)]
    assert parsed("\n".join(["file;score;labels", *rows]).encode())["labels"].tolist() == [
        f"1,{i}" for i in range(1, 9)
    ]


def test_a_stated_decimal_comma_reads_thousandths_and_no_text() -> None:
    text_format = TextFormat(separator="semicolon", decimal=",")
    frame = parse_text_table(b"path;y;labels\na;1,234;1,10\nb;950;3\n", text_format, text_columns=["labels"])
    assert frame.to_dict("list") == {"path": ["a", "b"], "y": [1.234, 950.0], "labels": ["1,10", "3"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'path,y\n0.png,"a\n', "a quote .* is not closed"),
        (b"a,b\nx,1\ny,1,2\nz,3\n", "has 1 rows with another number of cells than the 2 columns, first row 2 with 3"),
    ],
)
def test_broken_tables_are_reported_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(ParseError, match=message) as error:
        parsed(content)
    assert "\n" not in str(error.value)


def test_lines_above_the_header_are_counted_as_in_an_editor() -> None:
    content = b"\n# made by hand\n\n# twice\n\na,b\nx,1\n"
    assert detect_format(content).skip_lines == 4
    for n_lines in (4, 5):
        frame = parse_text_table(content, TextFormat(skip_lines=n_lines))
        assert frame.to_dict("list") == {"a": ["x"], "b": [1]}


def test_a_stated_encoding_must_fit() -> None:
    with pytest.raises(ParseError, match="is not text in utf-8"):
        parse_text_table("Ödem,b\n".encode("cp1252"), TextFormat())


def test_large_tables_equal_those_of_pandas() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"file": [f"{i}.png" for i in range(20_000)], "age": rng.random(20_000), "n": range(20_000)})
    stream = io.StringIO()
    frame.to_csv(stream, index=False)
    pd.testing.assert_frame_equal(parsed(stream.getvalue().encode()), frame, check_dtype=False)
