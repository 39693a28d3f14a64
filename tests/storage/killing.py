"""Processes that run a command or a function, and are killed at random moments with all that they started."""

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
from featx.storage.checks import check, open_store
from featx.storage.compaction import compact
from featx.storage.leases import leftovers
from featx.study.study import Study
from tests.rows import stored_rows
from tests.storage.stores import DEVICE_ROWS, numbered, opened

ROOT = Path(__file__).parents[2]
FORKS = get_context("forkserver")  # imports once what many processes need
FORKS.set_forkserver_preload(["tests.conftest", "featx.cli.main", "featx.embeddings.extract", __name__])
JOINED_BYTES = 600  # 50 rows


def fresh_rng() -> random.Random:
    """Return a generator whose seed is printed."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def begun(call: Callable[..., None], *args: object) -> BaseProcess:
    """Start a function in a process of its own."""
    process = FORKS.Process(target=call, args=args)
    with pytest.MonkeyPatch.context() as patch:  # the fork server of Python 3.11 is not told sys.path
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        process.start()
    return process


def kill(process: BaseProcess) -> None:
    """Kill a process and all that it started."""
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has no group of its own yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    for semaphore in Path("/dev/shm").glob(f"sem.loky-{process.pid}-*"):
        semaphore.unlink()  # loky's tracker would have, and was killed as well


def killed_at(process: BaseProcess, moment_s: float) -> bool:
    """Kill a process at a moment; return whether it was still at work, and so did not end by itself."""
    process.join(moment_s)
    if process.exitcode is not None:
        assert process.exitcode == 0
        return False
    kill(process)
    return True


def command(folder: Path, *words: str, to: int | None = None) -> None:
    """Run the command line in a folder, as it is once all is imported; what it says goes to ``said.txt``, or `to`."""
    _enter(folder, to)
    from featx.cli.main import main

    sys.argv = ["featx", *words]
    try:
        main()
    except SystemExit as stop:
        os._exit(int(stop.code or 0))  # multiprocessing does not end loky's threads, and would wait for them
    os._exit(0)


def said(folder: Path, *words: str, most_bytes: int | None = None) -> tuple[int, str]:
    """Run the command line in a process whose files may not grow beyond some bytes; return its code and all it says."""
    reader, writer = FORKS.Pipe(duplex=False)
    process = begun(_limited, folder, writer, most_bytes, *words)
    writer.close()
    process.join()
    text = os.read(reader.fileno(), 1 << 20).decode()  # no more than a pipe holds
    assert process.exitcode is not None
    return process.exitcode, text


def _limited(folder: Path, writer: Connection, most_bytes: int | None, *words: str) -> None:
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    command(folder, *words, to=writer.fileno())


def adding(store: Path, firsts: Sequence[int], n: int) -> None:
    """Add n rows from each of some numbers on, by a handle that learns of others only as it adds."""
    _enter(store.parents[1])
    own = opened(store)
    for first in firsts:
        own.add(*numbered(n, first), DEVICE_ROWS, {})


def joining(store: Path, again: bool = False) -> None:
    """Join a store's segments, a few rows to each; again until the file ``over`` is there."""
    _enter(store.parents[1])
    while True:
        if store.exists():
            compact(open_store(store), most_bytes=JOINED_BYTES)
        if not again or Path("over").exists():
            return


def clearing(folder: Path, again: bool = False) -> None:
    """Clear up a cache, the runs beside it in sight; again until the file ``over`` is there."""
    _enter(folder)
    while True:
        gc()
        if not again or Path("over").exists():
            return


def _enter(folder: Path, to: int | None = None) -> None:
    """Make this process the first of a group, quiet, in a folder, with nothing from the environment."""
    os.setsid()
    os.chdir(folder)
    for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
        os.environ.pop(variable, None)
    with Path("said.txt").open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno() if to is None else to, stream)


@dataclass
class Told:
    """What became of extractions that were killed.

    Attributes
    ----------
    n_kills, n_rounds
        Kills, and extractions from nothing to the end among which they fell.
    n_hit_writing, n_hit_storing
        Kills that left something half-written, and of these those that left a part of a segment.
    """

    n_kills: int = 0
    n_rounds: int = 0
    n_hit_writing: int = 0
    n_hit_storing: int = 0


def check_killed_extractions(home: Path, n_kills: int, n_images: int, segment_rows: int) -> Told:
    """Extract by ``featx.toml`` once undisturbed, then kill at random moments, resume, and compare, again and again.

    Parameters
    ----------
    home
        The working directory: it holds the recipe, and gets ``cache`` and ``runs``.
    segment_rows
        As the recipe has it.
    """
    begun(os.getpid).join()  # what all processes share is imported now
    rng, told, start = fresh_rng(), Told(), time.perf_counter()
    assert not killed_at(begun(command, home, "extract"), 600)
    calm_s, calm = time.perf_counter() - start, stored_rows(Study.open(None))
    assert len(calm) == n_images
    print(f"undisturbed: {calm_s:.1f} s")
    while told.n_kills < n_kills:
        for name in ("cache", "runs"):
            shutil.rmtree(home / name)
        told.n_rounds, before, known = told.n_rounds + 1, told.n_kills, set[str]()
        while killed_at(begun(command, home, "extract"), rng.uniform(0, calm_s) if told.n_kills < n_kills else 600):
            told.n_kills += 1
            left = {path.name for path in leftovers(home / "cache")} - known
            known |= left
            told.n_hit_writing += bool(left)
            told.n_hit_storing += any(".zarr." in name for name in left)
            assert all(check(store).is_whole for store in (home / "cache").glob("*.zarr"))
        _check_whole(home, calm, (told.n_kills - before) * segment_rows)
    return told


def _check_whole(home: Path, calm: dict[str, bytes], most_again: int) -> None:
    """Compare an extraction that came to its end with an undisturbed one."""
    outcomes = pd.read_parquet(home / "runs" / "featx" / "outcomes.parquet")
    assert sorted(outcomes["id"]) == sorted(calm)
    assert set(outcomes["outcome"]) <= {"embedded", "cached"}
    assert stored_rows(Study.open(None)) == calm
    (found,) = verify()
    assert found.is_whole
    assert len(calm) <= found.n_rows <= len(calm) + most_again
    assert len(open_store(found.store)) == len(calm)
    left = leftovers(home / "cache")
    assert sorted(gc().leftovers) == sorted(path.name for path in left)
    assert leftovers(home / "cache") == []
    assert stored_rows(Study.open(None)) == calm
