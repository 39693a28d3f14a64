"""Fine-tuning from a boundary, against the loop that people write by hand (``peers/peer_finetune.py``).

usage: python -m tests.benchmarks.finetuning [ROUNDS [EPOCHS]]

In each round, with its own seed, the script and featx train on the same images of ELPV at 128 px in turn: the new head
alone, the last block, and featx besides the 2 × 2 grid of strategies and learning rates, each from an empty cache.
Imports are left out on both sides; what featx takes to list, read and decode the images, to choose a runtime and to
write the run is in.

The script learns from all of train and reports the best of its epochs on val, which flatters it. What is timed is featx
as it is: it stops by a tenth of train, and looks at val once. For the comparison of accuracies it is given the script's
choice as well: one run for each number of epochs, all of train, the best of them on val.
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
LEAST = {"head": 8.0, "last-block": 3.0, "grid": 5.0}
RATES = {"head": 1e-3, "last-block": 1e-4}
GRID = {what: {"strategy": [what], "lr": [lr]} for what, lr in RATES.items()}
GRID["grid"] = {"strategy": list(RATES), "lr": list(RATES.values())}
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
holdout = {holdout}
patience = 0
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
    """Copy the solar cells into ``train`` and ``val``, a folder a class; a quarter is left out, as a test part is."""
    package = find_spec("elpv_dataset")
    assert package is not None
    assert package.submodule_search_locations
    data = Path(package.submodule_search_locations[0], "data")
    labels = pd.read_csv(data / "labels.csv", sep=r"\s+", names=["path", "defect", "cell"])
    labels["class"] = np.where(labels["defect"] > 0.5, "defective", "functional")
    rest, _ = train_test_split(labels, test_size=0.25, random_state=0, stratify=labels["class"])
    train, val = train_test_split(rest, test_size=0.2, random_state=0, stratify=rest["class"])
    for part, rows in (("train", train), ("val", val)):
        for row in rows.itertuples():
            place = folder / "images" / part / str(row[4])
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / str(row.path), place)


def peer(folder: Path, strategy: str, epochs: int, seed: int) -> tuple[float, float]:
    """Run the script; return its seconds and its best accuracy."""
    images = folder / "images"
    parts = [str(images / "train"), str(images / "val")]
    command = [sys.executable, str(PEER), strategy, *parts, str(epochs), str(SIZE_PX), str(seed)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"accuracy ([\d.]+),.*whole run ([\d.]+) s", said)
    assert found is not None, said
    return float(found[2]), float(found[1])


def ours(
    folder: Path, what: str, epochs: int | list[int], seed: int, holdout: float = 0.1
) -> tuple[float, list[float]]:
    """Run featx from an empty cache; return its seconds and its runs' accuracies, the best first."""
    for made in ("cache", "runs"):
        shutil.rmtree(folder / made, ignore_errors=True)
    recipe = RECIPE.format(size_px=SIZE_PX, epochs=epochs, seed=seed, holdout=holdout, **GRID[what])
    (folder / "featx.toml").write_text(recipe)
    command = [sys.executable, "-c", RUN]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=dict(os.environ))
    found = json.loads(said.stdout.splitlines()[-1])
    return found["seconds"], found["accuracy"]


def main(rounds: int = 3, epochs: int = 10) -> None:
    """Print each round, then medians, ratios and differences in accuracy."""
    seconds: dict[str, list[float]] = {}
    gains: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_images(folder)
        for seed in range(rounds):
            for what in RATES:
                theirs_s, theirs = peer(folder, what, epochs, seed)
                ours_s, (once, *_) = ours(folder, what, epochs, seed)
                _, (best, *_) = ours(folder, what, list(range(1, epochs + 1)), seed, holdout=0)
                seconds.setdefault(f"peer {what}", []).append(theirs_s)
                seconds.setdefault(what, []).append(ours_s)
                gains.setdefault((what, "chosen alike"), []).append(best - theirs)
                gains.setdefault((what, "val looked at once"), []).append(once - theirs)
                print(
                    f"seed {seed} {what}: script {theirs_s:.1f} s {theirs:.4f}, featx {ours_s:.1f} s {once:.4f}, "
                    f"chosen as the script does {best:.4f}",
                    flush=True,
                )
            grid_s, accuracies = ours(folder, "grid", epochs, seed)
            seconds.setdefault("grid", []).append(grid_s)
            print(f"seed {seed} grid: featx {grid_s:.1f} s {accuracies}", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    medians["peer grid"] = 2 * (medians["peer head"] + medians["peer last-block"])  # a rate does not change the time
    print(f"\ncommit {commit()}, {os.cpu_count()} cores, medians of {rounds}, {epochs} epochs")
    for what, least in LEAST.items():
        theirs_s, ours_s = medians[f"peer {what}"], medians[what]
        print(f"{what:<11} script {theirs_s:.1f} s, featx {ours_s:.1f} s: {theirs_s / ours_s:.2f} × (asked {least} ×)")
    for (what, how), found in gains.items():
        error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else float("nan")
        print(f"{what:<11} val accuracy, featx − script, {how}: {statistics.mean(found):+.4f}, error {error:.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
