"""Label tables that name images several times: equal rows are left out and counted, different rows are an error.

Modules: images.repeated_rows.
"""

from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.init import init
from tests.images.test_public_layouts import draw, recognised, write

N = 12
ROWS = [(f"{i}.png", "ab"[i % 2], 3 * i) for i in range(N)]
HEADER = ("file", "y", "n")
# Rows that repeat an image, in other spellings of its path too.
EQUAL = {
    "one row": ROWS[:1],
    "all rows": ROWS,
    "another spelling": [(f"./{name}", y, n) for name, y, n in ROWS[:3]],
    "three times": ROWS[:4] * 2,
}


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_rows_are_left_out_and_counted(kind: str, home: Path) -> None:
    draw(home / "d", *(name for name, _, _ in ROWS))
    write(home / "d", "labels.csv", [HEADER, *ROWS, *EQUAL[kind]])
    recognition, _, listing = recognised(home / "d", target="y")
    assert (recognition.n_found, recognition.classes) == (N, {"a": 6, "b": 6})
    assert listing.warnings == (f"{len(EQUAL[kind])} rows of labels.csv repeat another row and are left out",)
    assert listing.warnings[0] in recognition.warnings
    assert "names 12 of 12 images" in recognition.choice[0]


def test_missing_cells_are_equal(home: Path) -> None:
    draw(home / "d", *(name for name, _, _ in ROWS))
    write(home / "d", "labels.csv", [HEADER, *ROWS[1:], ("0.png", "a", ""), ("0.png", "a", "")])
    assert recognised(home / "d", target="y")[0].n_found == N


DIFFERENT = {
    "another label": ([("0.png", "b", 0)], r"first '0\.png' \(y 'a' and 'b'\)"),
    "a missing label": ([("4.png", "", 12)], r"first '4\.png' \(y 'a' and ''\)"),
    "another spelling": ([("./2.png", "b", 6)], r"first '2\.png' \(y 'a' and 'b'\)"),
    "several objects": ([(name, "b", n + 1) for name, _, n in ROWS] * 3, r"\(y 'a' and 'b', n '0' and '1'\)"),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_different_rows_are_an_error_with_count_example_and_next_step(kind: str, home: Path) -> None:
    rows, example = DIFFERENT[kind]
    draw(home / "d", *(name for name, _, _ in ROWS))
    write(home / "d", "labels.csv", [HEADER, *ROWS, *rows])
    n = len({name.removeprefix("./") for name, _, _ in rows})
    expected = (
        rf"labels\.csv: {n} images have several rows with different labels, .*{example}; expected one row .*remove"
    )
    with pytest.raises(DataError, match=expected):
        init(home / "d", target="y")


def test_an_image_in_train_and_in_test_is_an_error(home: Path) -> None:
    draw(home / "d", *(name for name, _, _ in ROWS))
    write(home / "d", "train.csv", [HEADER, *ROWS[:8]])
    write(home / "d", "test.csv", [HEADER, *ROWS[7:]])
    with pytest.raises(DataError, match=r"1 images .* first '7\.png' \(split 'test' and 'train'\)"):
        init(home / "d", target="y")


def test_a_joined_table_may_repeat_rows(home: Path) -> None:
    draw(home / "d", *(name for name, _, _ in ROWS))
    write(home / "d", "labels.csv", [HEADER, *ROWS])
    parts = [(name, "train" if n < 24 else "test") for name, _, n in ROWS]
    write(home / "d", "parts.csv", [("file", "split"), *parts, *parts[:2]])
    assert recognised(home / "d", target="y")[0].parts == {"train": 8, "test": 4}


def test_different_rows_of_a_roboflow_export_are_an_error(home: Path) -> None:
    draw(home / "d", *(f"train/{name}" for name, _, _ in ROWS))
    rows = [(name, int(y == "a"), int(y == "b")) for name, y, _ in ROWS]
    write(home / "d", "train/_classes.csv", [("filename", "a", "b"), *rows, ("0.png", 0, 1)])
    with pytest.raises(DataError, match=r"has several rows with different classes for '0\.png'"):
        init(home / "d")
