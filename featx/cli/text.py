"""Data as text that rich draws unchanged, and lines that are broken between words."""

import re
import shutil
import sys
from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from featx.text.sanitising import sanitise_text

# Pieces of a text that may end a line: a word, or a part of a name up to a separator.
_WORDS = re.compile(r" *[^ ]+ *| +")
_NAME_PARTS = re.compile(r"[^/\\_\-.,=+:!|#]*[/\\_\-.,=+:!|#]*")


def as_text(value: str, style: str = "") -> Text:
    """Return one line of text: brackets and colons in it are no markup."""
    return Text(sanitise_text(value), style)


def message_text(text: str) -> str:
    """Return a message for standard error: broken between words on a terminal, which would break it anywhere."""
    if not sys.stderr.isatty():
        return text
    return "\n".join(wrap_cells(text, shutil.get_terminal_size().columns, "  "))


def wrap_cells(text: str, width: int, indent: str = "") -> list[str]:
    """Return a text as lines of at most `width` cells, broken between words.

    A word that is longer than a line is broken after a separator, such as a slash, and only where there is none,
    between two characters.

    Parameters
    ----------
    text
        One line without control characters.
    width
        Number of cells of a line; wide characters take two.
    indent
        Beginning of all lines but the first.

    Examples
    --------
    >>> wrap_cells("two words", 5), wrap_cells("runs/report.html", 8), wrap_cells("abcdef", 4)
    (['two', 'words'], ['runs/', 'report.', 'html'], ['abcd', 'ef'])
    """
    lines, line = [], ""
    is_first_piece = True
    for piece in _pieces(text, max(width - cell_len(indent), 1)):
        if not is_first_piece and cell_len(line) + cell_len(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line, piece = indent, piece.lstrip()
        line += piece
        is_first_piece = False
    return [*lines, line.rstrip()]


def longest_piece(text: str) -> int:
    """Return the number of cells of the longest part of a text that is broken only where there is no separator."""
    parts = [part for word in text.split(" ") for part in _NAME_PARTS.findall(word)]
    return max(map(cell_len, parts), default=0)


def _pieces(text: str, width: int) -> Iterator[str]:
    """Yield the words of a text, those longer than `width` in parts."""
    for word in _WORDS.findall(text):
        if cell_len(word.strip()) <= width:
            yield word
            continue
        for part in filter(None, _NAME_PARTS.findall(word)):
            yield from [part] if cell_len(part.rstrip()) <= width else _fold(part, width)


def _fold(text: str, width: int) -> Iterator[str]:
    """Yield the parts of a text without separators; characters without width stay with the one before."""
    part, part_width = "", 0
    for char in text:
        n_cells = cell_len(char)
        if part and part_width + n_cells > width:
            yield part
            part, part_width = "", 0
        part, part_width = part + char, part_width + n_cells
    yield part
