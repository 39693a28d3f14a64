"""A writer's name tells whether it lives; nobody is taken for dead because clocks differ."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx.cache.clearing import gc
from featx.files.atomic import machine, private_name, started, whole_file
from featx.storage.leases import LEASE_S, is_live, leftovers
from tests.storage.stores import filled, segments

OTHER_MACHINE = "0" * 8


def named(writer: str, folder: Path) -> Path:
    """Return a private folder with a file in it."""
    path = folder / f".toy.zarr.{writer}-0123abcd"
    (path / "x").mkdir(parents=True)
    (path / "x" / "zarr.json").write_text("{}")
    return path


def aged(path: Path, seconds: float) -> Path:
    """Let a folder and all in it have changed so long ago for the last time."""
    then = time.time() - seconds
    for one in (path, *path.rglob("*")):
        os.utime(one, (then, then))
    return path


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[bytes]]":
    """Another process of this machine."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield other
    other.kill()
    other.communicate()


def test_a_writer_of_this_machine_lives_as_long_as_its_process(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    since = started(process.pid)
    path = aged(named(f"{machine()}-{process.pid}-{since}", tmp_path), 100 * LEASE_S)
    assert is_live(path)
    assert leftovers(tmp_path) == []

    process.kill()
    deadline = time.monotonic() + 10
    while started(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert leftovers(tmp_path) == [path]  # though its parent has not noticed yet, and keeps the number
    process.wait()
    assert leftovers(tmp_path) == [path]


def test_a_process_that_has_a_dead_ones_number_is_another(tmp_path: Path, process: "subprocess.Popen[bytes]") -> None:
    path = named(f"{machine()}-{process.pid}-{int(started(process.pid)) - 1}", tmp_path)
    assert not is_live(path)


def test_this_process_lives_and_its_own_names_differ(tmp_path: Path) -> None:
    path = tmp_path / private_name("toy.zarr")
    path.mkdir()
    assert is_live(path)
    assert len({private_name("toy.zarr") for _ in range(100)}) == 100


def test_a_writer_of_another_machine_is_dead_when_nothing_has_changed_for_long(tmp_path: Path) -> None:
    path = aged(named(f"{OTHER_MACHINE}-1-1", tmp_path), LEASE_S + 60)
    assert leftovers(tmp_path) == [path]
    (path / "digest").write_text("")
    assert leftovers(tmp_path) == []
    aged(path, LEASE_S - 60)
    assert leftovers(tmp_path) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("wrong_s", [-1e9, -2 * LEASE_S, 2 * LEASE_S, 1e9])
def test_a_clock_that_is_set_makes_nobody_die_and_nobody_live(
    wrong_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = named(f"{OTHER_MACHINE}-1-1", tmp_path)
    dead = aged(named(f"{OTHER_MACHINE}-2-2", tmp_path), LEASE_S + 60)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + wrong_s)
    monkeypatch.setattr(time, "time_ns", lambda: int((now + wrong_s) * 1e9))
    assert leftovers(tmp_path) == [dead]
    assert is_live(live)


def test_a_writer_whose_server_is_ahead_lives(tmp_path: Path) -> None:
    assert is_live(aged(named(f"{OTHER_MACHINE}-1-1", tmp_path), -2 * LEASE_S))


def test_a_folder_that_is_published_while_it_is_looked_at_is_nobodys_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = aged(named(f"{OTHER_MACHINE}-1-1", tmp_path), 2 * LEASE_S)
    unlink = Path.unlink

    def publish(probe: Path, missing_ok: bool = False) -> None:
        unlink(probe, missing_ok)
        path.rename(tmp_path / "toy.zarr")

    monkeypatch.setattr(Path, "unlink", publish)
    assert is_live(path)


@pytest.mark.parametrize(
    "name",
    [".git", ".DS_Store", "..", ".toy.zarr.0123abcd", ".a.b-c-d-e", ".toy.1-2-3", "toy.zarr.00000000-1-1-0123abcd"],
)
def test_foreign_names_are_nobodys(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name != "..":
        aged(path / "x" if path.mkdir() else path, 100 * LEASE_S)
    assert not is_live(path)
    assert leftovers(tmp_path) == []


def test_all_that_dead_writers_left_in_a_cache_is_removed_and_nothing_else(home: Path) -> None:
    store = filled(Path("cache", "toy.zarr"))
    dead = f"{machine()}-{os.getpid()}-1"  # this process's number, of another time
    in_store = Path(str(store), f".zarr.json.{dead}-0123abcd")
    in_cache = Path("cache", f".paces.json.{dead}-0123abcd")
    for file in (in_store, in_cache, Path("cache", ".keep")):
        file.write_text("{}")
    folder = named(dead, Path("cache"))
    with whole_file(Path("cache", "trials.json")) as live:
        live.write_text("{}")
        told = gc(dry_run=True)
        assert folder.exists()
        done = gc()
        assert live.exists()
    assert sorted(done.leftovers) == sorted(path.name for path in (in_store, in_cache, folder))
    assert (told.leftovers, told.is_removed, done.is_removed) == (done.leftovers, False, True)
    assert sorted(path.name for path in Path("cache").iterdir()) == [".keep", "toy.zarr", "trials.json"]
    assert {path.name for path in Path(str(store)).iterdir()} == {"zarr.json", *(one.name for one in segments(store))}
