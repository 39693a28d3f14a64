"""What the loss of a worker costs: three Dask workers embed a folder, undisturbed and with one killed half-way.

usage: python -m tests.benchmarks.cluster [IMAGES [ROUNDS]]

In each round the same images (noise, 256 px) go through EfficientNet-Lite0 (random weights) into an empty cache twice.
In the second, one worker and its nanny are ended by SIGKILL once half of the images are done. The time is that of the
embedding, from the first shard handed out to the last one done, without the start of processes. Vectors are compared
with those of one process.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import featx
from featx.artifacts.header import commit
from featx.specs.extraction import ClusterSpec, EngineSpec
from featx.study.study import Study
from tests.embeddings.clusters import kill, worker_processes
from tests.rows import stored_rows

WORKERS = 3
CLUSTER = ClusterSpec(workers_local=WORKERS)
MOST = 1.6  # times the undisturbed time
RECIPE = """
[data]
source = "{images}"
[targets.class]
column = "class"
[[embedding]]
backbone = "efficientnet_lite0"
weights = "none"
precision = "fp32"
[paths]
cache = "cache"
runs = "runs"
"""


def make_images(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(n):
        place = folder / ("even" if number % 2 == 0 else "odd")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)).save(place / f"{number:06}.jpg")


def extracted(images: Path, cluster: ClusterSpec | None, kill_at: float = 2.0) -> tuple[dict[str, bytes], float]:
    """Embed into an empty cache; return the rows and the seconds. A worker dies once so much is done."""
    first, killed = [0.0], []

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage != "embed":
            return
        first[0] = first[0] or time.perf_counter()
        if done >= kill_at * total and not killed:
            kill(worker_processes()[0])
            killed.append(done)

    with tempfile.TemporaryDirectory() as home:
        recipe = Path(home, "featx.toml")
        recipe.write_text(RECIPE.format(images=images))
        done = featx.extract(recipe, engine=EngineSpec(runtime="torch"), cluster=cluster, progress=progress)
        assert bool(killed) == (kill_at <= 1)
        assert done.n_embedded == done.n_found
        return stored_rows(Study.open(recipe)), done.n_embedded / done.images_per_s


def main(n_images: int, n_rounds: int) -> None:
    print(f"commit {commit()}, {os.cpu_count()} cores, {n_images} images, {WORKERS} workers")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        make_images(images, n_images)
        alone, seconds = extracted(images, None)
        print(f"one process: {seconds:.1f} s")
        for number in range(n_rounds):
            (calm, calm_s), (torn, torn_s) = (extracted(images, CLUSTER, at) for at in (2.0, 0.5))
            ratios.append(torn_s / calm_s)
            equal = calm == alone and torn == alone
            print(
                f"round {number + 1}: {calm_s:.1f} s, one killed {torn_s:.1f} s, ratio {ratios[-1]:.2f}, equal {equal}"
            )
            assert equal
    print(f"ratio (median): {statistics.median(ratios):.2f}, at most {MOST}")


if __name__ == "__main__":
    main(*(int(one) for one in (sys.argv[1:] + ["1500", "2"][len(sys.argv) - 1 :])))
