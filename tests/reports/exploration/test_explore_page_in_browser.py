"""The page of an exploration in a real browser: no errors, no requests, no sideways scrolling, filters work."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser

import featx
from featx.exploration.explore import explore
from featx.reports.exploration.explore_page import write_exploration
from tests.browser import DESK_PX, PHONE_PX, launch_browser, needs_chromium, open_page
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

pytestmark = needs_chromium
HOSTILE_NAMES = ["<script>alert(1)</script>", "חתול", "🐈 cat", "n" * 300]
MAX_PAGE_BYTES = 10_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of an extracted study whose classes and groups have hostile names; some images are copies."""
    home = tmp_path_factory.mktemp("hostile")
    ids = make_images(home / "images", ("a", "b", "c", "d"), n_each=12)
    for number in range(2):
        shutil.copy(home / "images" / ids[number], home / "images" / f"copy{number}.png")
    ids += ["copy0.png", "copy1.png"]
    labels = [HOSTILE_NAMES["abcd".index(name[0])] if "/" in name else HOSTILE_NAMES[1] for name in ids]
    sites = [HOSTILE_NAMES[number % 3] for number in range(len(ids))]
    table = pd.DataFrame({"path": ids, "y": labels, "site": sites})
    table.to_csv(home / "images" / "labels.csv", index=False)
    sections = {"data": LABEL_TABLE, "targets": {"y": {"column": "y"}}, "groups": {"site": "site"}, "head": None}
    (home / "featx.toml").write_text(toy_recipe(**sections))
    featx.extract(home / "featx.toml")
    return Path(write_exploration(explore(recipe=home / "featx.toml"), home).page)


@pytest.mark.parametrize(("width", "is_dark"), [(PHONE_PX, False), (DESK_PX, True)], ids=["phone light", "desk dark"])
def test_the_page_has_no_problems(browser: Browser, file: Path, width: int, is_dark: bool) -> None:
    with open_page(browser, file, width, is_dark) as opened_page:
        opened_page.page.evaluate("document.querySelectorAll('details').forEach((e) => e.open = true)")
        assert opened_page.problems() == []


def test_random_samples_are_filtered_by_class(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        gallery = opened_page.page.locator(".gallery", has_text="Random images of each class of y")
        items = gallery.locator("li")
        n_all = items.count()
        gallery.locator("select").select_option(HOSTILE_NAMES[2])
        visible_items = [item for item in items.all() if item.is_visible()]
        assert 0 < len(visible_items) < n_all
        assert all(HOSTILE_NAMES[2] in item.inner_text() for item in visible_items)


def test_the_page_is_one_small_file_with_all_sections(file: Path) -> None:
    text = file.read_text()
    assert len(text) < MAX_PAGE_BYTES
    assert "<script>alert(1)" not in text
    for title in ("Summary", "What was found", "Classes, parts and groups", "Random samples", "Image quality"):
        assert f">{title}</h2>" in text
    for title in ("Copies", "Shortcuts", "As the networks see it", "Sizes and pixels"):
        assert f">{title}</h2>" in text
