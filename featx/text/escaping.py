"""Text from data as one line that changes nothing but what is read.

Names of classes, columns and files may hold anything: line breaks, sequences that a terminal obeys, marks that turn the
direction of reading. What featx prints, and what it writes into comments, shows these as escapes.
"""

import re
import unicodedata

# Joiners: they change the shape of letters and emoji and nothing else.
HARMLESS_FORMATS = "\u200c\u200d"
# Control characters, format characters (those that reverse the direction among them), halves of surrogate pairs, and
# separators of lines and paragraphs.
ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
PRINTABLE_ASCII = re.compile(r"[ -~]*")


def escaped(text: str) -> str:
    r"""Return text on one line, characters that are not printed shown as escapes.

    Examples
    --------
    >>> print(escaped("cat\x1b[2J\n"), escaped("Größe"))
    cat\x1b[2J\n Größe
    """
    if PRINTABLE_ASCII.fullmatch(text):
        return text
    return "".join(char.encode("unicode_escape").decode() if is_escaped(char) else char for char in text)


def escaped_json(document: str) -> str:
    r"""Return a JSON document, characters that are not printed written as ``\uXXXX``; line breaks stay."""
    if document.isascii() and document.isprintable():
        return document
    return "".join(_json_escape(char) if char != "\n" and is_escaped(char) else char for char in document)


def is_escaped(char: str) -> bool:
    """Whether a character is shown as an escape."""
    return unicodedata.category(char) in ESCAPED_CATEGORIES and char not in HARMLESS_FORMATS


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2], 'big'):04x}" for at in range(0, len(units), 2))
