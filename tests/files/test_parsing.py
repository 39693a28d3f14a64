"""Broken JSON, TOML, Parquet and CSV give one kind of error, in one line."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from featx.errors import IncompleteError
from featx.files.atomic import read_json, read_json_as, read_table
from featx.files.parsing import MAX_NESTING, ParseError, parse_json, parse_toml, read_parquet, validate_as
from featx.files.text_tables import detect_format, parse_text_table
from tests.fuzz import mutate_bytes

NESTED = {depth: "[" * depth + "]" * depth for depth in (MAX_NESTING + 1, 3000, 100_000)}
BROKEN_JSON = ["", "{", "nul", "1e400", "-1e400", '{"a": [1e999]}', "9" * 5000, b"\xff", b"\x00", *NESTED.values()]
BROKEN_TOML = [
    "a = ",
    "a = 1e400",
    "a = " + "9" * 5000,
    "a = 0x" + "f" * 5000 + "g",
    "a = 2026-13-41",
    *(f"a = {text}" for text in NESTED.values()),
    "a = " + "{b = " * 3000 + "1" + "}" * 3000,
    ".".join("a" * 3000) + " = 1",
]


def is_one_line(error: pytest.ExceptionInfo[ParseError]) -> bool:
    """Return whether an error's message is one line of readable length."""
    return 5 < len(str(error.value)) < 400 and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", BROKEN_JSON, ids=range(len(BROKEN_JSON)))
def test_broken_json_is_one_line(content: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(ParseError, match=r"JSON|large|digits") as error:
        parse_json(content)
    assert is_one_line(error)
    (tmp_path / "a.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(IncompleteError, match=r"a\.json cannot be read \(.*\); remove it"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("content", BROKEN_TOML, ids=range(len(BROKEN_TOML)))
def test_broken_toml_is_one_line(content: str) -> None:
    with pytest.raises(ParseError, match=r"TOML") as error:
        parse_toml(content)
    assert is_one_line(error)


def test_the_line_that_is_no_toml_is_quoted() -> None:
    with pytest.raises(ParseError, match=r"at line 2, column 8\): 'test = \.2'$"):
        parse_toml("[split]\ntest = .2\n")
    with pytest.raises(ParseError, match=r"write paths with '/', or in single quotes$"):
        parse_toml('source = "C:\\Users\\me"')
    with pytest.raises(ParseError, match=r"'a = \\x01'$") as error:
        parse_toml("a = \x01")
    assert is_one_line(error)


def test_whole_documents_are_read_as_they_are() -> None:
    nested: Any = 1
    for _ in range(MAX_NESTING - 1):
        nested = [nested]
    assert parse_json(json.dumps({"a": [1, 2.5, None, "x"], "b": nested})) == {"a": [1, 2.5, None, "x"], "b": nested}
    assert parse_json("[Infinity, -Infinity]") == [float("inf"), float("-inf")]
    assert parse_toml("a = [1, inf, 1979-05-27]\nb.c = 1")["b"] == {"c": 1}


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ([], dict[str, int], "valid dictionary"),
        ({"a": "x"}, dict[str, int], "^a: .*valid integer"),
        (3, list[str], "valid list"),
        ({"a": 10**400}, dict[str, float], "a"),
    ],
)
def test_a_value_of_another_type_is_named(value: object, kind: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ParseError, match=message):
        validate_as(value, kind)
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(IncompleteError, match=r"a\.json has unexpected content .*; remove it"):
        read_json_as(tmp_path / "a.json", kind)


def test_a_table_without_a_column_is_named(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(
        IncompleteError, match=r"has no column 'part'; columns: id\); write it again with 'featx extract'"
    ):
        read_table(tmp_path / "t.parquet", "write it again with 'featx extract'", ("id", "part"))


READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "json": (json.dumps({"a": [1, 2.5, {"b": "x"}], "c": None, "d": 1e300}).encode(), parse_json),
    "toml": (
        b'[a]\nb = [1, 2.5e8, "x"]\nc = 1979-05-27T07:32:00Z\n[[d]]\ne = {f = 0x1f}\n',
        lambda b: parse_toml(b.decode()),
    ),
    "csv": (b"path,y,z\na.png,1,x\nb.png,2,y\n", lambda b: parse_text_table(b, detect_format(b))),
    "parquet": (pd.DataFrame({"path": ["a", "b"] * 9, "y": range(18), "z": 0.5}).to_parquet(), read_parquet),
}


@pytest.mark.parametrize("kind", READERS)
def test_mutated_content_is_read_or_one_kind_of_error(kind: str) -> None:
    content, reader = READERS[kind]
    rng = random.Random(23)
    n_read = 0
    for _ in range(400):
        with suppress(ParseError, UnicodeDecodeError):
            reader(mutate_bytes(content, rng))
            n_read += 1
    assert 0 < n_read < 400
