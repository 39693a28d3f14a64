"""One sheet of an Excel file is read; the others that name images are warned of.

Modules: images.label_tables.
"""

from pathlib import Path

import pytest

from featx.errors import ReadError
from featx.images.init import init
from tests.images.test_public_layouts import draw, recognised

openpyxl = pytest.importorskip("openpyxl")
HEADER = ("file", "y")
ROWS = [(f"{i}.png", ("cat", "dog")[i % 2]) for i in range(24)]


def write_book(path: Path, sheets: dict[str, list[tuple[str, ...]]]) -> None:
    """Write an Excel file with rows by sheet."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)


def test_another_sheet_with_images_is_warned_of(home: Path) -> None:
    draw(home / "d", *(name for name, _ in ROWS))
    write_book(home / "d" / "labels.xlsx", {"hospital A": [HEADER, *ROWS[:12]], "hospital B": [HEADER, *ROWS[12:]]})
    recognition = recognised(home / "d")[0]
    assert recognition.n_found == 12
    assert recognition.warnings[-1] == (
        "sheet 'hospital B' of labels.xlsx names 12 images too and is not read; put all rows into one sheet, or name "
        "the sheet to read in data.labels.sheet"
    )
    assert recognition.ignored["is not named in sheet 'hospital A' of labels.xlsx"] == 12
    assert [table.other_sheets for table in recognition.inventory.tables] == [{"hospital B": 12}]


def test_a_sheet_with_labels_is_preferred_to_a_list_of_images(home: Path) -> None:
    draw(home / "d", *(name for name, _ in ROWS))
    write_book(home / "d" / "t.xlsx", {"files": [(row[0],) for row in [HEADER, *ROWS]], "labels": [HEADER, *ROWS]})
    recognition, recipe, _ = recognised(home / "d")
    assert recipe.data.labels is not None
    assert (recipe.data.labels.sheet, recognition.target) == ("labels", "y")
    assert recognition.inventory.tables[0].other_sheets == {"files": 24}


@pytest.mark.parametrize("names", [("labels", "Sheet2"), ("Sheet1", "labels")])
def test_an_empty_sheet_beside_another_one_is_left_out(names: tuple[str, str], home: Path) -> None:
    draw(home / "d", *(name for name, _ in ROWS))
    write_book(home / "d" / "labels.xlsx", {name: [HEADER, *ROWS] if name == "labels" else [] for name in names})
    recognition = recognised(home / "d")[0]
    assert (recognition.n_found, recognition.warnings) == (24, [])


def test_a_file_of_empty_sheets_is_refused(home: Path) -> None:
    draw(home / "d", *(name for name, _ in ROWS))
    write_book(home / "labels.xlsx", {"one": [], "two": []})
    with pytest.raises(ReadError, match=r"labels\.xlsx cannot be read as a table: it is empty"):
        init(home / "d", labels=home / "labels.xlsx", recipe=home / "r.toml")
