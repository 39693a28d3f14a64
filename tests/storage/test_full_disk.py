"""A disk that takes nothing more: one clear line, what was stored stays, and the rest is done when there is room."""

import os
from pathlib import Path

import pytest

from featx import extract
from featx.cache.verification import verify
from featx.storage.checks import open_store
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.rows import stored_rows
from tests.storage.conftest import Complaint, Mount, exit_code
from tests.storage.killing import said

ENGINE = '\n[extraction]\nruntime = "torch"\nworkers = 1\nsegment_rows = 16\n'
WIDE = '\n[[embedding]]\nbackbone = "toy"\nweights = "none"\npool = "flatten"\n'


def paths(cache: str, runs: str) -> str:
    return f'\n[paths]\ncache = "{cache}"\nruns = "{runs}"\n'


def fill_up(folder: Path) -> Path:
    """Write a file that leaves no room; return it."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    os.write(file.fileno(), bytes(size))
            except OSError:
                continue
    return filler


def the_line(code: int, text: str) -> str:
    """Return the one line that a command failed with."""
    assert code == 1, text
    assert "Traceback" not in text
    (found,) = [line for line in text.splitlines() if line.startswith("error: ")]
    return found


def test_files_that_may_not_grow_end_an_extraction_with_one_line_and_it_goes_on_later(home: Path) -> None:
    make_images(home / "images", n_each=100)
    (home / "featx.toml").write_text(TOY_RECIPE)
    assert "digests.sqlite cannot be written: " in the_line(*said(home, "extract", most_bytes=9000))
    extract()
    before = stored_rows(Study.open(None))
    (home / "featx.toml").write_text(TOY_RECIPE + WIDE)
    line = the_line(*said(home, "extract", most_bytes=12_000))
    assert "cannot take" in line
    assert "(File too large); what was stored before is kept: make room, or name another cache (paths.cache)" in line
    assert [one.is_whole for one in verify()] == [True] * len(list(Path("cache").glob("*.zarr")))
    (home / "featx.toml").write_text(TOY_RECIPE)
    assert stored_rows(Study.open(None)) == before
    line = the_line(*said(home, "extract", most_bytes=3000))  # nothing to embed: tables of the run folder are written
    assert line.endswith("; make room, and run again: what was done is kept"), line
    assert stored_rows(Study.open(None)) == before
    (home / "featx.toml").write_text(TOY_RECIPE + WIDE)
    code, text = said(home, "extract")
    assert code == 0, text
    assert all(one.is_whole and one.n_rows == 200 for one in verify())


def test_a_disk_that_becomes_full_in_the_middle(home: Path, small_disk: Mount, complaint: Complaint) -> None:
    n = len(make_images(home / "images", n_each=100))
    (home / "calm.toml").write_text(TOY_RECIPE + ENGINE)
    extract("calm.toml")
    (home / "featx.toml").write_text(TOY_RECIPE + ENGINE + paths("disk/cache", "runs"))

    line = complaint("extract")

    assert "MB more (No space left on device); what was stored before is kept: make room" in line
    (found,) = verify()
    n_kept = len(open_store(found.store))
    assert found.is_whole
    assert 0 < n_kept < n
    assert not list((home / "disk" / "cache").glob(".*.zarr.*"))
    small_disk("size=20m")
    done = extract()
    assert (done.n_cached, done.n_embedded) == (n_kept, n - n_kept)
    assert stored_rows(Study.open(None)) == stored_rows(Study.open("calm.toml"))
    (found,) = verify()
    assert (found.is_whole, found.n_rows) == (True, n)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (("disk/cache", "runs"), ("disk/cache/digests.sqlite cannot be ", "database or disk is full; make room")),
        (("cache", "disk/runs"), ("No space left on device", "; make room, and run again: what was done is kept")),
    ],
)
def test_a_disk_that_is_full_from_the_start(
    where: tuple[str, str], expected: tuple[str, ...], home: Path, small_disk: Mount, complaint: Complaint
) -> None:
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE + paths(*where))
    (home / "disk" / "cache").mkdir()
    filler = fill_up(home / "disk")
    line = complaint("extract")
    assert all(text in line for text in expected), line
    filler.unlink()
    assert exit_code("extract") == 0
    assert [(one.is_whole, one.n_rows) for one in verify()] == [(True, 48)]


def test_heads_on_a_full_disk_are_one_line_and_fitted_when_there_is_room(
    home: Path, small_disk: Mount, complaint: Complaint
) -> None:
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE + paths("cache", "disk/runs"))
    small_disk("size=20m")
    assert exit_code("extract") == 0
    filler = fill_up(home / "disk")
    assert "No space left on device" in complaint("fit", "--head", "logreg")
    filler.unlink()
    assert exit_code("fit", "--head", "logreg") == 0
