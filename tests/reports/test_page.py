"""Pages: texts from data are escaped, pictures are stored once, and figures and tables are written as files.

Modules: reports.page.components, reports.page.figure_style, reports.page.page.
"""

import math
import re
from pathlib import Path

import pandas as pd
import pytest

from featx.reports.page.components import (
    Column,
    Component,
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
from featx.reports.page.figure_style import INK, add_legend, make_figure
from featx.reports.page.page import Page

HOSTILE = "<script>alert(1)</script>\x1b[2J"
RED = Picture("data:image/png;base64,cmVk")


def figure(name: str = "loss") -> Figure:
    matplotlib_figure, (axes,) = make_figure()
    axes.plot([1, 2], [3, 4], label="a $ b <i>")
    axes.set_xlabel("epoch")
    add_legend(axes)
    return Figure(name, "Loss by epoch", "A rising line", matplotlib_figure)


def render(*components: Component) -> str:
    return Page("A study", "2 images", [Section("Runs", components)]).render()


@pytest.mark.parametrize(
    "component",
    [
        Text(HOSTILE),
        Items([HOSTILE]),
        Details(HOSTILE, [Text("inside")]),
        Table(HOSTILE, HOSTILE, [Column(HOSTILE), Column("n", "d", HOSTILE)], [[HOSTILE, 1]], {(0, 1): HOSTILE}),
        Gallery(HOSTILE, HOSTILE, [GalleryItem(HOSTILE, [RED], [HOSTILE], {HOSTILE: name}) for name in (HOSTILE, "b")]),
        Gallery("missing", HOSTILE, [GalleryItem(HOSTILE, [Picture(note=HOSTILE)])]),
        ConfusionMatrix("m", HOSTILE, [HOSTILE, "b"], [[1, 2], [3, 4]], {(0, 1): [GalleryItem(HOSTILE, [RED])]}),
        ThresholdCounts(HOSTILE, HOSTILE, HOSTILE, [0.0, 1.0], [(1, 1, 0, 0), (0, 0, 1, 1)], 0),
        Figure(HOSTILE, HOSTILE, HOSTILE, figure().figure),
    ],
    ids=lambda component: type(component).__name__,
)
def test_texts_are_escaped(component: Component) -> None:
    page = render(component)
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "\x1b" not in page


def test_titles_are_escaped() -> None:
    page = Page(HOSTILE, HOSTILE, [Section(HOSTILE, [], [Section(HOSTILE)])]).render()
    assert "<script>alert" not in page
    anchors = re.findall(r'<section id="([^"]*)"', page)
    assert len(set(anchors)) == 2, "sections of one title inside each other have their own anchors"


def test_a_picture_is_stored_once() -> None:
    items = [GalleryItem("a", [RED]), GalleryItem("b", [RED, RED])]
    page = render(Gallery("one", "", items), Gallery("two", "", items))
    assert page.count(RED.uri) == 1
    assert page.count('aria-label="a"') == 2


def test_missing_values_are_dashes() -> None:
    column = Column("score", ".2f")
    assert [column.show(value) for value in (0.5, math.nan, None, "none")] == ["0.50", "–", "–", "none"]
    assert Column("name").show(0) == "0"


def test_ids_of_figures_differ() -> None:
    page = render(figure("one"), figure("two"))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert {link or url for link, url in references} <= set(ids)


def test_figures_have_the_colour_of_the_text() -> None:
    svg = render(figure()).split("<svg")[1]
    assert "currentColor" in svg
    assert INK not in svg
    assert "a $ b &lt;i&gt;" in svg


def test_cells_of_a_confusion_matrix_lead_to_their_images() -> None:
    matrix = ConfusionMatrix("m", "", ["a", "b"], [[3, 1], [0, 0]], {(0, 1): [GalleryItem("x.png", [RED])]})
    page = render(matrix)
    assert 'href="#m-0-1"' in page
    assert '<details class="cell" id="m-0-1">' in page
    assert matrix.share(0, 0) == 0.75
    assert matrix.share(1, 0) == 0, "a class without rows has no shares"


def test_a_matrix_of_many_classes_is_dense() -> None:
    counts = [[300.0 if true == predicted else 0.0 for predicted in range(20)] for true in range(20)]
    counts[3][5] = 1.0
    matrix = ConfusionMatrix("confusion", "Predictions on val.", [f"species {code}" for code in range(20)], counts)
    text = Page("Study", "", [Section("Matrix", [matrix])]).render()
    assert 'class="confusion dense"' in text
    assert 'title="species 3 predicted as species 5: &lt;1 %"' in text
    assert len(re.findall(r"<td [^>]*>\s*</td>", text)) == 20 * 19 - 1
    assert "<small>" not in text


def test_long_names_break_after_separators() -> None:
    table = Table("runs", "Runs.", [Column("run")], [["efficientnet_lite0/blocks.3,resize=squash"], ["svm/all"]])
    text = Page("Study", "", [Section("Runs", [table])]).render()
    assert ">efficientnet_<wbr>lite0/<wbr>blocks.3,<wbr>resize=<wbr>squash</th>" in text
    assert ">svm/all</th>" in text


def test_filters_with_one_value_are_left_out() -> None:
    items = [GalleryItem(name, [], (), {"part": "val", "true class": name}) for name in "ba"]
    assert Gallery("g", "", items).filters == {"true class": ["a", "b"]}


def test_figures_and_tables_are_written_as_files(tmp_path: Path) -> None:
    table = Table("all runs", "", [Column("run"), Column("score", ".2f")], [["=1+1", 0.12345], ["b", None]])
    paths = Page("", "", [Section("A", [table], [Section("B", [Details("more", [figure()])])])]).write_assets(tmp_path)
    assert {path.suffix for path in paths} == {".csv", ".png", ".svg"}
    frame = pd.read_csv(next(path for path in paths if path.suffix == ".csv"))
    assert frame["score"].tolist()[0] == 0.12345, "files have all digits"
    assert frame["run"].tolist() == ["'=1+1", "b"], "spreadsheet programs find no formula"
    assert next(path for path in paths if path.suffix == ".png").read_bytes().startswith(b"\x89PNG")


def test_equal_pages_are_equal_files() -> None:
    assert render(figure()) == render(figure())


def test_pages_load_nothing() -> None:
    page = render(figure(), Gallery("g", "", [GalleryItem("a", [RED])]))
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^">)]+)', page)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
