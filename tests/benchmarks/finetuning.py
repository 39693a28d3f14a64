"""Benchmark of fine-tuning from stored features against a usual training loop (``peers/peer_finetune.py``).

usage: python -m tests.benchmarks.finetuning [ROUNDS [EPOCHS]]

In each round, with another seed, the script and featx train in turn on the same images of ELPV at 128 px: the new
head alone, then the last block. featx also trains the 2 × 2 grid of strategies and learning rates. Each run of featx
starts from an empty cache. Times exclude imports on both sides; those of featx include listing, reading and decoding
the images, selecting a runtime and writing the run.

The script trains on all of train and reports the best of its epochs on val, which is optimistically biased. The timed
run of featx stops early by a tenth of train, and scores train and val after each epoch. To compare accuracies alike,
featx is also run with ``monitor = "val"``: it trains on all of train and reports the best of its epochs on val.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from featx.artifacts.header import commit

PEER = Path(__file__).parent / "peers" / "peer_finetune.py"
SIZE_PX = 128
MIN_SPEEDUPS = {"head": 8.0, "last-block": 3.0, "grid": 5.0}
LEARNING_RATES = {"head": 1e-3, "last-block": 1e-4}
GRIDS = {strategy: {"strategy": [strategy], "lr": [lr]} for strategy, lr in LEARNING_RATES.items()}
GRIDS["grid"] = {"strategy": list(LEARNING_RATES), "lr": list(LEARNING_RATES.values())}
RECIPE = """
[data]
source = "images"
[targets.class]
column = "class"
[split]
test = 0
column = "split"
[[finetune]]
size_px = {size_px}
resize = "squash"
interpolation = "bilinear"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
strategy = {strategy}
lr = {lr}
epochs = {epochs}
patience = 0
choose_by = "score"
monitor = "{monitor}"
seed = {seed}
"""
RUN = """
import json, time
import featx, featx.finetuning.finetune, featx.finetuning.lightning_loop
start = time.perf_counter()
featx.extract()
runs = featx.finetune()
print(json.dumps({"seconds": time.perf_counter() - start, "accuracy": [run.val_score for run in runs]}))
"""


def make_images(folder: Path) -> None:
    """Copy the solar cells into ``train`` and ``val``, one folder for each class, and leave out a quarter."""
    package = find_spec("elpv_dataset")
    assert package is not None
    assert package.submodule_search_locations
    data = Path(package.submodule_search_locations[0], "data")
    labels = pd.read_csv(data / "labels.csv", sep=r"\s+", names=["path", "defect", "cell"])
    labels["class"] = np.where(labels["defect"] > 0.5, "defective", "functional")
    selected_labels, _ = train_test_split(labels, test_size=0.25, random_state=0, stratify=labels["class"])
    train, val = train_test_split(selected_labels, test_size=0.2, random_state=0, stratify=selected_labels["class"])
    for part, rows in (("train", train), ("val", val)):
        for row in rows.itertuples():
            place = folder / "images" / part / str(row[4])
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / str(row.path), place)


def run_script(folder: Path, strategy: str, epochs: int, seed: int) -> tuple[float, float]:
    """Run the script and return its seconds and its best accuracy."""
    images = folder / "images"
    parts = [str(images / "train"), str(images / "val")]
    command = [sys.executable, str(PEER), strategy, *parts, str(epochs), str(SIZE_PX), str(seed)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"accuracy ([\d.]+),.*whole run ([\d.]+) s", output)
    assert match is not None, output
    return float(match[2]), float(match[1])


def run_featx(folder: Path, grid: str, epochs: int, seed: int, monitor: str = "holdout") -> tuple[float, list[float]]:
    """Run featx from an empty cache and return its seconds and the accuracies of its runs, best first."""
    for folder_name in ("cache", "runs"):
        shutil.rmtree(folder / folder_name, ignore_errors=True)
    recipe = RECIPE.format(size_px=SIZE_PX, epochs=epochs, seed=seed, monitor=monitor, **GRIDS[grid])
    (folder / "featx.toml").write_text(recipe)
    command = [sys.executable, "-c", RUN]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=dict(os.environ))
    result = json.loads(process.stdout.splitlines()[-1])
    return result["seconds"], result["accuracy"]


def main(rounds: int = 3, epochs: int = 10) -> None:
    """Print each round, then medians, ratios and differences in accuracy."""
    seconds: dict[str, list[float]] = {}
    gains: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_images(folder)
        for seed in range(rounds):
            for name in LEARNING_RATES:
                script_s, script_accuracy = run_script(folder, name, epochs, seed)
                featx_s, (featx_accuracy, *_) = run_featx(folder, name, epochs, seed)
                _, (best_accuracy, *_) = run_featx(folder, name, epochs, seed, monitor="val")
                seconds.setdefault(f"script {name}", []).append(script_s)
                seconds.setdefault(name, []).append(featx_s)
                gains.setdefault((name, "selected alike"), []).append(best_accuracy - script_accuracy)
                gains.setdefault((name, "val used once"), []).append(featx_accuracy - script_accuracy)
                print(
                    f"seed {seed} {name}: script {script_s:.1f} s {script_accuracy:.4f}, "
                    f"featx {featx_s:.1f} s {featx_accuracy:.4f}, "
                    f"selected as by the script {best_accuracy:.4f}",
                    flush=True,
                )
            grid_s, accuracies = run_featx(folder, "grid", epochs, seed)
            seconds.setdefault("grid", []).append(grid_s)
            print(f"seed {seed} grid: featx {grid_s:.1f} s {accuracies}", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    # The learning rate does not change the time of the script.
    medians["script grid"] = 2 * (medians["script head"] + medians["script last-block"])
    print(f"\ncommit {commit()}, {os.cpu_count()} cores, medians of {rounds}, {epochs} epochs")
    for name, min_speedup in MIN_SPEEDUPS.items():
        script_s, featx_s = medians[f"script {name}"], medians[name]
        print(
            f"{name:<11} script {script_s:.1f} s, featx {featx_s:.1f} s: "
            f"{script_s / featx_s:.2f} × (expected {min_speedup} ×)"
        )
    for (name, comparison), values in gains.items():
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        print(
            f"{name:<11} val accuracy, featx − script, {comparison}: {statistics.mean(values):+.4f}, "
            f"standard error {error:.4f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
