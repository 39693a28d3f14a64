"""The list of packages and modules in ``docs/architecture.md``, with the first paragraphs of their docstrings."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "featx"
PAGE = ROOT / "docs" / "architecture.md"
PACKAGE_LINE = re.compile(r"(?P<start>\*\*`(?P<package>[\w/]+)/`\*\* ).*")
MODULE_LINE = re.compile(r"(?P<start>- `(?P<module>[\w/]+\.py)`: ).*")
CITATION = re.compile(r" \[\d+\]_")


def architecture() -> str:
    """Return the page on the architecture, in which each package and module is described by its docstring."""
    lines, folder = [], PACKAGE
    for line in PAGE.read_text().splitlines():
        described_line = line
        if match := PACKAGE_LINE.fullmatch(line):
            folder = PACKAGE / match["package"]
            described_line = match["start"] + _first_paragraph(folder / "__init__.py")
        elif match := MODULE_LINE.fullmatch(line):
            # Modules of the package itself are listed below the first folder.
            files = [folder / match["module"], PACKAGE / match["module"]]
            described_line = match["start"] + _first_paragraph(next(file for file in files if file.is_file()))
        lines.append(described_line)
    return "\n".join(lines) + "\n"


def _first_paragraph(file: Path) -> str:
    """Return the first paragraph of a module's docstring on one line, without marks of citations."""
    paragraph = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0]
    return CITATION.sub("", " ".join(paragraph.split()))
