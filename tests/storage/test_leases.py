"""A private name tells whether its writer is alive, independent of clocks."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx.cache.clearing import gc
from featx.files.atomic import atomic_file, machine_id, private_name, process_start_ticks
from featx.storage.leases import LEASE_S, atomic_output, is_live, leftovers, remove_leftovers
from tests.processes import killed_at_end, start_script, wait_until
from tests.storage.stores import make_store, segments

OTHER_MACHINE = "0" * 8


def make_private_folder(writer: str, folder: Path) -> Path:
    """Create a private folder of a writer with a file in it."""
    path = folder / f".toy.zarr.{writer}-0123abcd"
    (path / "x").mkdir(parents=True)
    (path / "x" / "zarr.json").write_text("{}")
    return path


def set_age(path: Path, seconds: float) -> Path:
    """Set the times of a folder and of all files in it to some seconds ago."""
    time_s = time.time() - seconds
    for file in (path, *path.rglob("*")):
        os.utime(file, (time_s, time_s))
    return path


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[str]]":
    """Start another process on this machine."""
    with killed_at_end(start_script("input()", stdin=subprocess.PIPE)) as child:
        yield child


def test_a_writer_of_this_machine_is_alive_while_its_process_runs(
    tmp_path: Path, process: "subprocess.Popen[str]"
) -> None:
    since = process_start_ticks(process.pid)
    path = set_age(make_private_folder(f"{machine_id()}-{process.pid}-{since}", tmp_path), 100 * LEASE_S)
    assert is_live(path)
    assert leftovers(tmp_path) == []

    process.kill()
    assert wait_until(lambda: not process_start_ticks(process.pid))
    assert leftovers(tmp_path) == [path]  # though its parent has not noticed yet, and keeps the number
    process.wait()
    assert leftovers(tmp_path) == [path]


def test_a_process_with_the_id_of_a_dead_one_is_another(tmp_path: Path, process: "subprocess.Popen[str]") -> None:
    path = make_private_folder(f"{machine_id()}-{process.pid}-{int(process_start_ticks(process.pid)) - 1}", tmp_path)
    assert not is_live(path)


def test_this_process_is_alive_and_its_private_names_differ(tmp_path: Path) -> None:
    path = tmp_path / private_name("toy.zarr")
    path.mkdir()
    assert is_live(path)
    assert len({private_name("toy.zarr") for _ in range(100)}) == 100


def test_a_writer_of_another_machine_is_dead_after_its_lease(tmp_path: Path) -> None:
    path = set_age(make_private_folder(f"{OTHER_MACHINE}-1-1", tmp_path), LEASE_S + 60)
    assert leftovers(tmp_path) == [path]
    (path / "digest").write_text("")
    assert leftovers(tmp_path) == []
    set_age(path, LEASE_S - 60)
    assert leftovers(tmp_path) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("wrong_s", [-1e9, -2 * LEASE_S, 2 * LEASE_S, 1e9])
def test_a_changed_clock_does_not_change_which_writers_are_alive(
    wrong_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = make_private_folder(f"{OTHER_MACHINE}-1-1", tmp_path)
    dead = set_age(make_private_folder(f"{OTHER_MACHINE}-2-2", tmp_path), LEASE_S + 60)
    true_time = time.time()
    monkeypatch.setattr(time, "time", lambda: true_time + wrong_s)
    monkeypatch.setattr(time, "time_ns", lambda: int((true_time + wrong_s) * 1e9))
    assert leftovers(tmp_path) == [dead]
    assert is_live(live)


def test_a_writer_whose_server_clock_is_ahead_is_alive(tmp_path: Path) -> None:
    assert is_live(set_age(make_private_folder(f"{OTHER_MACHINE}-1-1", tmp_path), -2 * LEASE_S))


def test_the_writer_of_a_folder_that_is_being_published_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = set_age(make_private_folder(f"{OTHER_MACHINE}-1-1", tmp_path), 2 * LEASE_S)
    unlink = Path.unlink

    def publish(probe: Path, missing_ok: bool = False) -> None:
        unlink(probe, missing_ok)
        path.rename(tmp_path / "toy.zarr")

    monkeypatch.setattr(Path, "unlink", publish)
    assert is_live(path)


@pytest.mark.parametrize(
    "name",
    [
        *(".git", ".DS_Store", "..", ".toy.zarr.0123abcd", ".a.b-c-d-e", ".toy.1-2-3"),
        *("toy.zarr.00000000-1-1-0123abcd", ".backup-2024-11-30", ".old-2024-11-30", ".notes.copy-2024-11-30"),
        *("..00000000-1-1-0123abcd", ".toy.0000000-1-1-0123abcd", ".toy.00000000-1-1-0123abcd.png"),
    ],
)
def test_foreign_names_have_no_writer(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name != "..":
        set_age(path / "x" if path.mkdir() else path, 100 * LEASE_S)
    assert not is_live(path)
    assert leftovers(tmp_path) == []
    remove_leftovers(tmp_path)
    assert path.exists()


def test_a_writer_whose_start_is_not_known_is_dead_after_its_lease(tmp_path: Path) -> None:
    path = make_private_folder(f"{machine_id()}-{2**22 - 1}-", tmp_path)
    assert is_live(path)
    set_age(path, LEASE_S + 60)
    assert leftovers(tmp_path) == [path]


REPLACE_AND_DIE = """
import os, sys
from pathlib import Path
from featx.files import atomic
folder = Path(sys.argv[1])
with atomic.atomic_folder(folder) as private:
    (private / "new").write_text("")
    rename = Path.rename
    def die(path, target):
        if path == private and not folder.exists():
            os.kill(os.getpid(), 9)
        return rename(path, target)
    Path.rename = die
