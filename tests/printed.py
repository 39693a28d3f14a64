"""Printed texts without the line breaks of a narrow terminal."""


def unwrapped(text: str) -> str:
    """Return a text on one line, each run of spaces and line breaks as one space."""
    return " ".join(text.split())
