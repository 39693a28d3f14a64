"""Section of shortcuts."""

from featx.exploration.explore import Exploration
from featx.exploration.shortcuts import N_EXAMPLES, find_shortcuts
from featx.progress import no_progress
from featx.reports.exploration.shortcut_section import EXPLANATION, build_shortcut_section
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Gallery, Table, Text
from tests.exploration.explored import make_explored

IDS = [f"{number}.png" for number in range(100)]
LABELS = ["cat", "dog"] * 50


def components(cameras: list[str], labels: list[str] | None = LABELS) -> list[Component]:
    images = make_explored(IDS, labels, properties={"camera": cameras})
    exploration = Exploration(images, {"shortcuts": find_shortcuts(images, no_progress)})
    return list(build_shortcut_section(exploration, Thumbnails(images)).components)


def test_a_shortcut_is_a_warning_with_examples() -> None:
    explanation, warning, table, gallery = components(["A", "B"] * 50)
    assert explanation == Text(EXPLANATION)
    assert isinstance(warning, Text)
    assert warning.style == "warning"
    assert isinstance(table, Table)
    assert table.rows[0][1] == "camera"
    assert isinstance(gallery, Gallery)
    assert len(gallery.items) == 2 * N_EXAMPLES
    assert set(gallery.filters["class"]) == {"cat", "others"}


def test_images_without_a_shortcut_have_the_table_alone() -> None:
    _, text, table = components(["A", "A", "B", "B"] * 25)
    assert text == Text("No property predicts the label well enough to be a shortcut.")
    assert isinstance(table, Table)


def test_images_without_labels_have_a_note() -> None:
    (note,) = components(["A"] * 100, None)
    assert note == Text("there are no labels, so that no shortcuts are searched", "note")
