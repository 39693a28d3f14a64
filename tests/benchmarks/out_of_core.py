"""Benchmark of heads that are fitted on 500,000 × 256 rows in a store: memory, and accuracy relative to fits in memory.

usage: python -m tests.benchmarks.out_of_core [ROWS [HEAD…]]

The rows (float32, two classes, linear and nonlinear effects, noise) are written into an embedding store in segments
of 8,192, class by class. Then each head is fitted in another process: from the store in passes (five folds and all
rows, calibrated, like ``featx fit`` with ``memory_gb``), and by plain scikit-learn or XGBoost with all rows in
memory. Both predict 50,000 new rows.

Memory is RssAnon of /proc/self/status, which a thread reads every 20 ms: resident anonymous pages, without mapped
files. The baseline is read after all packages are imported and a fit of 100 rows has started the threads of XGBoost
and BLAS. Reported are the highest reading minus the baseline, and the baseline. Digests and the index of the store
are included.
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
from featx.tables.target_values import ClassTargets

D, N_NEW, SEGMENT_ROWS = 256, 50_000, 8_192
MAX_DATA_SHARE, MAX_ACCURACY_LOSS = 0.25, 0.005
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


def make_rows(codes: np.ndarray, seed: int) -> np.ndarray:
    """Return (n, d) rows for n class codes, from the generator of this seed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(codes), D)).astype(np.float32)
    x[:, :32] += 0.12 * (2 * codes[:, None] - 1)
    # Only trees can use these columns.
    x[:, 32:40] *= 1 + 0.25 * codes[:, None]
    return x * 2 + 3


def make_codes(n: int) -> np.ndarray:
    """Return n sorted class codes, like those of a store that is filled folder by folder."""
    return (np.arange(n) >= n // 2).astype(np.int64)


def write_store(folder: Path, n: int) -> None:
    store, codes = EmbeddingStore(folder, SPEC, D), make_codes(n)
    for start in range(0, n, SEGMENT_ROWS):
        digests = [f"{number:032x}" for number in range(start, min(n, start + SEGMENT_ROWS))]
        store.add(digests, make_rows(codes[start : start + SEGMENT_ROWS], start), 8, {})


def anonymous_mb() -> float:
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


@contextmanager
def sampled_memory() -> Iterator[list[float]]:
    """Yield a list to which RssAnon in MB is appended while the block runs."""
    samples_mb, is_over = [anonymous_mb()], threading.Event()

    def sample() -> None:
        while not is_over.wait(0.02):
            samples_mb.append(anonymous_mb())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples_mb
    finally:
        is_over.set()
        thread.join()


def head_for(name: str, n: int) -> Head:
    head: Head = HEADS.get(name)(HeadTask(n, D, 2, 0, "classes", "sklearn" if name == "xgboost" else "minibatch"))
    return head


def open_stored_rows(place: str, n: int) -> StoredRows:
    return StoredRows([EmbeddingStore(place, SPEC, D)], [f"{number:032x}" for number in range(n)])


def fit(name: str, place: str, mode: str, n: int) -> dict[str, float]:
    """Fit a head in this process and return accuracy, seconds and memory."""
    head, params, codes = head_for(name, n), SETTINGS[name], make_codes(n)
    new_codes = np.arange(N_NEW) % 2
    if mode == "memory":
        store = EmbeddingStore(place, SPEC, D)
        x = store.read([f"{number:032x}" for number in range(n)])
        start = time.perf_counter()
        model = head.build(params).fit(x, codes)
        seconds, samples_mb = time.perf_counter() - start, [0.0]
    else:
        head_for(name, 100).build(params).fit(make_rows(make_codes(100), 1), make_codes(100))
        start = time.perf_counter()
        with sampled_memory() as samples_mb:
            rows = TrainRows(np.zeros((n, 1), np.float32), ClassTargets(("a", "b"), codes))
            model, _ = fit_stored_rows(
                head, params, (partial(open_stored_rows, place, n), rows), HeadSpec(name=name), no_progress
            )
        seconds = time.perf_counter() - start
    accuracy = float((model.predict(make_rows(new_codes, 10**9)) == new_codes).mean())
    return {
        "accuracy": accuracy,
        "seconds": seconds,
        "above_mb": max(samples_mb) - samples_mb[0],
        "peak_mb": max(samples_mb),
    }


def main(n: int, names: list[str]) -> None:
    size_mb = n * D * 4 / 1e6
    print(
        f"commit {commit()}, {n} x {D} rows, {size_mb:.0f} MB; expected at most {MAX_DATA_SHARE * size_mb:.0f} MB",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/x.zarr"
        write_store(Path(place), n)
        for name in names:
            results = {}
            for mode in ("passes", "memory"):
                command = [sys.executable, "-m", "tests.benchmarks.out_of_core", "fit", name, place, mode, str(n)]
                results[mode] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            out_of_core, in_memory = results["passes"], results["memory"]
            above_mb, base_mb = out_of_core["above_mb"], out_of_core["peak_mb"] - out_of_core["above_mb"]
            print(
                f"{name}: {above_mb:.0f} MB anonymous above {base_mb:.0f} MB "
                f"({above_mb * 1.048576 / size_mb:.0%} of the data); accuracy {out_of_core['accuracy']:.4f}, in memory "
                f"{in_memory['accuracy']:.4f}; {out_of_core['seconds']:.0f} s (six fits), "
                f"in memory {in_memory['seconds']:.0f} s (one)",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        print(json.dumps(fit(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))))
    else:
        main(int((sys.argv[1:] or ["500000"])[0]), sys.argv[2:] or ["logreg", "xgboost"])
