"""Benchmark of the loss of a worker: three Dask workers embed a folder, with and without one being killed half-way.

usage: python -m tests.benchmarks.cluster [IMAGES [ROUNDS]]

In each round the same images (noise, 256 px) are embedded twice by EfficientNet-Lite0 (random weights) into an empty
cache. In the second extraction, SIGKILL ends one worker and its nanny after half of the images. The time is measured
from the first shard that is sent to the last one that is finished, without the start of processes. The vectors are
compared with those of one process.
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
from tests.embeddings.clusters import worker_processes
from tests.processes import kill_tree
from tests.rows import stored_rows

N_WORKERS = 3
CLUSTER = ClusterSpec(workers_local=N_WORKERS)
# Time with a killed worker relative to the undisturbed time.
MAX_TIME_RATIO = 1.6
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


def timed_extraction(images: Path, cluster: ClusterSpec | None, kill_at: float = 2.0) -> tuple[dict[str, bytes], float]:
    """Embed into an empty cache; return the rows and the seconds.

    One worker is killed when the share `kill_at` of the images is finished; none if it is greater than 1.
    """
    first, killed = [0.0], []

    def progress(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage != "embed":
            return
        first[0] = first[0] or time.perf_counter()
        if n_done >= kill_at * total and not killed:
            kill_tree(worker_processes()[0])
            killed.append(n_done)

    with tempfile.TemporaryDirectory() as home:
        recipe = Path(home, "featx.toml")
        recipe.write_text(RECIPE.format(images=images))
        extraction = featx.extract(recipe, engine=EngineSpec(runtime="torch"), cluster=cluster, progress=progress)
        assert bool(killed) == (kill_at <= 1)
        assert extraction.n_embedded == extraction.n_found
        return stored_rows(Study.open(recipe)), extraction.n_embedded / extraction.images_per_s


def main(n_images: int, n_rounds: int) -> None:
    print(f"commit {commit()}, {os.cpu_count()} cores, {n_images} images, {N_WORKERS} workers")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        make_images(images, n_images)
        local_rows, seconds = timed_extraction(images, None)
        print(f"one process: {seconds:.1f} s")
        for number in range(n_rounds):
            (undisturbed_rows, undisturbed_s), (killed_rows, killed_s) = (
                timed_extraction(images, CLUSTER, kill_at) for kill_at in (2.0, 0.5)
            )
            ratios.append(killed_s / undisturbed_s)
            is_equal = undisturbed_rows == local_rows and killed_rows == local_rows
            print(
                f"round {number + 1}: {undisturbed_s:.1f} s, one killed {killed_s:.1f} s, "
                f"ratio {ratios[-1]:.2f}, equal vectors {is_equal}"
            )
            assert is_equal
    print(f"median ratio {statistics.median(ratios):.2f}, expected at most {MAX_TIME_RATIO}")


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] + ["1500", "2"][len(sys.argv) - 1 :])))
