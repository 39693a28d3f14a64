"""Processes that run a command or a function and are killed at random moments, with all their children."""

import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest

from featx.cache.clearing import gc
from featx.cache.verification import verify
from featx.storage.checks import check_store, open_store
from featx.storage.compaction import compact
from featx.storage.leases import leftovers
from featx.study.study import Study
from tests.rows import stored_rows
from tests.storage.stores import DEVICE_ROWS, make_rows, open_toy_store

ROOT = Path(__file__).parents[2]
# The fork server imports modules once for all processes.
FORK_CONTEXT = get_context("forkserver")
FORK_CONTEXT.set_forkserver_preload(["tests.conftest", "featx.cli.main", "featx.embeddings.extract", __name__])
MAX_JOINED_BYTES = 600  # 50 rows


def fresh_rng() -> random.Random:
    """Return a generator whose seed is printed."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def start_process(call: Callable[..., None], *args: object) -> BaseProcess:
    """Start a function in its own process."""
    process = FORK_CONTEXT.Process(target=call, args=args)
    with pytest.MonkeyPatch.context() as patch:  # the fork server of Python 3.11 is not told sys.path
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        process.start()
    return process


def kill(process: BaseProcess) -> None:
    """Kill a process and all its children."""
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has no group of its own yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    for semaphore in Path("/dev/shm").glob(f"sem.loky-{process.pid}-*"):
        semaphore.unlink()  # loky's tracker would have, and was killed as well


def kill_after(process: BaseProcess, moment_s: float) -> bool:
    """Kill a process after some seconds; return whether it was still running."""
    process.join(moment_s)
    if process.exitcode is not None:
        assert process.exitcode == 0
        return False
    kill(process)
    return True


def command(folder: Path, *words: str, output: int | None = None) -> None:
    """Run the command line in a folder; its output goes to ``output.txt``, or to the file descriptor `output`."""
    _enter(folder, output)
    from featx.cli.main import main

    sys.argv = ["featx", *words]
    try:
        main()
    except SystemExit as stop:
        os._exit(int(stop.code or 0))  # multiprocessing does not end loky's threads, and would wait for them
    os._exit(0)


def run_limited(folder: Path, *words: str, max_file_bytes: int | None = None) -> tuple[int, str]:
    """Run the command line in a process with a maximum file size; return its exit code and output."""
    reader, writer = FORK_CONTEXT.Pipe(duplex=False)
    process = start_process(_limited, folder, writer, max_file_bytes, *words)
    writer.close()
    process.join()
    text = os.read(reader.fileno(), 1 << 20).decode()  # no more than a pipe holds
    assert process.exitcode is not None
    return process.exitcode, text


def _limited(folder: Path, writer: Connection, max_file_bytes: int | None, *words: str) -> None:
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    command(folder, *words, output=writer.fileno())


def add_rows(store: Path, firsts: Sequence[int], n: int) -> None:
    """Add n rows from each of some numbers on, by one handle that sees other writers only when it adds."""
    _enter(store.parents[1])
    own = open_toy_store(store)
    for first in firsts:
        own.add(*make_rows(n, first), DEVICE_ROWS, {})


def compact_store(store: Path, again: bool = False) -> None:
    """Compact a store to small segments; repeat it until the file ``over`` exists."""
    _enter(store.parents[1])
    while True:
        if store.exists():
            compact(open_store(store), max_segment_bytes=MAX_JOINED_BYTES)
        if not again or Path("over").exists():
            return


def clear_cache(folder: Path, again: bool = False) -> None:
    """Clear a cache with the runs beside it in sight; repeat it until the file ``over`` exists."""
    _enter(folder)
    while True:
        gc()
        if not again or Path("over").exists():
            return


def _enter(folder: Path, output: int | None = None) -> None:
    """Make this process the leader of a group, in a folder, without featx's environment variables."""
    os.setsid()
    os.chdir(folder)
    for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
        os.environ.pop(variable, None)
    with Path("output.txt").open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno() if output is None else output, stream)


@dataclass
class KillCounts:
    """Counts of killed extractions.

    Attributes
    ----------
    n_kills, n_rounds
        Number of kills, and of complete extractions among which they were spread.
    n_hit_writing, n_hit_storing
        Number of kills that left incomplete files, and of those that left an incomplete segment.
    """

    n_kills: int = 0
    n_rounds: int = 0
    n_hit_writing: int = 0
    n_hit_storing: int = 0


def check_killed_extractions(home: Path, n_kills: int, n_images: int, segment_rows: int) -> KillCounts:
    """Extract ``featx.toml`` once without kills, then repeatedly kill, resume and compare the rows.

    Parameters
    ----------
    home
        The working directory with the recipe, where ``cache`` and ``runs`` are written.
    n_kills
        Number of kills.
    n_images
        Number of images of the recipe.
    segment_rows
        Number of rows of a segment in the recipe.
    """
    start_process(os.getpid).join()  # what all processes share is imported now
    rng, counts, start = fresh_rng(), KillCounts(), time.perf_counter()
    assert not kill_after(start_process(command, home, "extract"), 600)
    undisturbed_s, expected = time.perf_counter() - start, stored_rows(Study.open(None))
    assert len(expected) == n_images
    print(f"undisturbed: {undisturbed_s:.1f} s")
    while counts.n_kills < n_kills:
        for name in ("cache", "runs"):
            shutil.rmtree(home / name)
        counts.n_rounds, n_kills_before, seen_leftovers = counts.n_rounds + 1, counts.n_kills, set[str]()
        while kill_after(
            start_process(command, home, "extract"), rng.uniform(0, undisturbed_s) if counts.n_kills < n_kills else 600
        ):
            counts.n_kills += 1
            new_leftovers = {path.name for path in leftovers(home / "cache")} - seen_leftovers
            seen_leftovers |= new_leftovers
            counts.n_hit_writing += bool(new_leftovers)
            counts.n_hit_storing += any(".zarr." in name for name in new_leftovers)
            assert all(check_store(store).is_whole for store in (home / "cache").glob("*.zarr"))
        _check_extraction(home, expected, (counts.n_kills - n_kills_before) * segment_rows)
    return counts


def _check_extraction(home: Path, expected: dict[str, bytes], max_duplicates: int) -> None:
    """Compare a finished extraction with the one without kills."""
    outcomes = pd.read_parquet(home / "runs" / "featx" / "outcomes.parquet")
    assert sorted(outcomes["id"]) == sorted(expected)
    assert set(outcomes["outcome"]) <= {"embedded", "cached"}
    assert stored_rows(Study.open(None)) == expected
    (result,) = verify()
    assert result.is_whole
    assert len(expected) <= result.n_rows <= len(expected) + max_duplicates
    assert len(open_store(result.store)) == len(expected)
    remaining = leftovers(home / "cache")
    assert sorted(gc().leftovers) == sorted(path.name for path in remaining)
    assert leftovers(home / "cache") == []
    assert stored_rows(Study.open(None)) == expected
