"""Benchmark of a store of a million vectors against NumPy's memmap of the same rows in one file.

usage: python -m tests.benchmarks.storage [ROWS [ROUNDS]]

The store is written like by an extraction, in segments of 1,024 rows, and then compacted. Opening, 20,000 random rows
and a full pass are timed in turn with the memmap, with the pages of both in memory as far as they fit; the medians of
the rounds are printed. The memmap reads by row number; the store reads by digest and compares every checksum.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from featx.artifacts.header import commit
from featx.specs.embedding import EmbeddingSpec, Preprocessing
from featx.storage.compaction import compact
from featx.storage.store import EmbeddingStore

T = TypeVar("T")
D, SEGMENT_ROWS, N_READ, BLOCK_ROWS = 1280, 1024, 20_000, 4096
PREPROCESSING = Preprocessing(size_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SPEC = EmbeddingSpec(
    backbone="b", weights_sha256="0" * 64, tap="last", pool="avg", preprocessing=PREPROCESSING, dtype="float16"
)


def write(folder: Path, n: int) -> tuple[list[str], float]:
    """Write n vectors to a store and to a plain file; return their digests and the seconds of the store."""
    rng = np.random.default_rng(0)
    store, digests, elapsed_s = EmbeddingStore(folder / "b.zarr", SPEC, D), [], 0.0
    with (folder / "plain").open("wb") as plain_file:
        for start in range(0, n, SEGMENT_ROWS):
            x = rng.standard_normal((min(SEGMENT_ROWS, n - start), D), dtype=np.float32)
            names = [rng.bytes(16).hex() for _ in x]
            plain_file.write(x.astype(np.float16).tobytes())
            start_s = time.perf_counter()
            store.add(names, x, 32, {})
            elapsed_s += time.perf_counter() - start_s
            digests += names
    return digests, elapsed_s


def time_call(call: Callable[[], T]) -> tuple[T, float]:
    """Return the result of a call and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def measure(folder: Path, digests: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of memmap and store for each operation."""
    n, rng = len(digests), np.random.default_rng(1)
    times_s: dict[str, list[tuple[float, float]]] = {"open": [], "20,000 random rows": [], "full pass": []}
    for _ in range(rounds):
        memmap = np.memmap(folder / "plain", dtype="<f2", mode="r", shape=(n, D))
        store, opened_s = time_call(partial(EmbeddingStore, folder / "b.zarr", SPEC, D))
        rows_read = rng.choice(n, N_READ, replace=False)
        expected, memmap_s = time_call(partial(memmap.__getitem__, rows_read))
        rows, store_s = time_call(partial(store.read, [digests[row] for row in rows_read]))
        assert np.array_equal(expected, rows)
        times_s["open"].append((0.0, opened_s))
        times_s["20,000 random rows"].append((memmap_s, store_s))
        times_s["full pass"].append(
            (time_call(partial(read_blocks, memmap))[1], time_call(partial(read_segments, store))[1])
        )
    return {
        name: (median(plain_s for plain_s, _ in times), median(store_s for _, store_s in times))
        for name, times in times_s.items()
    }


def read_blocks(memmap: np.memmap) -> int:
    """Read all rows block by block, as is usual with a memmap; return their number."""
    return sum(len(np.array(memmap[start : start + BLOCK_ROWS])) for start in range(0, len(memmap), BLOCK_ROWS))


def read_segments(store: EmbeddingStore) -> int:
    """Read all rows segment by segment; return their number."""
    return sum(len(x) for _, x in store.blocks())


def main(n: int = 1_000_000, rounds: int = 5) -> None:
    """Print seconds, ratios and expected ratios, before and after the compaction."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        digests, written_s = write(folder, n)
        print(f"commit {commit()}, {os.cpu_count()} cores, {n} × {D} float16; written in {written_s:.1f} s")
        for state in ("as written", "compacted"):
            if state == "compacted":
                store = EmbeddingStore(folder / "b.zarr", SPEC, D)
                print(f"compacted in {time_call(partial(compact, store))[1]:.1f} s")
            n_segments = len(list((folder / "b.zarr").glob("segment-*")))
            for name, (memmap_s, store_s) in measure(folder, digests, rounds).items():
                ratio = (
                    f"memmap {memmap_s:.3f} s: {store_s / memmap_s:.2f} × its time"
                    if memmap_s
                    else "(expected: below .5 s)"
                )
                print(f"{state}, {n_segments} segments, {name:<19} {store_s:.3f} s {ratio}", flush=True)
    print("expected: 20,000 random rows at most 2.00 ×, a full pass at least .70 × its speed (1.43 × its time)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
