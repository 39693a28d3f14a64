"""The report and the page of predictions of a study with hostile names in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, expect
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from tests.browser import DESK_PX, PHONE_PX, launch_browser, needs_chromium, open_page
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

pytestmark = needs_chromium
HOSTILE_NAMES = ["<script>alert(1)</script>", "[/red] חתול 🐈", "n" * 300]
MAX_PAGE_BYTES = 10_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the pages of a finished study by name."""
    home = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        ids = make_images(home / "images", ("a", "b", "c"), n_each=20)
        labels = [HOSTILE_NAMES["abc".index(name[0])] for name in ids]
        sites = [HOSTILE_NAMES[number % 2] for number in range(len(ids))]
        pd.DataFrame({"path": ids, "y": labels, "site": sites}).to_csv(home / "images" / "labels.csv", index=False)
        sections = {"data": LABEL_TABLE, "targets": {"y": {"column": "y"}}, "groups": {"site": "site"}}
        (home / "featx.toml").write_text(toy_recipe(**sections))
        featx.extract()
        featx.fit()
        featx.ensemble()
        featx.evaluate(final=True)
        report = featx.report().report
        result = CliRunner().invoke(app, ["predict", "images", "--html", "predictions.html"])
        assert result.exit_code == 0, result.output
    return {"report": home / report, "predictions": home / "predictions.html"}


@pytest.mark.parametrize("name", ["report", "predictions"])
@pytest.mark.parametrize(("width", "is_dark"), [(PHONE_PX, False), (DESK_PX, True)], ids=["phone light", "desk dark"])
def test_the_pages_have_no_problems(
    browser: Browser, pages: dict[str, Path], name: str, width: int, is_dark: bool
) -> None:
    with open_page(browser, pages[name], width, is_dark) as opened_page:
        opened_page.page.evaluate("document.querySelectorAll('details').forEach((e) => e.open = true)")
        assert opened_page.problems() == []
    assert pages[name].stat().st_size < MAX_PAGE_BYTES


def test_the_report_answers_its_question_without_scripts(browser: Browser, pages: dict[str, Path]) -> None:
    with open_page(browser, pages["report"], has_scripts=False) as opened_page:
        sentences = opened_page.page.locator("main > section").first.locator(".summary").all_text_contents()
        assert len(sentences) == 5
        assert "the best of" in sentences[0]
        expect(opened_page.page.locator("table").first).to_be_visible()


def test_the_images_of_a_cell_are_shown(browser: Browser, pages: dict[str, Path]) -> None:
    with open_page(browser, pages["report"]) as opened_page:
        link = opened_page.page.locator(".confusion td a").first
        target = opened_page.page.locator(f"[id='{str(link.get_attribute('href')).removeprefix('#')}']")
        link.press("Enter")
        expect(target.locator(".picture").first).to_be_visible()


def test_predictions_are_filtered(browser: Browser, pages: dict[str, Path]) -> None:
    with open_page(browser, pages["predictions"]) as opened_page:
        gallery = opened_page.page.locator(".gallery").first
        items = gallery.locator("li:visible")
        n_all = items.count()
        select = gallery.locator("select").first
        select.select_option(index=1)
        assert 0 < items.count() < n_all
