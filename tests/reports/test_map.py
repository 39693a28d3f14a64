"""Maps of images: their encoding, and their use by mouse and keyboard in a browser.

Modules: reports.page.map_encoding.
"""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator

from featx.reports.page.components import Figure, Map, Section
from featx.reports.page.figure_style import make_figure
from featx.reports.page.map_encoding import MAX_ATLAS_BYTES, MAX_VALUES, OTHERS, atlas_columns, encode_map, make_atlas
from featx.reports.page.page import Page
from tests.browser import DESK_PX, PHONE_PX, OpenedPage, launch_browser, needs_chromium, open_page

HOSTILE = "</script><script>alert(1)</script>\x1b[2J"
N_IMAGES = 200


def decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<u2")


def encode_picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def make_map(n: int = N_IMAGES, atlas: str = "") -> Map:
    """Return a map of n images in a grid, of which the first half is on the left."""
    points = [(float(i >= n / 2) + 0.2 * (i % 10) / 10, (i // 10) % 10) for i in range(n)]
    figure, (axes,) = make_figure()
    axes.scatter(*zip(*points, strict=True))
    still = Figure("still", "The still map.", "A scatter plot", figure)
    ids = [HOSTILE, *(f"image {i}.png" for i in range(1, n))]
    sides = ["left" if i < n / 2 else "right" for i in range(n)]
    parts = [None if i % 2 else HOSTILE for i in range(n)]
    return Map("map", "All images.", ids, points, {"side": sides, "part": parts}, atlas, 32, still)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    atlas = make_atlas([encode_picture((255, 0, 0))] * N_IMAGES, 32)
    path = tmp_path_factory.mktemp("maps") / "map.html"
    Page("A map", "200 images", [Section("Map", [make_map(atlas=atlas)])]).write(path)
    return path


def canvas(opened_page: OpenedPage) -> Locator:
    return opened_page.page.locator(".map-frame > canvas")


def drag(opened_page: OpenedPage, *places: tuple[float, float]) -> None:
    """Drag the mouse along places, which are shares of the width and the height of the map."""
    box = canvas(opened_page).bounding_box()
    assert box is not None
    for number, (x, y) in enumerate(places):
        opened_page.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if number == 0:
            opened_page.page.mouse.down()
    opened_page.page.mouse.up()


def selected(opened_page: OpenedPage) -> list[str]:
    return opened_page.page.locator(".map textarea").input_value().splitlines()


@needs_chromium
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE_PX, DESK_PX])
def test_a_map_has_no_problems(browser: Browser, file: Path, width: int, is_dark: bool) -> None:
    with open_page(browser, file, width, is_dark) as opened_page:
        opened_page.page.locator(".map details").evaluate("(e) => (e.open = true)")
        assert opened_page.problems() == []


@needs_chromium
def test_a_lasso_selects_the_images_inside_it(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        opened_page.page.get_by_role("button", name="Lasso").click()
        drag(opened_page, (0, 0), (0, 0.999), (0.5, 0.999), (0.5, 0))
        assert len(selected(opened_page)) == N_IMAGES / 2
        assert opened_page.page.locator(".map output").text_content() == "100 images selected"
        with opened_page.page.expect_download() as download:
            opened_page.page.get_by_text("Download the ids").click()
        assert len(download.value.path().read_text().splitlines()) == N_IMAGES / 2


@needs_chromium
def test_images_are_selected_by_keyboard(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        map_canvas = canvas(opened_page)
        for key in ("ArrowRight", "ArrowDown", "]", "]", "]", "]", "]", "]", "]", "]", "]", "]", "]", "]", "]"):
            map_canvas.press(key)
        assert str(opened_page.page.locator(".map output").text_content()).startswith(f"{N_IMAGES} images in the box")
        map_canvas.press("Enter")
        assert len(selected(opened_page)) == N_IMAGES
        map_canvas.press("Escape")
        assert selected(opened_page) == []
        for _ in range(34):
            map_canvas.press("ArrowLeft")
        map_canvas.press("Enter")
        n_near = len(selected(opened_page))
        assert n_near == N_IMAGES / 2, "the box is at the left"
        map_canvas.press("Escape")
        for key in ("+", "+", "+", "Enter"):
            map_canvas.press(key)
        assert 0 < len(selected(opened_page)) < n_near, "zooming moves images out of the box"


@needs_chromium
def test_hidden_values_are_not_selected(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        opened_page.page.get_by_role("button", name="left").click()
        opened_page.page.get_by_role("button", name="Lasso").click()
        drag(opened_page, (0, 0), (0, 0.999), (0.999, 0.999), (0.999, 0))
        assert selected(opened_page) == [f"image {i}.png" for i in range(100, 200)]


@needs_chromium
def test_an_image_is_shown_where_the_mouse_points(browser: Browser, file: Path) -> None:
    with open_page(browser, file) as opened_page:
        # The last image is the last of its row, at the right and upper corner.
        canvas(opened_page).hover(position={"x": 1, "y": 1})
        tip = opened_page.page.locator(".map-tip")
        assert not tip.is_visible()
        width = canvas(opened_page).evaluate("(e) => e.clientWidth")
        canvas(opened_page).hover(position={"x": width - 16, "y": 16})
        assert tip.text_content() == "image 199.png; side: right; part: none"
        red = tip.locator("canvas").evaluate("(e) => [...e.getContext('2d').getImageData(40, 40, 1, 1).data]")
        assert red[0] > 200 > 60 > red[1]


@needs_chromium
def test_without_scripts_the_still_figure_is_shown(browser: Browser, file: Path) -> None:
    with open_page(browser, file, has_scripts=False) as opened_page:
        assert opened_page.page.locator(".map figcaption").is_visible()
        assert opened_page.page.locator(".map svg").is_visible()


def test_the_script_is_only_on_pages_with_a_map() -> None:
    page = Page("A map", "", [Section("Map", [make_map()])]).render()
    assert "class ImageMap" in page
    assert "class ImageMap" not in Page("No map", "", [Section("Figure", [make_map().still])]).render()
    assert "<script>alert" not in page
    content = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)[0])
    assert content["ids"][0].startswith("</script><script>alert(1)")
    assert "\x1b" not in content["ids"][0]


def test_positions_fill_the_range_of_both_axes() -> None:
    content = encode_map(["a", "b", "c"], [(0, 5), (1, 5), (4, 5)], {})
    assert decode(content["points"]).reshape(3, 2).tolist() == [[0, 32768], [16384, 32768], [65535, 32768]]
    assert encode_map([], [], {"label": []})["points"] == ""


def test_rare_values_share_one_colour() -> None:
    values = [str(i) for i in range(100) for _ in range(200 - i)] + [None]
    n = len(values)
    (colouring,) = encode_map([str(i) for i in range(n)], [(0, 0)] * n, {"class": values})["colours"]
    assert len(colouring["values"]) == MAX_VALUES
    assert colouring["values"][-1] == OTHERS
    codes = decode(colouring["codes"])
    assert [colouring["values"][code] for code in codes[[0, -1]]] == ["0", OTHERS]
    (small_colouring,) = encode_map(["a", "b"], [(0, 0)] * 2, {"class": ["x", None]})["colours"]
    assert small_colouring["values"] == ["x", "none"], "missing values are last"


def test_the_atlas_has_one_tile_for_each_picture() -> None:
    atlas = make_atlas([encode_picture((0, 0, 255)), None, encode_picture((0, 255, 0))], 24)
    image = Image.open(io.BytesIO(base64.b64decode(atlas.partition(",")[2])))
    assert image.size == (48, 48)
    assert [int(np.argmax(image.getpixel(place))) for place in ((12, 12), (12, 36))] == [2, 1]
    assert max(image.getpixel((36, 12))) < 40
    assert atlas_columns(20_000) == 142


def test_a_large_atlas_is_compressed_more(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    large = make_atlas([buffer.getvalue()], 64)
    monkeypatch.setattr("featx.reports.page.map_encoding.MAX_ATLAS_BYTES", 1000)
    assert len(make_atlas([buffer.getvalue()], 64)) < len(large) < MAX_ATLAS_BYTES
