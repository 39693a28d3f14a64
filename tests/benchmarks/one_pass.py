"""Benchmark of several networks in one pass over the images, and of the peak memory of an extraction.

usage: python -m tests.benchmarks.one_pass [N_IMAGES]

One extraction with three backbones is compared with the forward passes of three extractions with one backbone each
plus the decoding of one. The peak memory is that of all processes together, for 2,000 and for 20,000 small images.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from featx.artifacts.header import commit
from tests.benchmarks.extraction import make_source

N_IMAGES = 512
N_ROUNDS = 3
HEAD = """
[data]
source = "{source}"
[targets.class]
column = "class"
[extraction]
runtime = "onnx"
"""
EMBEDDING = """
[[embedding]]
backbone = "{backbone}"
weights = "{weights}"
size_px = {size_px}
precision = "fp32"
"""
BACKBONES = (("efficientnet_lite0", "default", 224), ("mobilenet_v2", "none", 224), ("resnet18", "none", 224))


def write_recipe(folder: Path, source: str, backbones: tuple[tuple[str, str, int], ...]) -> Path:
    """Write a recipe with one embedding for each backbone, and return its path."""
    parts = [EMBEDDING.format(backbone=name, weights=weights, size_px=size) for name, weights, size in backbones]
    file = folder / f"{source}-{'-'.join(name for name, _, _ in backbones)}.toml"
    file.write_text(HEAD.format(source=source) + "".join(parts))
    return file


def measure_extraction(folder: Path, file: Path) -> tuple[dict[str, float], int]:
    """Extract into an empty cache; return the seconds of its stages, and the peak memory of all processes in bytes."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    command = [sys.executable, "-c", "from featx.cli.main import main; main()", "extract", "--json", "-r", str(file)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        peak = [0]

        def sample_memory() -> None:
            while running.poll() is None:
                peak[0] = max(peak[0], sum(map(_anonymous_bytes, _process_tree(running.pid))))
                time.sleep(0.1)

        watcher = threading.Thread(target=sample_memory)
        watcher.start()
        assert running.stdout is not None
        output = running.stdout.read()
        watcher.join()
    return json.loads(output)["times"], peak[0]


def _process_tree(pid: int) -> list[int]:
    """Return the ids of a process and of all its descendants."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids += [descendant for child in task.read_text().split() for descendant in _process_tree(int(child))]
        except OSError:
            continue
    return pids


def _anonymous_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def print_one_pass(folder: Path, n: int) -> None:
    """Print the time of three backbones in one pass relative to three passes."""
    make_source(folder, n)
    ratios = []
    for _ in range(N_ROUNDS):
        single_times = [
            measure_extraction(folder, write_recipe(folder, "images", (backbone,)))[0] for backbone in BACKBONES
        ]
        joint_times, _ = measure_extraction(folder, write_recipe(folder, "images", BACKBONES))
        cores = os.cpu_count() or 1
        forward = sum(times["network_s"] for times in single_times) / cores
        decode = single_times[0]["decode_s"] / cores
        ratios.append(joint_times["wall_s"] / (forward + decode))
    print(
        f"  three backbones in one pass: {np.median(ratios):.2f} x "
        "(their forward passes + one decoding); expected at most 1.15"
    )


def print_memory(folder: Path) -> None:
    """Print the peak memory for two numbers of images."""
    peaks = []
    for n in (2_000, 20_000):
        source = folder / f"small{n}"
        rng = np.random.default_rng(n)
        for number in range(n):
            place = source / ("a" if number % 2 else "b")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(place / f"{number}.png")
        file = write_recipe(folder, source.name, (("efficientnet_lite0", "default", 64),))
        peaks.append(measure_extraction(folder, file)[1])
        print(f"  {n:6d} images: peak {peaks[-1] / 1e6:.0f} MB", flush=True)
    print(f"  ratio {peaks[1] / peaks[0]:.2f}; expected at most 1.1")


def main() -> None:
    """Print the ratios."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else N_IMAGES
    print(f"{platform.machine()}, {os.cpu_count()} cores, commit {commit()}, medians of {N_ROUNDS}")
    with tempfile.TemporaryDirectory() as place:
        print_one_pass(Path(place), n)
    with tempfile.TemporaryDirectory() as place:
        print_memory(Path(place))


if __name__ == "__main__":
    main()
