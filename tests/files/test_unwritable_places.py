"""Errors of places that cannot be written to."""

import errno
from pathlib import Path

import pytest

from featx.files.atomic import atomic_file, write_text
from featx.files.unwritable_places import describe_unwritable, unwritable_path


def write_error(path: Path) -> OSError:
    """Return the error of writing a file."""
    with pytest.raises(OSError, match="directory|exists") as error_info, atomic_file(path) as partial_path:
        partial_path.write_text("page")
    return error_info.value


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.html" / "inside").mkdir(parents=True)
    error = write_error(tmp_path / "page.html")
    path = unwritable_path(error)
    assert path == tmp_path / "page.html"
    assert describe_unwritable(path, error).startswith(f"{path} cannot be written, because it is a folder; ")


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "pages", "")
    error = write_error(tmp_path / "pages" / "page.html")
    path = unwritable_path(error)
    assert path is not None
    assert tmp_path / "pages" in (path, path.parent)
    assert "because a file is in the place of a folder" in describe_unwritable(path, error)


def test_errors_of_reading_and_of_full_disks_are_others(tmp_path: Path) -> None:
    assert unwritable_path(OSError(errno.ENOSPC, "No space left on device", str(tmp_path))) is None
    assert unwritable_path(PermissionError(errno.EACCES, "Permission denied", "photos/001.png")) is None
    with pytest.raises(FileNotFoundError, match="nowhere") as error_info:
        (tmp_path / "nowhere").read_text()
    assert unwritable_path(error_info.value) is None


def test_a_read_only_place_is_named_with_the_next_step() -> None:
    error = OSError(errno.EROFS, "Read-only file system", "runs/.report.html.0123abcd-1-2-0123abcd")
    text = describe_unwritable(unwritable_path(error) or "", error)
    assert text.startswith("runs/report.html cannot be written (Read-only file system); expected a folder that you may")
