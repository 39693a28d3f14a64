"""The page of an exploration.

Modules: reports.exploration.frame_tables, reports.exploration.recognition_section, reports.exploration.page_sections,
reports.exploration.thumbnails.
"""

from pathlib import Path

import pandas as pd

from featx.exploration.analyses import ANALYSES
from featx.exploration.explore import explore
from featx.reports.exploration.explore_page import PAGE, write_exploration
from featx.reports.exploration.frame_tables import MAX_ROWS, frame_table
from featx.reports.exploration.page_sections import SECTIONS
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.pictures import CHANGED, UNREADABLE


def test_each_analysis_has_a_section() -> None:
    assert set(SECTIONS) == set(ANALYSES)


def test_the_page_states_what_was_found(toy_home: Path) -> None:
    result = write_exploration(explore(), toy_home / "out")
    text = Path(result.page).read_text()
    assert Path(result.page).name == PAGE
    assert "48 images were found in images by the reader folder." in text


def test_a_changed_image_is_not_shown(toy_home: Path) -> None:
    images = explore().images
    thumbnails = Thumbnails(images)
    Path("images/dark/000.png").unlink()
    Path("images/dark/001.png").write_bytes(b"changed")
    pictures = thumbnails.pictures(["dark/000.png", "dark/001.png", "dark/002.png"])
    assert [picture.note for picture in pictures] == [UNREADABLE, CHANGED, ""]
    assert [bool(picture.uri) for picture in pictures] == [False, False, True]


def test_a_table_shows_its_first_rows_and_names_the_file_of_all() -> None:
    frame = pd.DataFrame({"id": [f"{i}.png" for i in range(60)], "width_px": range(60), "share": [0.5] * 60})
    table = frame_table("sizes", "Sizes.", frame, {"width_px": "width (px)"})
    assert len(table.rows) == MAX_ROWS
    assert table.caption == "Sizes. The first 50 of 60 rows; sizes.csv has all."
    assert [column.name for column in table.columns] == ["id", "width (px)", "share"]
    assert [column.show(value) for column, value in zip(table.columns, table.rows[3], strict=True)] == [
        "3.png",
        "3",
        "0.5",
    ]
