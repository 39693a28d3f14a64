"""Escape text from data, so that it is one line and cannot change a terminal or a file.

Names of classes, columns and files may contain any character: line breaks, terminal control sequences, marks that
reverse the direction of text. featx prints them, and writes them into comments, as escapes.
"""

import re
import unicodedata

# Joiners only change the shape of letters and emoji.
HARMLESS_FORMATS = "\u200c\u200d"
# Control characters, format characters (among them those that reverse the direction), halves of surrogate pairs, and
# separators of lines and paragraphs.
ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
PRINTABLE_ASCII = re.compile(r"[ -~]*")


def escape_text(text: str) -> str:
    r"""Return text as one line, with escapes for characters that are not printable.

    Examples
    --------
    >>> print(escape_text("cat\x1b[2J\n"), escape_text("Größe"))
    cat\x1b[2J\n Größe
    """
    if PRINTABLE_ASCII.fullmatch(text):
        return text
    return "".join(char.encode("unicode_escape").decode() if is_escaped(char) else char for char in text)


def escape_json(document: str) -> str:
    r"""Return a JSON document with ``\uXXXX`` for characters that are not printable; line breaks stay."""
    if document.isascii() and document.isprintable():
        return document
    return "".join(_json_escape(char) if char != "\n" and is_escaped(char) else char for char in document)


def is_escaped(char: str) -> bool:
    """Return whether a character is shown as an escape."""
    return unicodedata.category(char) in ESCAPED_CATEGORIES and char not in HARMLESS_FORMATS


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[start : start + 2], 'big'):04x}" for start in range(0, len(units), 2))
