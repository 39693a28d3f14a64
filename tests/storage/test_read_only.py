"""Read-only caches, and caches that are removed during an extraction."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from featx import extract
from featx.cache.verification import verify
from featx.embeddings import space
from featx.storage import segment_store
from featx.storage.checks import open_store
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.rows import stored_rows
from tests.storage.conftest import FailingCommand, Mount, exit_code
from tests.storage.stores import DEVICE_ROWS, leave_incomplete_segment, make_rows, make_store

ON_DISK = '\n[paths]\ncache = "disk/cache"\nruns = "runs"\n'
WIDE = '\n[[embedding]]\nbackbone = "toy"\nweights = "none"\npool = "max"\n'


@pytest.fixture
def read_only(home: Path, small_disk: Mount) -> Path:
    """Extract a recipe into a cache and make the cache read-only; return the working directory."""
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE + ON_DISK)
    small_disk("size=20m")
    assert exit_code("extract") == 0
    small_disk("ro")
    return home


def test_a_read_only_cache_serves_commands_that_embed_nothing(read_only: Path, fail_command: FailingCommand) -> None:
    shutil.copy("images/dark/000.png", "images/dark/copy.png")  # its digest cannot be remembered
    assert exit_code("extract") == 0
    assert len(stored_rows(Study.open(None))) == 49
    assert exit_code("fit", "--head", "logreg") == 0
    for command in ("ls", "verify"):
        assert exit_code("cache", command) == 0

    (read_only / "featx.toml").write_text(TOY_RECIPE + WIDE + ON_DISK)
    line = fail_command("extract")
    assert line == (
        f"error: {read_only}/disk/cache is read-only, and 0.0 MB of vectors are missing: choose another cache "
        "(paths.cache), or change its permissions"
    )


def test_a_read_only_cache_without_digests_is_read(read_only: Path, small_disk: Mount) -> None:
    small_disk("rw")
    Path("disk/cache/digests.sqlite").unlink()
    small_disk("ro")
    result = extract()
    assert (result.n_cached, result.n_read) == (48, 48)
    assert not Path("disk/cache/digests.sqlite").exists()


def test_gc_and_compact_of_a_read_only_cache_fail_with_one_line(
    read_only: Path, small_disk: Mount, fail_command: FailingCommand
) -> None:
    assert exit_code("cache", "compact") == 0  # one segment: there is nothing to join
    assert exit_code("cache", "gc", "--yes") == 0
    small_disk("rw")
    store = next(Path("disk/cache").glob("*.zarr"))
    scattered = make_store(Path("disk/cache/a-0123456789abcdef.zarr"))
    scattered.add(*make_rows(3, 6), DEVICE_ROWS, {})
    leave_incomplete_segment(store, *make_rows(3), 7)
    small_disk("ro")
    assert "cannot take" in fail_command("cache", "compact", "a-")
    assert fail_command("cache", "gc", "--yes")


@pytest.mark.parametrize("number", sorted(segment_store.READ_ONLY_ERRNOS))
def test_a_refused_write_is_reported_in_one_line(
    number: int, toy_home: Path, monkeypatch: pytest.MonkeyPatch, fail_command: FailingCommand
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(segment_store, "_write_flushed", refuse)
    line = fail_command("extract")
    assert f"MB more ({os.strerror(number)}); stored rows are kept: it may only be read: name" in line
    assert not list(Path("cache").rglob("segment-*"))
    monkeypatch.undo()
    monkeypatch.chdir(toy_home)
    assert exit_code("extract") == 0


def test_a_read_only_cache_is_reported_before_anything_is_embedded(
    toy_home: Path, monkeypatch: pytest.MonkeyPatch, fail_command: FailingCommand
) -> None:
    monkeypatch.setattr(space.os, "access", lambda place, mode: mode != os.W_OK)
    assert fail_command("extract").startswith("error: cache is read-only, and 0.0 MB of vectors are missing: choose")


@pytest.mark.parametrize("pattern", ["cache", "cache/*.zarr", "cache/*.zarr/segment-*"])
def test_rows_removed_during_an_extraction_are_embedded_by_the_next_one(
    pattern: str, home: Path, fail_command: FailingCommand
) -> None:
    n = len(make_images(home / "images", n_each=100))
    engine = '\n[extraction]\nruntime = "torch"\nsegment_rows = 16\n'
    for name in ("calm", "featx"):
        paths = f'\n[paths]\ncache = "{name}"\nruns = "runs"\n' if name == "calm" else ""
        (home / f"{name}.toml").write_text(TOY_RECIPE + engine + paths)
    extract("calm.toml")
    removed_paths: list[Path] = []

    def remove(stage: str, n_done: int, _total: int, _note: str = "") -> None:
        if stage == "embed" and n_done > n / 2 and not removed_paths:
            removed_paths.extend(home.glob(pattern))
            for path in removed_paths:
                shutil.rmtree(path)

    result = extract(progress=remove)

    assert removed_paths
    assert result.n_embedded == n
    (check,) = verify()
    n_stored = len(open_store(check.store))
    assert check.is_whole
    assert n / 4 < n_stored < n
    assert "run 'featx extract'" in fail_command("fit", "--head", "logreg")
    second = extract()
    assert (second.n_cached, second.n_embedded) == (n_stored, n - n_stored)
    assert stored_rows(Study.open(None)) == stored_rows(Study.open("calm.toml"))


def test_other_errors_of_the_disk_are_reported_unchanged(
    toy_home: Path, monkeypatch: pytest.MonkeyPatch, fail_command: FailingCommand
) -> None:
    def broken(path: Path, content: bytes) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(segment_store, "_write_flushed", broken)
    assert "Input/output error" in fail_command("extract")
