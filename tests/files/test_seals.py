"""Sealed files: every change of a value, and a missing seal, is noticed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import IncompleteError
from featx.files.seals import add_seal, read_sealed, write_sealed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.text().filter(lambda name: name != "seal"), VALUES, max_size=4))
def test_sealed_fields_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "fields.json"
    write_sealed(path, fields)
    assert read_sealed(path) == fields


def test_the_seal_is_that_of_the_values_that_are_read_back(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", {"counts": {10: 1, 9: (2, float("nan"))}})
    assert str(read_sealed(tmp_path / "a.json")) == "{'counts': {'10': 1, '9': [2, nan]}}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.json cannot be read .*; run it again"),
        ("{", r"a\.json cannot be read .*; run it again"),
        ("[" * 100_000, r"a\.json cannot be read .*; run it again"),
        ("[]", r"a\.json has no seal: it was changed, or another version of featx wrote it; run it again"),
        ('{"a": 1}', r"a\.json has no seal: it was changed, or another version of featx wrote it; run it again"),
        ('{"a": 1, "seal": null}', r"a\.json was changed after it was written; run it again"),
        (json.dumps(add_seal({"a": 1}) | {"a": 2}), r"a\.json was changed after it was written; run it again"),
    ],
)
def test_changed_or_unsealed_files_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(IncompleteError, match=message):
        read_sealed(tmp_path / "a.json", "run it again")
