"""A million vectors in a store, against NumPy's memmap of the same rows in one file.

usage: python -m tests.benchmarks.storage [ROWS [ROUNDS]]

The store is written as an extraction writes it, in segments of 1,024 rows, and compacted. Opened, 20,000 random rows
and a full pass are timed in turn with the memmap, with the pages of both in memory as far as they fit, medians of the
rounds. The memmap is told which rows; the store is told their digests, and compares every checksum.
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
D, SEGMENT_ROWS, ASKED, BLOCK_ROWS = 1280, 1024, 20_000, 4096
SIZE = Preprocessing(size_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SPEC = EmbeddingSpec(backbone="b", weights_sha256="0" * 64, tap="last", pool="avg", preprocessing=SIZE, dtype="float16")


def write(folder: Path, n: int) -> tuple[list[str], float]:
    """Write n vectors to a store and to a plain file; return their digests and the seconds that the store took."""
    rng = np.random.default_rng(0)
    store, digests, spent = EmbeddingStore(folder / "b.zarr", SPEC, D), [], 0.0
    with (folder / "plain").open("wb") as plain:
        for start in range(0, n, SEGMENT_ROWS):
            x = rng.standard_normal((min(SEGMENT_ROWS, n - start), D), dtype=np.float32)
            names = [rng.bytes(16).hex() for _ in x]
            plain.write(x.astype(np.float16).tobytes())
            before = time.perf_counter()
            store.add(names, x, 32, {})
            spent += time.perf_counter() - before
            digests += names
    return digests, spent


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Return what a call returns, and the seconds that it takes."""
    before = time.perf_counter()
    found = call()
    return found, time.perf_counter() - before


def measure(folder: Path, digests: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of memmap and store for each thing that is timed."""
    n, rng = len(digests), np.random.default_rng(1)
    found: dict[str, list[tuple[float, float]]] = {"open": [], "20,000 random rows": [], "full pass": []}
    for _ in range(rounds):
        plain = np.memmap(folder / "plain", dtype="<f2", mode="r", shape=(n, D))
        store, opened_s = timed(partial(EmbeddingStore, folder / "b.zarr", SPEC, D))
        at = rng.choice(n, ASKED, replace=False)
        expected, memmap_s = timed(partial(plain.__getitem__, at))
        rows, store_s = timed(partial(store.read, [digests[one] for one in at]))
        assert np.array_equal(expected, rows)
        found["open"].append((0.0, opened_s))
        found["20,000 random rows"].append((memmap_s, store_s))
        found["full pass"].append((timed(partial(every_block, plain))[1], timed(partial(every_segment, store))[1]))
    return {name: (median(one for one, _ in times), median(one for _, one in times)) for name, times in found.items()}


def every_block(plain: np.memmap) -> int:
    """Bring all rows into memory, block by block, as people do with a memmap."""
    return sum(len(np.array(plain[start : start + BLOCK_ROWS])) for start in range(0, len(plain), BLOCK_ROWS))


def every_segment(store: EmbeddingStore) -> int:
    """Bring all rows into memory, segment by segment."""
    return sum(len(x) for _, x in store.blocks())


def main(n: int = 1_000_000, rounds: int = 5) -> None:
    """Print the seconds, ratios and what was asked for, before and after the segments are joined."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        digests, written_s = write(folder, n)
        print(f"commit {commit()}, {os.cpu_count()} cores, {n} × {D} float16; written in {written_s:.1f} s")
        for what in ("as written", "compacted"):
            if what == "compacted":
                store = EmbeddingStore(folder / "b.zarr", SPEC, D)
                print(f"compacted in {timed(partial(compact, store))[1]:.1f} s")
            n_segments = len(list((folder / "b.zarr").glob("segment-*")))
            for name, (theirs, ours) in measure(folder, digests, rounds).items():
                ratio = f"memmap {theirs:.3f} s: {ours / theirs:.2f} × its time" if theirs else "(asked: below .5 s)"
                print(f"{what}, {n_segments} segments, {name:<19} {ours:.3f} s {ratio}", flush=True)
    print("asked: 20,000 random rows at most 2.00 ×, a full pass at least .70 × its speed (1.43 × its time)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
