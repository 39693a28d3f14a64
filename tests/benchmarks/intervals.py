"""Benchmark of intervals: 2,000 draws of 10 scores of 20 runs on 10,000 rows, against one pass of scikit-learn.

usage: python -m tests.benchmarks.intervals

Both are run in turn in one process. The ratio is that of their medians, for 2 and for 10 classes.
"""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from featx.artifacts.header import commit
from featx.evaluation.intervals import N_DRAWS, Resamples, draw_scores
from featx.metrics.definitions import Scorer
from featx.tables.target_values import ClassTargets

N_ROWS, N_RUNS, N_TURNS = 10_000, 20, 3
MAX_TIME_RATIO, MAX_PEAK_BYTES = 20.0, 2e9
NAMES = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")
NAMES += ("kappa", "mcc", "auc_ovr", "log_loss", "brier")
Proba = NDArray[np.float64]


def compute_scikit_learn_scores(y: NDArray[np.int64], runs: list[Proba]) -> list[list[float]]:
    """Return ten metrics of each run, computed by the functions of scikit-learn."""
    binary = runs[0].shape[1] == 2
    rows = []
    for proba in runs:
        y_pred = proba.argmax(1)
        scores = [sk.accuracy_score(y, y_pred), sk.balanced_accuracy_score(y, y_pred)]
        scores += [sk.precision_score(y, y_pred, average="macro"), sk.recall_score(y, y_pred, average="macro")]
        scores += [sk.f1_score(y, y_pred, average="macro"), sk.cohen_kappa_score(y, y_pred)]
        scores += [sk.matthews_corrcoef(y, y_pred)]
        scores += [sk.roc_auc_score(y, proba[:, 1] if binary else proba, multi_class="ovr"), sk.log_loss(y, proba)]
        scores += [sk.brier_score_loss(y, proba[:, 1] if binary else proba, scale_by_half=False)]
        rows.append([float(score) for score in scores])
    return rows


def time_call(call: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_ratio(k: int) -> float:
    """Print and return the ratio of times for k classes."""
    rng = np.random.default_rng(k)
    y = rng.integers(0, k, N_ROWS)
    runs = []
    for _ in range(N_RUNS):
        proba = rng.dirichlet(np.ones(k), N_ROWS) + 0.3 * np.eye(k)[y]
        runs.append(proba / proba.sum(1, keepdims=True))
    targets = ClassTargets(tuple(map(str, range(k))), y)

    def by_draws() -> object:
        return draw_scores([Scorer(targets, proba, NAMES) for proba in runs], Resamples.of(len(targets)))

    featx_scores = [list(Scorer(targets, proba, NAMES).plain().values()) for proba in runs]
    np.testing.assert_allclose(featx_scores, compute_scikit_learn_scores(y, runs), rtol=1e-9)
    timings = [(time_call(lambda: compute_scikit_learn_scores(y, runs)), time_call(by_draws)) for _ in range(N_TURNS)]
    scikit_learn_s, draws_s = (statistics.median(times) for times in zip(*timings, strict=True))
    print(
        f"{k} classes  {N_DRAWS} draws {draws_s:.2f} s, one pass of scikit-learn {scikit_learn_s:.2f} s "
        f"(medians of {N_TURNS}, in turn): {draws_s / scikit_learn_s:.1f} x"
    )
    return draws_s / scikit_learn_s


def main() -> None:
    """Print the ratios and the peak memory; exit with 1 if one is too large."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, commit {commit()}")
    ratios = [measure_ratio(k) for k in (2, 10)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"peak memory of the process {peak / 1e9:.2f} GB")
    sys.exit(0 if max(ratios) < MAX_TIME_RATIO and peak < MAX_PEAK_BYTES else 1)


if __name__ == "__main__":
    main()
