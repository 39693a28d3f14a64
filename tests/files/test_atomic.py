"""Files and folders appear as a whole, a failed writer leaves the old ones, and lock files are no links."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import IncompleteError, StoreError
from featx.files.atomic import (
    atomic_file,
    atomic_folder,
    file_lock,
    file_state,
    read_json,
    read_table,
    write_json,
    write_table,
    write_text,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def files(folder: Path) -> dict[str, str]:
    """Return all files below a folder, hidden ones too, with their texts."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def copy(target: Path, beginning: str, missing_path: Path) -> None:
    """Begin to write, and fail half way."""
    target.write_text(beginning)
    target.write_text(beginning + missing_path.read_text())


def test_a_file_is_seen_when_it_is_finished_and_not_before(tmp_path: Path) -> None:
    final_path = tmp_path / "deep" / "a.txt"
    with atomic_file(final_path) as partial_path:
        partial_path.write_text("new")
        assert not final_path.exists()
        assert partial_path.name.startswith(".")
    assert files(tmp_path) == {"deep/a.txt": "new"}


def test_a_folder_is_seen_when_it_is_finished_and_not_before(tmp_path: Path) -> None:
    final_path = tmp_path / "deep" / "run"
    with atomic_folder(final_path) as partial_path:
        (partial_path / "a.txt").write_text("new")
        assert not final_path.exists()
        assert partial_path.name.startswith(".")
    assert files(tmp_path) == {"deep/run/a.txt": "new"}


def test_a_folder_replaces_an_older_one_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "run") as partial_path:
            (partial_path / f"{name}.txt").write_text(name)
    assert files(tmp_path) == {"run/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(OSError, match="No such file"), atomic_file(tmp_path / "a.txt") as partial_path:
        copy(partial_path, "ne", missing_path=tmp_path / "gone")
    assert files(tmp_path) == {"a.txt": "old"}


def test_a_writer_that_fails_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "run") as partial_path:
        (partial_path / "a.txt").write_text("old")
    with pytest.raises(OSError, match="No such file"), atomic_folder(tmp_path / "run") as partial_path:
        copy(partial_path / "a.txt", "ne", missing_path=tmp_path / "gone")
    assert files(tmp_path) == {"run/a.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@settings(max_examples=25)
@given(value=values)
def test_json_comes_back_as_it_was(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    write_json(file, value)
    assert read_json(file) == value


def test_json_is_written_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"straße": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "straße": 1\n}\n'


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_the_error_of_unreadable_json_states_the_next_step(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(IncompleteError, match=r"a\.json cannot be read .*; remove it and run the command"):
        read_json(file)


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "n": [1, 2]})
    write_table(tmp_path / "t.parquet", frame)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet", "write it again with 'featx extract'"), frame)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more"])
def test_a_table_that_cannot_be_read_names_the_command_that_makes_it(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(IncompleteError, match=r"t\.parquet cannot be read .*; write it again with 'featx extract'"):
        read_table(file, "write it again with 'featx extract'")


def test_the_state_of_a_file_changes_with_its_content(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    assert file_state(file) is None
    file.write_text("abc")
    state_before = file_state(file)
    assert state_before is not None
    assert state_before[:2] == (str(file), 3)
    assert file_state(file) == state_before
    file.write_text("abcd")
    assert file_state(file) != state_before


@pytest.mark.parametrize("target", ["precious", "gone"])
def test_a_lock_file_that_is_a_link_is_refused(target: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("content")
    (tmp_path / "a.lock").symlink_to(tmp_path / target)
    with pytest.raises(StoreError, match="is a link, expected a file; remove it"), file_lock(tmp_path / "a.lock"):
        pass
    assert (tmp_path / "precious").read_text() == "content"
    assert not (tmp_path / "gone").exists()


def test_a_lock_file_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("content")
    with file_lock(tmp_path / "a.lock"):
        pass
    assert (tmp_path / "a.lock").read_text() == "content"
