"""A cache that may only be read is read; one that is taken away under a running extraction is begun again."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from featx import extract
from featx.cache.verification import verify
from featx.embeddings import space
from featx.storage import shelves
from featx.storage.checks import open_store
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.rows import stored_rows
from tests.storage.conftest import Complaint, Mount, exit_code
from tests.storage.stores import DEVICE_ROWS, filled, left_by_dead_writer, numbered

ON_DISK = '\n[paths]\ncache = "disk/cache"\nruns = "runs"\n'
WIDE = '\n[[embedding]]\nbackbone = "toy"\nweights = "none"\npool = "max"\n'


@pytest.fixture
def read_only(home: Path, small_disk: Mount) -> Path:
    """A recipe that was extracted into a cache which may only be read since."""
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE + ON_DISK)
    small_disk("size=20m")
    assert exit_code("extract") == 0
    small_disk("ro")
    return home


def test_a_cache_that_may_only_be_read_serves_all_that_embeds_nothing_new(
    read_only: Path, complaint: Complaint
) -> None:
    shutil.copy("images/dark/000.png", "images/dark/copy.png")  # its digest cannot be remembered
    assert exit_code("extract") == 0
    assert len(stored_rows(Study.open(None))) == 49
    assert exit_code("fit", "--head", "logreg") == 0
    for command in ("ls", "verify"):
        assert exit_code("cache", command) == 0

    (read_only / "featx.toml").write_text(TOY_RECIPE + WIDE + ON_DISK)
    line = complaint("extract")
    assert line == (
        f"error: {read_only}/disk/cache is read-only, and 0.0 MB of vectors are missing: choose another cache "
        "(paths.cache), or change its permissions"
    )


def test_a_cache_that_may_only_be_read_and_remembers_no_digests_is_read(read_only: Path, small_disk: Mount) -> None:
    small_disk("rw")
    Path("disk/cache/digests.sqlite").unlink()
    small_disk("ro")
    done = extract()
    assert (done.n_cached, done.n_read) == (48, 48)
    assert not Path("disk/cache/digests.sqlite").exists()


def test_clearing_up_and_joining_what_may_only_be_read_is_one_line(
    read_only: Path, small_disk: Mount, complaint: Complaint
) -> None:
    assert exit_code("cache", "compact") == 0  # one segment: there is nothing to join
    assert exit_code("cache", "gc", "--yes") == 0
    small_disk("rw")
    store = next(Path("disk/cache").glob("*.zarr"))
    scattered = filled(Path("disk/cache/a-0123456789abcdef.zarr"))
    scattered.add(*numbered(3, 6), DEVICE_ROWS, {})
    left_by_dead_writer(store, *numbered(3), 7)
    small_disk("ro")
    assert "cannot take" in complaint("cache", "compact", "a-")
    assert complaint("cache", "gc", "--yes")


@pytest.mark.parametrize("number", sorted(shelves.FORBIDDEN))
def test_a_store_that_refuses_to_be_written_is_one_line(
    number: int, toy_home: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(shelves, "_write_through", refuse)
    line = complaint("extract")
    assert f"MB more ({os.strerror(number)}); what was stored before is kept: it may only be read: name" in line
    assert not list(Path("cache").rglob("segment-*"))
    monkeypatch.undo()
    monkeypatch.chdir(toy_home)
    assert exit_code("extract") == 0


def test_what_may_only_be_read_is_said_before_anything_is_embedded(
    toy_home: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    monkeypatch.setattr(space.os, "access", lambda place, mode: mode != os.W_OK)
    assert complaint("extract").startswith("error: cache is read-only, and 0.0 MB of vectors are missing: choose")


@pytest.mark.parametrize("gone", ["cache", "cache/*.zarr", "cache/*.zarr/segment-*"])
def test_what_is_removed_under_a_running_extraction_is_embedded_by_the_next_one(
    gone: str, home: Path, complaint: Complaint
) -> None:
    n = len(make_images(home / "images", n_each=100))
    engine = '\n[extraction]\nruntime = "torch"\nsegment_rows = 16\n'
    for name in ("calm", "featx"):
        paths = f'\n[paths]\ncache = "{name}"\nruns = "runs"\n' if name == "calm" else ""
        (home / f"{name}.toml").write_text(TOY_RECIPE + engine + paths)
    extract("calm.toml")
    removed: list[Path] = []

    def remove(stage: str, done: int, _total: int, _note: str = "") -> None:
        if stage == "embed" and done > n / 2 and not removed:
            removed.extend(home.glob(gone))
            for path in removed:
                shutil.rmtree(path)

    done = extract(progress=remove)

    assert removed
    assert done.n_embedded == n
    (found,) = verify()
    n_left = len(open_store(found.store))
    assert found.is_whole
    assert n / 4 < n_left < n
    assert "run 'featx extract'" in complaint("fit", "--head", "logreg")
    again = extract()
    assert (again.n_cached, again.n_embedded) == (n_left, n - n_left)
    assert stored_rows(Study.open(None)) == stored_rows(Study.open("calm.toml"))


def test_a_disk_that_refuses_is_named_by_its_own_words_where_nobody_knows_better(
    toy_home: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    def broken(path: Path, content: bytes) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(shelves, "_write_through", broken)
    assert "Input/output error" in complaint("extract")
