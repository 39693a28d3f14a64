"""CSV files for spreadsheet programs contain no formulas."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.files.spreadsheets import text_cell, write_csv
from featx.text.escaping import escape_text

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "＝1+1", "-", "-1\t"]
FORMULA_STARTS = tuple("=+-@＝＋－＠")


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_begins_like_a_formula_is_written_as_text(text: str, tmp_path: Path) -> None:
    for kind in (object, "str", "category"):
        column = pd.Series([text, "cat"], dtype=kind)
        write_csv(tmp_path / "t.csv", pd.DataFrame({text: column, "n": [-1.5, 2.0]}))
        frame = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
        assert frame.columns.tolist() == [f"'{escape_text(text)}", "n"]
        assert frame.iloc[:, 0].tolist() == [f"'{escape_text(text)}", "cat"]
        assert frame["n"].tolist() == [-1.5, 2.0]


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1", "a\r=1", "a\n=1", "a\r\n\t=1"])
def test_control_characters_make_no_new_cell_or_row(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", pd.DataFrame({"a": [text, "cat"]}))
    assert (tmp_path / "t.csv").read_bytes().decode() == f"a\n{escape_text(text)}\ncat\n"


def test_numbers_stay_numbers_also_in_mixed_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": [-1, "-2.5", None, "=x"], "b": [-1e-3, 2, 3, float("nan")], "c": [True, False, True, False]}
    )
    write_csv(tmp_path / "t.csv", frame)
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n-1,-0.001,True\n-2.5,2.0,False\n,3.0,True\n'=x,,False\n"


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(st.builds(str.__add__, st.sampled_from(["", *FORMULA_STARTS]), st.text() | st.floats().map(str)))
def test_no_text_cell_begins_like_a_formula_unless_it_is_a_number(text: str) -> None:
    cell = text_cell(text)
    assert is_number(cell) or not cell.startswith(FORMULA_STARTS)
    assert cell.endswith(escape_text(text))
