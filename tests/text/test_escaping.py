"""Escapes for unprintable characters in text from data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.text.escaping import escape_json, escape_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]8;;http://x\x07link", r"\x1b]8;;http://x\x07link"),
        ("a\nerror: b\r", r"a\nerror: b\r"),
        ("\x9b31m", r"\x9b31m"),
        ("\x7f\x00", r"\x7f\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028\u2029\ufeff\u200b", r"\u2028\u2029\ufeff\u200b"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_unprintable_characters_are_shown_as_escapes(text: str, expected: str) -> None:
    assert escape_text(text) == expected


@pytest.mark.parametrize(
    "text", ["[red]cat[/]", "Größe", "分類", "हिन्दी", "👩\u200d🔬", "می\u200cخواهم", "a · b – c ×"]
)
def test_printable_text_stays_unchanged(text: str) -> None:
    assert escape_text(text) == text


@given(st.text(alphabet=st.characters()))
def test_escaped_text_is_one_line_that_can_be_encoded(text: str) -> None:
    assert len(escape_text(text).splitlines()) <= 1
    escape_text(text).encode()


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.lists(st.text())))
def test_escaped_json_loads_back_equal_and_holds_no_control_characters(value: object) -> None:
    document = escape_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(document) == value
    assert not any(char != "\n" and escape_text(char) != char for char in document)
    document.encode()
