"""Benchmark of stores with a thousand to a million rows: the source of the figures in docs/scale.md.

usage: python -m tests.benchmarks.scale [ROWS…]

A row is 1,280 random numbers in float16. Each size is measured in another process, whose peak memory is reported.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from featx.artifacts.header import commit

SIZES = (1_000, 10_000, 100_000, 1_000_000)
# Number of rows that are read at random.
N_READ = 1000


def measure(n: int, folder: Path) -> dict[str, float]:
    """Write, open, read, verify and compact a store of n rows; return the seconds and the bytes on disk."""
    import numpy as np

    from featx.storage.checks import check_store
    from featx.storage.compaction import compact
    from featx.storage.store import EmbeddingStore
    from tests.benchmarks.storage import SPEC, D, write

    figures: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> None:
        start = time.perf_counter()
        call()
        figures[f"{name}_s"] = time.perf_counter() - start

    digests, figures["write_s"] = write(folder, n)
    store = folder / "b.zarr"
    figures["bytes"] = float(sum(path.stat().st_size for path in store.rglob("*") if path.is_file()))
    timed("open", lambda: EmbeddingStore(store, SPEC, D))
    reader = EmbeddingStore(store, SPEC, D)
    sample = [digests[row] for row in np.random.default_rng(0).choice(n, min(n, N_READ), replace=False)]
    timed("read", lambda: reader.read(sample))
    figures["opened_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    timed("pass", lambda: sum(len(x) for _, x in reader.blocks()))
    timed("verify", lambda: check_store(store))
    timed("compact", lambda: compact(reader))
    timed("reopen", lambda: EmbeddingStore(store, SPEC, D))
    return figures


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Print a line for each size."""
    print(f"commit {commit()}, {os.cpu_count()} cores")
    for n in sizes:
        code = "import json, sys; from pathlib import Path; from tests.benchmarks.scale import measure; "
        code += "print(json.dumps(measure(int(sys.argv[1]), Path(sys.argv[2]))))"
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, "-c", code, str(n), place]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        figures = json.loads(output.splitlines()[-1])
        texts = [f"{name.removesuffix('_s')} {value:.3f} s" for name, value in figures.items() if name.endswith("_s")]
        print(
            f"{n} rows: {', '.join(texts)}; {figures['bytes'] / n:.0f} bytes per row; "
            f"peak {figures['opened_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
