"""The search of a head, against the script that people write with Optuna (``peers/peer_search.py``).

usage: python -m tests.benchmarks.search [ROUNDS [HEAD…]]

In each round the script and featx search each head in turn, in processes of their own, over the same folds of the same
rows and with the same number of trials: on the solar cells' embeddings (2,624 × 1,280, two classes) and on 4,000 images
of Fashion-MNIST as 128 principal components (ten classes). Folds, samplers and models have the round's number as their
seed: the best of some trials on some thousand rows is a matter of luck by some thousandths, and what the script's
settings cost depends on their draw (ten logistic regressions of Fashion-MNIST from 7 to 29 s). Times are of the search
alone, peaks of whole processes, and gains are the median of the rounds' differences.
"""

import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from featx.artifacts.header import commit

PEER = Path(__file__).parent / "peers" / "peer_search.py"
FASHION = Path("/usr/share/datasets/fashion-mnist")
MOST = {"svm": 1 / 8, "logreg": 1 / 6, "xgboost": 1 / 3, "rf": 1 / 2}  # of the script's time
CELLS, CLOTHES = "solar cells", "Fashion-MNIST"
TRIALS = {CELLS: {"svm": 20, "logreg": 20, "xgboost": 5, "rf": 5}, CLOTHES: dict.fromkeys(MOST, 10)}
LEAST_GAIN = -0.002  # in best cross-validated accuracy
RECIPE = """
[data]
source = "package:elpv_dataset/data"
labels = { file = "labels.csv", columns = ["path", "defect", "cell"], separator = "whitespace" }
[targets.defective]
column = "defect"
above = 0.5
[split]
test = 0
val = 0
[[embedding]]
backbone = "efficientnet_lite0"
"""
OURS = """
import json, sys, tempfile
from pathlib import Path
import numpy as np
from featx.tables.target_values import TargetValues
from featx.heads.head_definition import HeadTask
from featx.heads.folds import TrainRows
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.search import search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import HeadSpec
name, path, trials, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
data = np.load(path)
names = tuple(map(str, range(int(data["y"].max()) + 1)))
rows = TrainRows(data["X"], TargetValues("classes", names, data["y"]))
spec = HeadSpec(name=name, trials=trials, seed=seed)
head = HEADS.get(name)(HeadTask(*rows.x.shape, len(names), seed))
with tempfile.TemporaryDirectory() as folder:
    found = search({"": SearchSpace(head, rows)}, spec, Path(folder, "journal"), no_progress)
told = {"score": found.score, "seconds": found.seconds, "params": found.params, "shared": found.shared_bytes}
print(json.dumps(told))
"""
Found = tuple[float, float, float]  # seconds, best score, GB at the peak


def make_features(folder: Path) -> None:
    """Write both tables as ``X`` (n, d) float32 and ``y`` (n,)."""
    import numpy as np
    from sklearn.decomposition import PCA

    import featx
    from featx.embeddings.read import locked_embeddings, read_embeddings
    from featx.study.study import Study

    (folder / "cells.toml").write_text(RECIPE)
    os.chdir(folder)
    featx.extract("cells.toml")
    study = Study.open("cells.toml")
    ids = study.ids("train")
    cells = read_embeddings(study, ids, locked_embeddings(study)).x, study.truth("defective").take(ids).codes
    with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28 * 28)
    with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    some = np.random.default_rng(0).permutation(len(images))[:4000]
    clothes = PCA(128, random_state=0).fit_transform(images[some] / np.float32(255)).astype(np.float32), labels[some]
    for name, (x, y) in {CELLS: cells, CLOTHES: clothes}.items():
        np.savez(folder / f"{name}.npz", X=x, y=y)


def measured(command: list[str]) -> tuple[str, float]:
    """Run a process; return what it printed, and its peak in GB."""
    with tempfile.NamedTemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, command
        return Path(said.name).read_text(), usage.ru_maxrss / 1e6


def peer(head: str, features: Path, trials: int, seed: int) -> Found:
    """Run the script."""
    said, peak = measured([sys.executable, str(PEER), head, str(features), str(trials), str(seed)])
    found = re.search(r"best ([\d.]+) in ([\d.]+) s", said)
    assert found is not None, said
    return float(found[2]), float(found[1]), peak


def ours(head: str, features: Path, trials: int, seed: int) -> tuple[Found, float]:
    """Run featx; return besides the GB that its trials share."""
    said, peak = measured([sys.executable, "-c", OURS, head, str(features), str(trials), str(seed)])
    found = json.loads(said.splitlines()[-1])
    return (found["seconds"], found["score"], peak), found["shared"] / 1e9


def main(rounds: int = 5, heads: tuple[str, ...] = tuple(MOST)) -> None:
    """Print each round, then the medians, ratios and gains."""
    every: dict[tuple[str, str], list[tuple[Found, Found, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        # in a process of its own: a child's peak begins with its parent's
        make = "import sys; from pathlib import Path; from tests.benchmarks.search import make_features as make; "
        subprocess.run([sys.executable, "-c", make + "make(Path(sys.argv[1]))", place], check=True)
        features = {name: Path(place, f"{name}.npz") for name in TRIALS}
        for number in range(rounds):
            for data, head in ((data, head) for data in features for head in heads):
                trials = TRIALS[data][head]
                theirs = peer(head, features[data], trials, number)
                mine, shared = ours(head, features[data], trials, number)
                every.setdefault((data, head), []).append((theirs, mine, shared))
                print(f"round {number} {data} {head}: script {_text(theirs)}; featx {_text(mine)}", flush=True)
    print(f"\ncommit {commit()}, {os.cpu_count()} cores, medians of {rounds}")
    for (data, head), found in every.items():
        theirs_s, _, theirs_gb = _medians([one[0] for one in found])
        mine_s, _, mine_gb = _medians([one[1] for one in found])
        gain = statistics.median(mine[1] - theirs[1] for theirs, mine, _ in found)
        print(
            f"{data:<13} {head:<8} script {theirs_s:.1f} s, featx {mine_s:.1f} s: 1/{theirs_s / mine_s:.1f} "
            f"(asked 1/{1 / MOST[head]:.0f}); best {gain:+.4f} (asked {LEAST_GAIN:+.3f}); "
            f"peak {mine_gb:.2f} GB, of which {found[0][2]:.2f} shared; the script's {theirs_gb:.2f} GB"
        )


def _medians(found: list[Found]) -> list[float]:
    return [statistics.median(values) for values in zip(*found, strict=True)]


def _text(found: Found) -> str:
    return f"{found[0]:.1f} s, best {found[1]:.4f}, peak {found[2]:.2f} GB"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), **({"heads": tuple(sys.argv[2:])} if sys.argv[2:] else {}))
