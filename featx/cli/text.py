"""Data as text that rich draws as it stands."""

from rich.text import Text

from featx.text.escaping import escape_text


def as_text(value: str, style: str = "") -> Text:
    """Return one line of text: brackets and colons in it are no markup, and control characters are shown as escapes."""
    return Text(escape_text(value), style)
