"""Pages of the documentation: their headings, links and blocks of code, as GitHub reads them."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- run: ([^>]+) -->\s*$")
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#{1,6}) +(.+?)\s*$", re.MULTILINE)
# Characters that are not in an anchor.
NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of code.

    Attributes
    ----------
    page
        Path of the page, relative to the repository.
    line
        Line of the fence, from 1.
    language
        The word behind the fence, empty if there is none.
    code
        The lines between the fences.
    marker
        What a comment ``<!-- run: … -->`` above the block says, empty without one.
    """

    page: str
    line: int
    language: str
    code: str
    marker: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class MarkdownPage:
    """A page in Markdown.

    Attributes
    ----------
    path
        Path of the file.
    """

    path: Path

    @property
    def name(self) -> str:
        """Path relative to the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """The whole text."""
        return self.path.read_text()

    @cached_property
    def prose(self) -> str:
        """The text without blocks of code."""
        return FENCE.sub("", self.text)

    @cached_property
    def blocks(self) -> list[CodeBlock]:
        """The fenced blocks of code."""
        code_blocks = []
        for match in FENCE.finditer(self.text):
            text_before = self.text[: match.start()]
            marker = MARKER.search(text_before)
            line = text_before.count("\n") + 1
            code_blocks.append(
                CodeBlock(self.name, line, match["language"], match["code"], marker[1] if marker else "")
            )
        return code_blocks

    @cached_property
    def spans(self) -> list[str]:
        """The pieces of code inside sentences and tables."""
        return [match[2].replace("\\|", "|") for match in CODE_SPAN.finditer(self.prose)]

    @cached_property
    def links(self) -> list[str]:
        """The targets of all links."""
        return LINK.findall(CODE_SPAN.sub("", self.prose))

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of all headings."""
        counts: dict[str, int] = {}
        anchors = set()
        for _, title in HEADING.findall(self.prose):
            anchor = anchor_of(title)
            number = counts.get(anchor, 0)
            counts[anchor] = number + 1
            anchors.add(f"{anchor}-{number}" if number else anchor)
        return anchors


def anchor_of(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = LINK.sub(lambda match: match[0][1 : match[0].index("]")], title)
    return NOT_IN_ANCHOR.sub("", text.lower()).replace(" ", "-")


def all_pages() -> list[MarkdownPage]:
    """Return all pages that a reader of the repository finds."""
    files = [ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")]
    files += [ROOT / "pipelines" / "README.md", ROOT / "cache" / "README.md", *(ROOT / "docs").rglob("*.md")]
    return [MarkdownPage(file) for file in sorted(files)]


PAGES = {page.name: page for page in all_pages()}
