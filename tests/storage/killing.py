"""Work on caches for other processes, and extractions that are killed at random moments."""

import os
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from featx.cache.clearing import gc
from featx.cache.verification import verify
from featx.storage.checks import check_store, open_store
from featx.storage.compaction import compact
from featx.storage.leases import leftovers
from featx.study.study import Study
from tests.processes import enter_folder, kill_after, run_command, start_process
from tests.rows import stored_rows
from tests.storage.stores import DEVICE_ROWS, make_rows, open_toy_store

MAX_JOINED_BYTES = 600  # 50 rows


def fresh_rng() -> random.Random:
    """Return a generator whose seed is printed."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def add_rows(store: Path, firsts: Sequence[int], n: int) -> None:
    """Add n rows from each of some numbers on, by one handle that sees other writers only when it adds."""
    enter_folder(store.parents[1])
    writer = open_toy_store(store)
    for first in firsts:
        writer.add(*make_rows(n, first), DEVICE_ROWS, {})


def compact_store(store: Path, is_repeated: bool = False) -> None:
    """Compact a store to small segments; repeat it until the file ``over`` exists."""
    enter_folder(store.parents[1])
    while True:
        if store.exists():
            compact(open_store(store), max_segment_bytes=MAX_JOINED_BYTES)
        if not is_repeated or Path("over").exists():
            return


def clear_cache(folder: Path, is_repeated: bool = False) -> None:
    """Clear a cache with the runs beside it in sight; repeat it until the file ``over`` exists."""
    enter_folder(folder)
    while True:
        gc()
        if not is_repeated or Path("over").exists():
            return


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
    assert not kill_after(start_process(run_command, home, "extract"), 600)
    undisturbed_s, expected = time.perf_counter() - start, stored_rows(Study.open(None))
    assert len(expected) == n_images
    print(f"undisturbed: {undisturbed_s:.1f} s")
    while counts.n_kills < n_kills:
        for name in ("cache", "runs"):
            shutil.rmtree(home / name)
        counts.n_rounds, n_kills_before, seen_leftovers = counts.n_rounds + 1, counts.n_kills, set[str]()
        while kill_after(
            start_process(run_command, home, "extract"),
            rng.uniform(0, undisturbed_s) if counts.n_kills < n_kills else 600,
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
