"""Benchmark of the search of a head against a usual script with Optuna (``peers/peer_search.py``).

usage: python -m tests.benchmarks.search [ROUNDS [HEAD…]]

In each round the script and featx search each head in turn, in separate processes, with the same folds of the same
rows and the same number of trials: on the embeddings of the solar cells (2,624 × 1,280, two classes) and on 4,000
images of Fashion-MNIST as 128 principal components (ten classes). The seed of folds, samplers and models is the
number of the round, because the best accuracy of a few trials varies by some thousandths between seeds, and the time
of the script depends on its samples (ten logistic regressions of Fashion-MNIST take 7 to 29 s). Times are those of
the search alone, peaks those of whole processes, and gains are the median of the differences of all rounds.
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
# Time of featx relative to that of the script.
MAX_TIME_SHARES = {"svm": 1 / 8, "logreg": 1 / 6, "xgboost": 1 / 3, "rf": 1 / 2}
CELLS, CLOTHES = "solar cells", "Fashion-MNIST"
TRIALS = {CELLS: {"svm": 20, "logreg": 20, "xgboost": 5, "rf": 5}, CLOTHES: dict.fromkeys(MAX_TIME_SHARES, 10)}
# Difference of the best cross-validated accuracies, featx − script.
MIN_GAIN = -0.002
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
from featx.tables.target_values import ClassTargets
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
rows = TrainRows(data["X"], ClassTargets(names, data["y"]))
spec = HeadSpec(name=name, trials=trials, seed=seed)
head = HEADS.get(name)(HeadTask(*rows.x.shape, len(names), seed))
with tempfile.TemporaryDirectory() as folder:
    result = search({"": SearchSpace(head, rows)}, spec, Path(folder, "journal"), no_progress)
figures = {"score": result.score, "seconds": result.seconds, "params": result.params, "shared": result.shared_bytes}
print(json.dumps(figures))
"""
# Seconds, best score, peak memory in GB.
SearchResult = tuple[float, float, float]


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
    sample = np.random.default_rng(0).permutation(len(images))[:4000]
    clothes = (
        PCA(128, random_state=0).fit_transform(images[sample] / np.float32(255)).astype(np.float32),
        labels[sample],
    )
    for name, (x, y) in {CELLS: cells, CLOTHES: clothes}.items():
        np.savez(folder / f"{name}.npz", X=x, y=y)


def run_process(command: list[str]) -> tuple[str, float]:
    """Run a process and return its standard output and its peak memory in GB."""
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, command
        return Path(output.name).read_text(), usage.ru_maxrss / 1e6


def run_script(head: str, features: Path, trials: int, seed: int) -> SearchResult:
    """Run the script and return its result."""
    output, peak = run_process([sys.executable, str(PEER), head, str(features), str(trials), str(seed)])
    match = re.search(r"best ([\d.]+) in ([\d.]+) s", output)
    assert match is not None, output
    return float(match[2]), float(match[1]), peak


def run_featx(head: str, features: Path, trials: int, seed: int) -> tuple[SearchResult, float]:
    """Run featx and return its result and the GB that its trials share."""
    output, peak = run_process([sys.executable, "-c", OURS, head, str(features), str(trials), str(seed)])
    result = json.loads(output.splitlines()[-1])
    return (result["seconds"], result["score"], peak), result["shared"] / 1e9


def main(rounds: int = 5, heads: tuple[str, ...] = tuple(MAX_TIME_SHARES)) -> None:
    """Print each round, then medians, ratios and gains."""
    results: dict[tuple[str, str], list[tuple[SearchResult, SearchResult, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        # Features are made in another process, because the peak memory of a child begins with that of its parent.
        make = "import sys; from pathlib import Path; from tests.benchmarks.search import make_features as make; "
        subprocess.run([sys.executable, "-c", make + "make(Path(sys.argv[1]))", place], check=True)
        features = {name: Path(place, f"{name}.npz") for name in TRIALS}
        for number in range(rounds):
            for data, head in ((data, head) for data in features for head in heads):
                trials = TRIALS[data][head]
                script_result = run_script(head, features[data], trials, number)
                featx_result, shared_gb = run_featx(head, features[data], trials, number)
                results.setdefault((data, head), []).append((script_result, featx_result, shared_gb))
                print(
                    f"round {number} {data} {head}: script {_result_text(script_result)}; "
                    f"featx {_result_text(featx_result)}",
                    flush=True,
                )
    print(f"\ncommit {commit()}, {os.cpu_count()} cores, medians of {rounds}")
    for (data, head), searches in results.items():
        script_s, _, script_gb = _medians([script_result for script_result, _, _ in searches])
        featx_s, _, featx_gb = _medians([featx_result for _, featx_result, _ in searches])
        gain = statistics.median(featx_result[1] - script_result[1] for script_result, featx_result, _ in searches)
        print(
            f"{data:<13} {head:<8} script {script_s:.1f} s, featx {featx_s:.1f} s: 1/{script_s / featx_s:.1f} "
            f"(expected 1/{1 / MAX_TIME_SHARES[head]:.0f}); best {gain:+.4f} (expected {MIN_GAIN:+.3f}); "
            f"peak {featx_gb:.2f} GB, of which {searches[0][2]:.2f} shared; the script's {script_gb:.2f} GB"
        )


def _medians(searches: list[SearchResult]) -> list[float]:
    return [statistics.median(values) for values in zip(*searches, strict=True)]


def _result_text(result: SearchResult) -> str:
    return f"{result[0]:.1f} s, best {result[1]:.4f}, peak {result[2]:.2f} GB"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), **({"heads": tuple(sys.argv[2:])} if sys.argv[2:] else {}))
