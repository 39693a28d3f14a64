"""Pages in a real browser: no errors, no requests, no sideways scrolling; sorting and filters by mouse and keyboard."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from featx.reports.page.components import (
    Column,
    ConfusionMatrix,
    Details,
    Figure,
    Gallery,
    GalleryItem,
    Items,
    Picture,
    Section,
    Table,
    Text,
    ThresholdCounts,
)
from featx.reports.page.figure_style import add_legend, make_figure
from featx.reports.page.page import Page
from tests.browser import DESK_PX, PHONE_PX, launch_browser, needs_chromium, open_page

pytestmark = needs_chromium
HOSTILE_NAMES = ["<script>alert(1)</script>", "חתול", "🐈 cat", "n" * 300, "\x1b[2J\n", "[/red]"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as browser:
        yield browser


def make_picture(colour: str) -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "PNG")
    return Picture(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page with all components, whose names are as hostile as names from data can be."""
    colours = ["red", "green", "blue", "white", "black", "grey"]
    items = [
        GalleryItem(name, [make_picture(colour)], [f"true: {name}"], {"true class": name, "outcome": "right"[: 3 + i]})
        for i, (name, colour) in enumerate(zip(HOSTILE_NAMES, colours, strict=True))
    ]
    figure, (axes,) = make_figure()
    axes.plot([1, 2, 3], [3, 1, 2], label=HOSTILE_NAMES[0])
    axes.set_xlabel("epoch")
    add_legend(axes)
    columns = [
        Column("run"),
        Column("accuracy", ".3f", "share of right predictions"),
        Column("n", "d"),
        Column("p", ".2g"),
    ]
    rows = [["svm", 0.9, 10, None], ["logreg", None, 9, 0.03], ["rf", 0.95, 11, float("nan")]]
    sections = [
        Section(
            "Summary", [Text("The best run is svm.", "summary"), Text("One warning.", "warning"), Items(HOSTILE_NAMES)]
        ),
        Section(
            HOSTILE_NAMES[0],
            [
                Table("runs", "All runs on val", columns, rows, {(0, 1): ".88 … .92"}, frozenset({0})),
                Table("names", "Names", [Column("name"), Column("wide")], [[name, name] for name in HOSTILE_NAMES]),
                Figure("loss", "Loss by epoch.", "Loss by epoch", figure),
            ],
            [
                Section(
                    "Inside",
                    [
                        ConfusionMatrix(
                            "confusion", "Predictions on val.", HOSTILE_NAMES, [[5] * 6] * 6, {(0, 1): items}
                        ),
                        ThresholdCounts(
                            "t", "On val.", "b", [0.0, 0.5, 1.0], [(8, 8, 0, 0), (6, 2, 2, 6), (0, 0, 8, 8)], 1
                        ),
                        Details("More", [Gallery("closed", "Closed.", items)]),
                        Gallery("open", "Open.", [*items, GalleryItem("gone", [Picture(note="changed since")])]),
                    ],
                )
            ],
        ),
    ]
    path = tmp_path_factory.mktemp("pages") / "page.html"
    Page("A study", "6 images", sections).write(path)
    return path


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE_PX, DESK_PX])
def test_the_page_has_no_problems(browser: Browser, file: Path, width: int, is_dark: bool) -> None:
    with open_page(browser, file, width, is_dark) as opened_page:
        opened_page.page.evaluate("document.querySelectorAll('details').forEach((e) => e.open = true)")
        assert opened_page.problems() == []


def test_the_checks_find_problems(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<html lang="en"><title>t</title><main><h1>x</h1><img src="missing.png"><p style="width:2000px">wide</p>'
        "<script>alert(1); undefinedName;</script></main></html>"
    )
    with open_page(browser, bad) as opened_page:
        text = "\n".join(opened_page.problems())
    for expected in ("dialog: 1", "undefinedName", "missing.png", "px wide", "image-alt"):
        assert expected in text


@pytest.mark.parametrize("is_by_keyboard", [False, True], ids=["mouse", "keyboard"])
def test_tables_are_sorted(browser: Browser, file: Path, is_by_keyboard: bool) -> None:
    with open_page(browser, file) as opened_page:
        button = opened_page.page.locator("#runs thead button", has_text="accuracy")
        names = opened_page.page.locator("#runs tbody th")
        orders = []
        for _ in range(2):
            button.press("Enter") if is_by_keyboard else button.click()
            orders.append(names.all_text_contents())
        assert orders == [["rf", "svm", "logreg"], ["svm", "rf", "logreg"]], "missing values stay last"
        heading = opened_page.page.locator("#runs thead th").nth(1)
        assert heading.get_attribute("aria-sort") == "ascending"


def test_columns_are_chosen(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        opened_page.page.locator("#runs summary").click()
        cells = opened_page.page.locator("#runs td[data-column='1']")
        expect(cells.first).to_be_visible()
        opened_page.page.locator("#runs input[data-column='1']").press("Space")
        expect(cells.first).to_be_hidden()


def test_images_are_filtered(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        gallery = opened_page.page.locator("#open")
        gallery.get_by_label("true class").select_option(HOSTILE_NAMES[2])
        assert gallery.locator("li:visible").count() == 1
        assert gallery.locator("output").text_content() == "1 image"
        gallery.get_by_label("true class").select_option("")
        assert gallery.locator("li:visible").count() == 7


def test_a_cell_opens_its_images(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        images = opened_page.page.locator("#confusion-0-1 li")
        expect(images.first).to_be_hidden()
        opened_page.page.locator("#confusion a").first.press("Enter")
        expect(images.first).to_be_visible()


def test_scores_follow_the_threshold(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        output = opened_page.page.locator(".threshold output")
        assert "threshold 0.50: accuracy 0.750, precision 0.750, recall 0.750" in str(output.text_content())
        opened_page.page.locator(".threshold input").press("ArrowRight")
        assert "threshold 1.00: accuracy 0.500, precision –, recall 0.000" in str(output.text_content())


def test_the_page_is_readable_without_scripts(browser: Browser, file: Path) -> None:
    with open_page(browser, file, has_scripts=False) as opened_page:
        assert opened_page.page.locator("#runs tbody tr").count() == 3
        assert opened_page.page.locator("#open li:visible").count() == 7
        opened_page.page.locator("#confusion a").first.click()
        expect(opened_page.page.locator("#confusion-0-1")).to_be_visible()


def test_the_first_link_leads_to_the_content(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        opened_page.page.keyboard.press("Tab")
        assert opened_page.page.evaluate("document.activeElement.textContent") == "To the content"
