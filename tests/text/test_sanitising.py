"""Text that is shown: one line without secrets, on pages, in figures and in tables."""

import pandas as pd
import pytest

from featx.cli.table_layout import TableCells
from featx.cli.text import as_text
from featx.files.spreadsheets import text_cells
from featx.reports.model_card import markdown
from featx.reports.page.components import Column, Details, Gallery, GalleryItem, Items, Picture, Section, Table, Text
from featx.reports.page.figure_style import shorten_name
from featx.reports.page.map_encoding import encode_map
from featx.reports.page.page import Page
from featx.text.sanitising import sanitise_text

URL = "https://me:pa55word@host/a_folder_with_a_name/a.png?token=pa55word"
TEXT = f"found {URL}\x1b[2J"


def test_text_is_one_line_without_secrets() -> None:
    assert sanitise_text(f"{URL}\n") == "https://***@host/a_folder_with_a_name/a.png?***"
    assert sanitise_text("Größe of\tme@host") == r"Größe of\tme@host"


def test_a_page_shows_no_secret_in_any_component() -> None:
    table = Table("files", TEXT, [Column(TEXT, description=TEXT)], [[TEXT], [URL]], {(0, 0): TEXT}, frozenset())
    gallery = Gallery("images", TEXT, [GalleryItem(URL, [Picture(note=TEXT)], [TEXT], {"path": URL})])
    components = [Text(TEXT), Text(TEXT, "code"), Items([TEXT]), table, gallery, Details(TEXT, [Text(TEXT)])]
    page = Page(TEXT, TEXT, [Section("Files", components)]).render()
    assert "https://***@host" in page
    assert "pa55word" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize(
    "shown",
    [
        str(as_text(TEXT)),
        TableCells.of([TEXT], [[TEXT]]),
        text_cells(pd.DataFrame({TEXT: [TEXT]})).to_csv(),
        markdown(TEXT),
        shorten_name(TEXT, 200),
        encode_map([TEXT], [(0.0, 0.0)], {TEXT: [TEXT]}),
    ],
)
def test_other_places_show_no_secret(shown: object) -> None:
    assert "host" in str(shown)
    assert "pa55word" not in str(shown)
    assert "\x1b" not in str(shown)
