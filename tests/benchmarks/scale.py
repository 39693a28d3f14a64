"""What a store costs from a thousand rows to a million: the slopes that docs/scale.md is written from.

usage: python -m tests.benchmarks.scale [ROWS…]

Rows are 1,280 random numbers in float16. Each size is measured in a process of its own, whose peak of memory counts.
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
ASKED = 1000  # rows that are read at random


def measure(n: int, folder: Path) -> dict[str, float]:
    """Write, open, read, verify and join a store of n rows; return seconds, and bytes on disk."""
    import numpy as np

    from featx.storage.checks import check_store
    from featx.storage.compaction import compact
    from featx.storage.store import EmbeddingStore
    from tests.benchmarks.storage import SPEC, D, write

    found: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> None:
        before = time.perf_counter()
        call()
        found[f"{name}_s"] = time.perf_counter() - before

    digests, found["write_s"] = write(folder, n)
    store = folder / "b.zarr"
    found["bytes"] = float(sum(path.stat().st_size for path in store.rglob("*") if path.is_file()))
    timed("open", lambda: EmbeddingStore(store, SPEC, D))
    opened = EmbeddingStore(store, SPEC, D)
    some = [digests[at] for at in np.random.default_rng(0).choice(n, min(n, ASKED), replace=False)]
    timed("read", lambda: opened.read(some))
    found["opened_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    timed("pass", lambda: sum(len(x) for _, x in opened.blocks()))
    timed("verify", lambda: check_store(store))
    timed("compact", lambda: compact(opened))
    timed("reopen", lambda: EmbeddingStore(store, SPEC, D))
    return found


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Print a line for each size."""
    print(f"commit {commit()}, {os.cpu_count()} cores")
    for n in sizes:
        code = "import json, sys; from pathlib import Path; from tests.benchmarks.scale import measure; "
        code += "print(json.dumps(measure(int(sys.argv[1]), Path(sys.argv[2]))))"
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, "-c", code, str(n), place]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(said.splitlines()[-1])
        texts = [f"{name.removesuffix('_s')} {value:.3f} s" for name, value in found.items() if name.endswith("_s")]
        print(f"{n} rows: {', '.join(texts)}; {found['bytes'] / n:.0f} bytes a row; peak {found['opened_mb']:.0f} MB")


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
