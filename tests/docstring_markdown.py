"""Docstrings in numpydoc form as Markdown."""

import re
import textwrap
from collections.abc import Iterator

SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
# Sections with an entry for each name.
ENTRY_SECTIONS = {"Parameters", "Returns", "Yields", "Raises", "Warns", "Attributes"}
LITERAL = re.compile(r"``(.+?)``")


def as_markdown(docstring: str) -> str:
    """Return a cleaned docstring as Markdown: paragraphs, lists of parameters, and blocks of examples."""
    introduction, *sections = SECTION.split(docstring)
    parts = list(_paragraphs(introduction))
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        parts.append(f"**{title}**")
        parts += ["\n".join(_entry_lines(text))] if title in ENTRY_SECTIONS else list(_paragraphs(text))
    return "\n\n".join(parts)


def _entry_lines(text: str) -> Iterator[str]:
    """Yield one item of a list for each entry of a section."""
    for entry in re.split(r"\n(?=\S)", text.strip("\n")):
        names, _, meaning = entry.partition("\n")
        code = ", ".join(f"`{name.strip()}`" for name in names.split(","))
        yield f"- {code}: {_sentence(meaning)}" if meaning.strip() else f"- {code}"


def _paragraphs(text: str) -> Iterator[str]:
    """Yield paragraphs, and indented or interactive blocks as code."""
    for block in re.split(r"\n{2,}", text.strip("\n")):
        if not block.strip() or block.strip() == "::":
            continue
        if block.startswith((" ", ">>>")):
            yield f"```\n{textwrap.dedent(block)}\n```"
        elif re.match(r"[-*] ", block):
            yield LITERAL.sub(r"`\1`", block)
        else:
            yield re.sub(r"::$", ":", _sentence(block))


def _sentence(text: str) -> str:
    """Return a text on one line, with Markdown's marks of code."""
    return LITERAL.sub(r"`\1`", " ".join(text.split()))