"""


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_folder_whose_replacement_was_killed_gets_its_name_back(tmp_path: Path, is_made_again: bool) -> None:
    folder = tmp_path / "svm-class-0a1b2c3d"
    folder.mkdir()
    (folder / "old").write_text("")
    process = start_script(REPLACE_AND_DIE, str(folder))
    assert process.wait() == -9
    assert not folder.exists()
    if is_made_again:
        folder.mkdir()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert (folder / "old").exists() is not is_made_again


def test_leftovers_of_killed_writers_of_a_file_are_removed(tmp_path: Path) -> None:
    dead, start = f"{machine_id()}-{os.getpid()}-1", process_start_ticks(os.getpid())
    leftover = tmp_path / f".p.csv.{dead}-0123abcd"
    others = [".q.csv." + dead + "-0123abcd", f".p.csv.{machine_id()}-{os.getpid()}-{start}-0123abcd", ".p.csv.bak"]
    for path in (leftover, *(tmp_path / name for name in others)):
        path.write_text("x")
    with atomic_output(tmp_path / "p.csv") as private:
        private.write_text("y")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "p.csv"])


def test_gc_removes_all_leftovers_and_nothing_else(home: Path) -> None:
    store = make_store(Path("cache", "toy.zarr"))
    dead = f"{machine_id()}-{os.getpid()}-1"  # this process's number, of another time
    in_store = Path(str(store), f".zarr.json.{dead}-0123abcd")
    in_cache = Path("cache", f".throughputs.json.{dead}-0123abcd")
    for file in (in_store, in_cache, Path("cache", ".keep")):
        file.write_text("{}")
    folder = make_private_folder(dead, Path("cache"))
    with atomic_file(Path("cache", "benchmarks.json")) as live:
        live.write_text("{}")
        plan = gc(dry_run=True)
        assert folder.exists()
        result = gc()
        assert live.exists()
    assert sorted(result.leftovers) == sorted(path.name for path in (in_store, in_cache, folder))
    assert (plan.leftovers, plan.is_removed, result.is_removed) == (result.leftovers, False, True)
    assert sorted(path.name for path in Path("cache").iterdir()) == [".keep", "benchmarks.json", "toy.zarr"]
    assert {path.name for path in Path(str(store)).iterdir()} == {
        "zarr.json",
        *(segment.name for segment in segments(store)),
    }
