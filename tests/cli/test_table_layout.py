"""Tables in the terminal: columns by importance, texts broken between words, names from data as they are.

Modules: cli.table_layout, cli.text.
"""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from featx.cli.output_settings import OutputSettings, printing
from featx.cli.prediction_table import print_predictions
from featx.cli.table_layout import Column
from featx.cli.text import wrap_cells
from featx.predictors.prediction import Prediction

HOSTILE_NAMES = {
    "markup": "[/red][bold]cat[/]",
    "control": "a\x1b[2J\x07\tb\nc",
    "right to left": "\u202egnp\u202c חתול",
    "long": "n" * 300,
    "long with separators": "/".join(["folder"] * 40),
    "emoji": "👩‍👩‍👧 🐈‍⬛ 猫と犬",
    "script": "<script>alert(1)</script>",
}


def printed_table(capsys: pytest.CaptureFixture[str], columns: list[str | Column], rows: list[list[object]]) -> str:
    """Return a table as it is printed."""
    from featx.cli import console

    capsys.readouterr()
    console.table("title", columns, rows)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
@pytest.mark.parametrize("is_wide", [False, True])
def test_hostile_names_are_legible_in_every_column(
    name: str, is_wide: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    columns: list[str | Column] = ["image", Column(name), Column("prediction", 1, is_text=True), "p"]
    with printing(OutputSettings(wide=is_wide)):
        text = printed_table(capsys, columns, [[name, 0.5, name, 1.0], ["plain", 0.25, "cat", 2.0]])
    assert max(map(cell_len, text.splitlines())) <= 80
    assert all(char.isprintable() or char in "\n\u200d" for char in text)
    for value in ("0.2500", "2.0000", "cat", "plain"):
        assert value in text or not is_wide
    # A name that is broken is whole again without the breaks of lines.
    letters = re.sub(r"[\s]", "", text)
    escaped = name.encode("unicode_escape").decode() if name == HOSTILE_NAMES["control"] else name
    for word in re.findall(r"[a-zA-Z]{2,5}", escaped)[:3]:
        assert word in letters


def test_columns_are_chosen_by_rank(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "34")
    columns: list[str | Column] = ["run", Column("dear", 3), Column("score", 1), Column("seconds", 2)]
    rows: list[list[object]] = [["logreg/blocks.4", "x" * 9, 0.5, 12], ["svm", "y" * 9, 0.25, 3]]
    text = printed_table(capsys, columns, rows)
    assert text.splitlines()[1].split() == ["run", "score", "seconds"]
    assert "logreg/blocks.4" in text
    assert text.splitlines()[-1] == "  1 more column: --wide (dear)"
    with printing(OutputSettings(wide=True)):
        wide_text = printed_table(capsys, columns, rows)
    assert "xxxxxxxxx" in wide_text
    assert wide_text.count("logreg/blocks.4") == 2
    assert max(map(len, wide_text.splitlines())) <= 34


def test_columns_without_values_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed_table(capsys, ["run", "p", "n"], [["svm", None, 3], ["rf", float("nan"), 4]])
    assert text.splitlines()[1].split() == ["run", "n"]


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=60), st.integers(4, 30))
def test_wrapped_lines_fit_and_lose_no_character(text: str, width: int) -> None:
    lines = wrap_cells(text, width)
    assert all(cell_len(line) <= max(width, 2) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=12), st.integers(8, 30))
def test_words_that_fit_are_not_broken(words: list[str], width: int) -> None:
    lines = wrap_cells(" ".join(words), width)
    assert [word for line in lines for word in line.split()] == words
    assert max(map(len, lines)) <= width


def test_the_folder_of_all_images_is_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = "/data/studies/of/solar/cells/images/"
    images = [f"{folder}new/a.png", f"{folder}new/b.png", f"{folder}old/c.png"]
    prediction = Prediction(images, np.full((3, 2), 0.5), ("cat", "dog"), {}, [], target="kind", label="svm")
    print_predictions({"svm-kind-1": prediction}, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"kind of images in {folder}", "image      svm", "new/a.png  cat 0.50"]
    monkeypatch.setenv("COLUMNS", "300")
    print_predictions({"svm-kind-1": prediction}, None)
    assert f"{folder}old/c.png  cat 0.50" in capsys.readouterr().out
