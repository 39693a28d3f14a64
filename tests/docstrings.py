"""Descriptions of attributes in numpydoc docstrings."""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping


def attribute_texts(spec: type) -> Mapping[str, str]:
    """Return the text of each attribute in the numpydoc docstrings of a class and its bases."""
    texts: dict[str, str] = {}
    for base in reversed(spec.__mro__):
        section = re.search(
            r"Attributes\n-+\n(.*?)(?:\n\n\w[^\n]*\n-+\n|\Z)", inspect.cleandoc(base.__doc__ or ""), re.S
        )
        if section:
            texts |= dict(_entries(section[1]))
    return texts


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for block in re.split(r"\n(?=\S)", text):
        names, _, meaning = block.partition("\n")
        for name in names.split(","):
            yield name.strip(), " ".join(textwrap.dedent(meaning).split())
