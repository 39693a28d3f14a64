"""A full disk gives one error line, stored rows stay, and the work can be resumed."""

import os
from pathlib import Path

import pytest

from featx import extract
from featx.cache.verification import verify
from featx.storage.checks import open_store
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.processes import run_limited
from tests.rows import stored_rows
from tests.storage.conftest import FailingCommand, Mount, exit_code

ENGINE = '\n[extraction]\nruntime = "torch"\nworkers = 1\nsegment_rows = 16\n'
WIDE = '\n[[embedding]]\nbackbone = "toy"\nweights = "none"\npool = "flatten"\n'


def paths(cache: str, runs: str) -> str:
    return f'\n[paths]\ncache = "{cache}"\nruns = "{runs}"\n'


def fill_up(folder: Path) -> Path:
    """Fill a disk with one file; return the file."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    os.write(file.fileno(), bytes(size))
            except OSError:
                continue
    return filler


def only_error(code: int, text: str) -> str:
    """Return the only error line of a failed command."""
    assert code == 1, text
    assert "Traceback" not in text
    (error_line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    return error_line


def test_an_extraction_stopped_by_a_file_size_limit_can_be_resumed(home: Path) -> None:
    make_images(home / "images", n_each=100)
    (home / "featx.toml").write_text(TOY_RECIPE)
    assert "digests.sqlite cannot be written: " in only_error(*run_limited(home, "extract", max_file_bytes=9000))
    extract()
    rows_before = stored_rows(Study.open(None))
    (home / "featx.toml").write_text(TOY_RECIPE + WIDE)
    line = only_error(*run_limited(home, "extract", max_file_bytes=12_000))
    assert "cannot take" in line
    assert "(File too large); stored rows are kept: make room, or name another cache (paths.cache)" in line
    assert [check.is_whole for check in verify()] == [True] * len(list(Path("cache").glob("*.zarr")))
    (home / "featx.toml").write_text(TOY_RECIPE)
    assert stored_rows(Study.open(None)) == rows_before
    line = only_error(
        *run_limited(home, "extract", max_file_bytes=3000)
    )  # nothing to embed: tables of the run folder are written
    assert line.endswith("; make room, and run again: what was done is kept"), line
    assert stored_rows(Study.open(None)) == rows_before
    (home / "featx.toml").write_text(TOY_RECIPE + WIDE)
    code, text = run_limited(home, "extract")
    assert code == 0, text
    assert all(check.is_whole and check.n_rows == 200 for check in verify())


def test_a_disk_that_becomes_full_in_the_middle(home: Path, small_disk: Mount, fail_command: FailingCommand) -> None:
    n = len(make_images(home / "images", n_each=100))
    (home / "calm.toml").write_text(TOY_RECIPE + ENGINE)
    extract("calm.toml")
    (home / "featx.toml").write_text(TOY_RECIPE + ENGINE + paths("disk/cache", "runs"))

    line = fail_command("extract")

    assert "MB more (No space left on device); stored rows are kept: make room" in line
    (check,) = verify()
    n_stored = len(open_store(check.store))
    assert check.is_whole
    assert 0 < n_stored < n
    assert not list((home / "disk" / "cache").glob(".*.zarr.*"))
    small_disk("size=20m")
    result = extract()
    assert (result.n_cached, result.n_embedded) == (n_stored, n - n_stored)
    assert stored_rows(Study.open(None)) == stored_rows(Study.open("calm.toml"))
    (check,) = verify()
    assert (check.is_whole, check.n_rows) == (True, n)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("disk/cache", "runs"), ("disk/cache/digests.sqlite cannot be ", "database or disk is full; make room")),
        (("cache", "disk/runs"), ("No space left on device", "; make room, and run again: what was done is kept")),
    ],
)
def test_a_disk_that_is_full_from_the_start(
    folders: tuple[str, str], expected: tuple[str, ...], home: Path, small_disk: Mount, fail_command: FailingCommand
) -> None:
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE + paths(*folders))
    (home / "disk" / "cache").mkdir()
    filler = fill_up(home / "disk")
    line = fail_command("extract")
    assert all(text in line for text in expected), line
    filler.unlink()
    assert exit_code("extract") == 0
    assert [(check.is_whole, check.n_rows) for check in verify()] == [(True, 48)]


def test_fitting_on_a_full_disk_fails_with_one_line(
    home: Path, small_disk: Mount, fail_command: FailingCommand
) -> None:
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE + paths("cache", "disk/runs"))
    small_disk("size=20m")
    assert exit_code("extract") == 0
    filler = fill_up(home / "disk")
    assert "No space left on device" in fail_command("fit", "--head", "logreg")
    filler.unlink()
    assert exit_code("fit", "--head", "logreg") == 0
