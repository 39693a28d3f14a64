"""The documentation as a site of HTML pages, from the Markdown files of the repository.

usage: python -m tests.docs_site        # writes build/site, or says which links of it are broken

The pages are plain Markdown. They are copied with the files that they link to, so that all relative links stay as they
are; the sections and links of ``docs/index.md`` are the navigation. Zensical builds the pages without network.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import yaml

from tests.docs.markdown_pages import CODE_SPAN, PAGES, ROOT, MarkdownPage

BUILD = ROOT / "build"
CONFIGURATION = ROOT / "mkdocs.yml"
HOME = "README.md"
INDEX = "docs/index.md"
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def linked_files(page: MarkdownPage) -> Iterator[Path]:
    """Yield the files of the repository that a page links to."""
    for link in page.links:
        path = link.partition("#")[0]
        if path and "://" not in path:
            target = (page.path.parent / path).resolve()
            if target.is_file():
                yield target


def stage(folder: Path) -> None:
    """Copy all pages, and the files that they link to, to the places in a folder that they have in the repository."""
    files = {page.path for page in PAGES.values()} | {file for page in PAGES.values() for file in linked_files(page)}
    files |= set((ROOT / "docs" / "assets").iterdir())
    for file in files:
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            # In code inside tables, GitHub needs a backslash before a bar, and Python-Markdown would show it.
            copy.write_text(CODE_SPAN.sub(lambda match: match[0].replace("\\|", "|"), file.read_text()))
        else:
            shutil.copyfile(file, copy)


def title_of(name: str) -> str:
    """Return the heading of a page."""
    match = TITLE.search(PAGES[name].text)
    assert match is not None, name
    return match[1].replace("`", "")


def navigation() -> list[dict[str, str | list[dict[str, str]]]]:
    """Return the pages in the sections and the order of the index, each once, then those that it does not list."""
    parts: list[dict[str, str | list[dict[str, str]]]] = [{"featx": HOME}, {"Documentation": INDEX}]
    index, listed_pages = PAGES[INDEX], {HOME, INDEX}
    _, *sections = SECTION.split(index.text)
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        paths = [(index.path.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+\.md)\)", text)]
        names = [path.relative_to(ROOT).as_posix() for path in paths]
        names = [name for name in dict.fromkeys(names) if name not in listed_pages]
        listed_pages |= set(names)
        parts.append({title: [{title_of(name): name} for name in names]})
    unlisted_pages = sorted(name for name in PAGES.keys() - listed_pages if Path(name).parent.name == "docs")
    return [*parts, {"More": [{title_of(name): name} for name in unlisted_pages]}] if unlisted_pages else parts


def build(folder: Path = BUILD) -> Path:
    """Build the site in a folder, and return the folder of its pages."""
    source, site = folder / "site-source", folder / "site"
    for output_folder in (source, site):
        shutil.rmtree(output_folder, ignore_errors=True)
    stage(source)
    settings = yaml.safe_load(CONFIGURATION.read_text())
    settings |= {"docs_dir": source.name, "site_dir": site.name, "nav": navigation()}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    configuration = str(folder / "mkdocs.yml")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--config-file", configuration]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if process.returncode or not (site / "index.html").is_file():
        raise SystemExit(f"error: the site was not built: {process.stdout}{process.stderr}")
    return site


class _PageParser(HTMLParser):
    """Collects the links and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"id", "name"} and value:
                self.anchors.add(value)
            if (tag, name) == ("a", "href") and value:
                self.links.append(value)


def parse_page(file: Path) -> _PageParser:
    """Return the links and the anchors of a page."""
    parser = _PageParser()
    parser.feed(file.read_text())
    return parser


def site_problems(site: Path) -> list[str]:
    """Return the links of a site whose file or anchor does not exist, and the pages that no link leads to."""
    pages = {file.resolve(): parse_page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    problems, linked = [], {(site / "index.html").resolve()}
    for file, page in pages.items():
        for link in page.links:
            path, _, anchor = unquote(link).partition("#")
            if ":" in path:
                continue
            target = (file.parent / path).resolve() if path else file
            linked.add(target)
            if not target.is_file():
                problems.append(f"{file.relative_to(site.resolve())}: {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                problems.append(f"{file.relative_to(site.resolve())}: {link}: no such heading")
    return problems + [f"{file.relative_to(site.resolve())}: no link leads here" for file in pages.keys() - linked]


if __name__ == "__main__":
    site_folder = build()
    if problems := site_problems(site_folder):
        sys.exit("\n".join(problems))
    print(f"{site_folder / 'index.html'}: {len(list(site_folder.rglob('*.html')))} pages")
