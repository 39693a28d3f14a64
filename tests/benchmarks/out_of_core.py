"""Heads that learn from 500,000 × 256 rows in the store: memory, and accuracy beside the same heads in memory.

usage: python -m tests.benchmarks.out_of_core [ROWS [HEAD…]]

The rows (float32, two classes, a linear and a curved part, noise) are written into an embedding store in segments of
8,192, class by class. Then each head learns in a process of its own: from the store in passes (five folds and all,
calibrated, as ``featx fit`` does with ``memory_gb``); and once more by plain scikit-learn or XGBoost with
all rows in memory. Both answer 50,000 rows that neither saw.

Memory is RssAnon of /proc/self/status, read every 20 ms by a thread: anonymous pages that are resident, in which files
that are mapped do not count. The baseline is read once all packages are imported and threads of XGBoost and BLAS are
started by a fit of 100 rows; what is told is the highest reading minus that, and the baseline itself. Digests and the
index of the store are part of what is told.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.artifacts.header import commit
from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head, HeadTask
from featx.heads.out_of_core.fit_out_of_core import fit_stored_rows
from featx.heads.out_of_core.stored_rows import StoredRows
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.embedding import EmbeddingSpec, Preprocessing
from featx.specs.head import HeadSpec
from featx.storage.store import EmbeddingStore
from featx.tables.target_values import TargetValues

D, N_NEW, SEGMENT = 256, 50_000, 8_192
MOST_SHARE, MOST_LOSS = 0.25, 0.005
HALF = (0.5, 0.5, 0.5)
SPEC = EmbeddingSpec(
    backbone="toy", weights_sha256="", tap="0", pool="avg", preprocessing=Preprocessing(size_px=8, mean=HALF, std=HALF)
)
BOOSTED = {"max_depth": 4, "learning_rate": 0.2, "subsample": 0.8, "colsample_bytree": 0.3, "n_estimators": 50}
SETTINGS: dict[str, dict[str, Any]] = {
    "logreg": {"scaling": "standard", "alpha": 1e-5},
    "svm": {"scaling": "standard", "alpha": 1e-5},
    "xgboost": BOOSTED,
}


def rows_of(codes: np.ndarray, seed: int) -> np.ndarray:
    """Return (n, d) rows for some classes: each block from a generator of its own."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(codes), D)).astype(np.float32)
    x[:, :32] += 0.12 * (2 * codes[:, None] - 1)
    x[:, 32:40] *= 1 + 0.25 * codes[:, None]  # what only trees see
    return x * 2 + 3


def codes_of(n: int) -> np.ndarray:
    """Return n classes, sorted: as a store is filled folder by folder."""
    return (np.arange(n) >= n // 2).astype(np.int64)


def write(folder: Path, n: int) -> None:
    store, codes = EmbeddingStore(folder, SPEC, D), codes_of(n)
    for start in range(0, n, SEGMENT):
        digests = [f"{number:032x}" for number in range(start, min(n, start + SEGMENT))]
        store.add(digests, rows_of(codes[start : start + SEGMENT], start), 8, {})


def anonymous_mb() -> float:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


@contextmanager
def sampled() -> Iterator[list[float]]:
    """Yield a list that fills with RssAnon in MB while the block runs."""
    found, over = [anonymous_mb()], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            found.append(anonymous_mb())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def head_for(name: str, n: int) -> Head:
    head: Head = HEADS.get(name)(HeadTask(n, D, 2, 0, "classes", "sklearn" if name == "xgboost" else "minibatch"))
    return head


def stored(place: str, n: int) -> StoredRows:
    return StoredRows([EmbeddingStore(place, SPEC, D)], [f"{number:032x}" for number in range(n)])


def learn(name: str, place: str, how: str, n: int) -> dict[str, float]:
    """Learn in this process; return accuracy, seconds and memory."""
    head, params, codes = head_for(name, n), SETTINGS[name], codes_of(n)
    new_codes = np.arange(N_NEW) % 2
    if how == "memory":
        store = EmbeddingStore(place, SPEC, D)
        x = store.read([f"{number:032x}" for number in range(n)])
        start = time.perf_counter()
        model = head.build(params).fit(x, codes)
        seconds, found = time.perf_counter() - start, [0.0]
    else:
        head_for(name, 100).build(params).fit(rows_of(codes_of(100), 1), codes_of(100))
        start = time.perf_counter()
        with sampled() as found:
            rows = TrainRows(np.zeros((n, 1), np.float32), TargetValues("classes", ("a", "b"), codes))
            model, _ = fit_stored_rows(
                head, params, (partial(stored, place, n), rows), HeadSpec(name=name), no_progress
            )
        seconds = time.perf_counter() - start
    accuracy = float((model.predict(rows_of(new_codes, 10**9)) == new_codes).mean())
    return {"accuracy": accuracy, "seconds": seconds, "above_mb": max(found) - found[0], "peak_mb": max(found)}


def main(n: int, names: list[str]) -> None:
    size_mb = n * D * 4 / 1e6
    print(f"commit {commit()}, {n} x {D} rows, {size_mb:.0f} MB; at most {MOST_SHARE * size_mb:.0f} MB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/x.zarr"
        write(Path(place), n)
        for name in names:
            told = {}
            for how in ("passes", "memory"):
                command = [sys.executable, "-m", "tests.benchmarks.out_of_core", "learn", name, place, how, str(n)]
                told[how] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            one, other = told["passes"], told["memory"]
            print(
                f"{name}: {one['above_mb']:.0f} MB anonymous above {one['peak_mb'] - one['above_mb']:.0f} MB "
                f"({one['above_mb'] * 1.048576 / size_mb:.0%} of the data); accuracy {one['accuracy']:.4f}, in memory "
                f"{other['accuracy']:.4f}; {one['seconds']:.0f} s (six fits), in memory {other['seconds']:.0f} s (one)",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["learn"]:
        print(json.dumps(learn(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))))
    else:
        main(int((sys.argv[1:] or ["500000"])[0]), sys.argv[2:] or ["logreg", "xgboost"])
