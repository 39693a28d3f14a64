"""Text as it is shown on a terminal, on a page or in a table: one line, without the secrets in its URLs."""

from featx.text.escaping import escape_text
from featx.text.masking import mask_cell, mask_secrets


def sanitise_text(text: str) -> str:
    r"""Return text as one line, with escapes for characters that are not printable, and masked secrets in URLs.

    Examples
    --------
    >>> print(sanitise_text("images of https://me:secret@host/photos\n"))
    images of https://***@host/photos\n
    """
    # A secret may hold a line break, which ends a URL until it is escaped.
    return mask_secrets(escape_text(text))


def sanitise_value(text: str) -> str:
    """Return a value that is shown on its own, such as an id or a cell, as `sanitise_text` does.

    If it starts with a URL, the whole text is that URL, spaces included.

    Examples
    --------
    >>> print(sanitise_value("https://host/a.png?token=two words"))
    https://host/a.png?***
    """
    return mask_cell(escape_text(text))
