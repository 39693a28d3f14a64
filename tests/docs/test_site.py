"""The site that is built from the pages has no broken link, and each of its pages is linked."""

from pathlib import Path

import pytest

from tests.browser import PHONE_PX, launch_browser, needs_chromium
from tests.docs.markdown_pages import PAGES
from tests.docs_site import build, navigation, site_problems, stage

WIDE_PAGES = ("docs/trust.html", "docs/recipe_reference.html", "docs/json_reference.html", "docs/python_api.html")


def test_the_navigation_has_every_page_of_the_index_once() -> None:
    sections = [page for part in navigation() for page in part.values()]
    pages = [page for section in sections for page in (section if isinstance(section, list) else [{"": section}])]
    names = [name for page in pages for name in page.values()]
    assert len(names) == len(set(names)) >= 30
    assert {name for name in PAGES if name.count("/") == 1 and name.startswith("docs/")} <= set(names)


def test_files_that_pages_link_to_are_copied(tmp_path: Path) -> None:
    stage(tmp_path)
    assert (tmp_path / "tests" / "benchmarks" / "peers" / "peer_extract.py").is_file()
    assert "`|` in `Edema|Mass`" in (tmp_path / "docs" / "recipe_reference.md").read_text()


def test_broken_links_of_a_site_are_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<a href="a.html#x">a</a> <a href="b.html">b</a> <a href="https://c">c</a>')
    (tmp_path / "a.html").write_text('<h1 id="y">A</h1>')
    (tmp_path / "lonely.html").write_text("<h1>L</h1>")
    assert site_problems(tmp_path) == [
        "index.html: a.html#x: no such heading",
        "index.html: b.html: no such file",
        "lonely.html: no link leads here",
    ]


@pytest.mark.slow
@needs_chromium
def test_the_built_site_has_no_broken_link_and_no_page_scrolls_sideways(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="the site needs the extra 'docs'")
    site = build(tmp_path)
    assert site_problems(site) == []
    assert len(list(site.rglob("*.html"))) >= len(PAGES)
    with launch_browser() as browser:
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": PHONE_PX, "height": 800}, color_scheme=scheme)
            for name in WIDE_PAGES:
                page.goto((site / name).as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
