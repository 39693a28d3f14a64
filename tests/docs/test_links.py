"""Links of the documentation: their files and anchors exist, and each page is reachable from the index."""

from pathlib import Path

import pytest

from tests.docs.markdown_pages import PAGES, ROOT, MarkdownPage, anchor_of

INDEX = "docs/index.md"


def link_problem(page: MarkdownPage, link: str) -> str:
    """Return what is wrong with a link, empty if nothing is."""
    if link.startswith(("https://", "http://", "mailto:")):
        return "" if link.startswith("https://") else f"{link} is not encrypted"
    path, _, anchor = link.partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    if not target.exists():
        return f"{link}: no such file"
    name = target.relative_to(ROOT).as_posix()
    if anchor and (name not in PAGES or anchor not in PAGES[name].anchors):
        return f"{link}: no such heading"
    return ""


def reachable_from(start: str) -> set[str]:
    """Return the names of all pages to which links lead from a page."""
    reached, waiting = {start}, [start]
    while waiting:
        page = PAGES[waiting.pop()]
        for link in page.links:
            path = link.partition("#")[0]
            if "://" in path or not path:
                continue
            target = (page.path.parent / path).resolve()
            names = [f"{target.relative_to(ROOT)}/{file.name}" for file in target.glob("*.md")]
            names = names if target.is_dir() else [target.relative_to(ROOT).as_posix()]
            for name in set(names) & PAGES.keys() - reached:
                reached.add(name)
                waiting.append(name)
    return reached


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = PAGES[name]
    assert [problem for link in page.links if (problem := link_problem(page, link))] == []


def test_every_page_is_reachable_from_the_index() -> None:
    assert sorted(PAGES.keys() - reachable_from(INDEX)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = PAGES[INDEX]
    assert link_problem(page, "absent.md") == "absent.md: no such file"
    assert link_problem(page, "glossary.md#absent") == "glossary.md#absent: no such heading"
    assert link_problem(page, "#documentation") == ""
    file = tmp_path / "page.md"
    file.write_text(
        "# One `--opt` (here)\n\n## Two\n\n## Two\n\n[a](b.md) `[no](link.md)`\n\n```\n[no](block.md)\n# no\n```\n"
    )
    assert MarkdownPage(file).anchors == {"one---opt-here", "two", "two-1"}
    assert MarkdownPage(file).links == ["b.md"]
    assert anchor_of("See [the page](x.md): now") == "see-the-page-now"
