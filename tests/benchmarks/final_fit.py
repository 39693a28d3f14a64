"""Benchmark of the final fit of a head against the same fit in plain scikit-learn.

usage: python -m tests.benchmarks.final_fit

The head is a logistic regression of 9 classes on 2,048 features, with 216 and 6,132 rows. ``fit`` is the model of all
rows; ``all fits`` are the models of five folds, their predictions for the held-out rows, and the model of all rows.
Both libraries are measured in turn and their medians are compared: on the machine as it is, and with another process
busy on each core. Plain scikit-learn uses its default number of threads; its time with one thread is printed as well.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from featx.artifacts.header import commit
from featx.heads.fitting import fit_out_of_fold, fit_pipeline
from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head, HeadTask
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.target_values import ClassTargets

N_FEATURES, N_CLASSES = 2048, 9
SIZES = (216, 6132)
N_TURNS = 5
MAX_RATIO = 1.2
PARAMS = {"scaling": "standard", "C": 0.01}
SPEC = HeadSpec(name="logreg", calibration="none")
BUSY_LOOP = "while True: pass"


@dataclass(frozen=True)
class Timing:
    """Median seconds of one comparison.

    Attributes
    ----------
    featx_s
        Seconds of featx.
    plain_s
        Seconds of plain scikit-learn with its default number of threads.
    one_thread_s
        Seconds of plain scikit-learn with one thread.
    """

    featx_s: float
    plain_s: float
    one_thread_s: float

    @property
    def ratio(self) -> float:
        """Time of featx relative to that of plain scikit-learn."""
        return self.featx_s / self.plain_s


def make_rows(n_rows: int) -> TrainRows:
    """Return non-negative features, like those of networks, of overlapping classes."""
    rng = np.random.default_rng(0)
    codes = np.arange(n_rows) % N_CLASSES
    centres = rng.normal(size=(N_CLASSES, N_FEATURES))
    x = np.maximum(0, 0.1 * centres[codes] + rng.normal(size=(n_rows, N_FEATURES))).astype(np.float32)
    return TrainRows(x, ClassTargets(tuple(map(str, range(N_CLASSES))), codes))


def make_plain_model() -> Pipeline:
    """Return a usual Pipeline of scikit-learn."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=PARAMS["C"], max_iter=150))


def make_comparisons(rows: TrainRows) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Return the comparisons: name → call of featx and call of scikit-learn."""
    head: Head = HEADS.get("logreg")(HeadTask(*rows.x.shape, N_CLASSES, 0))
    x, y = rows.x, rows.targets.y
    folds = rows.folds(SPEC.folds, SPEC.seed)

    def plain_folds() -> None:
        cross_val_predict(make_plain_model(), x, y, cv=folds, method="predict_proba")
        make_plain_model().fit(x, y)

    return {
        "fit": (lambda: fit_pipeline(head, PARAMS, rows, "none", SPEC), lambda: make_plain_model().fit(x, y)),
        "all fits": (lambda: fit_out_of_fold(head, PARAMS, rows, SPEC), plain_folds),
    }


def seconds(call: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_timing(ours: Callable[[], object], plain_fit: Callable[[], object]) -> Timing:
    """Return the median seconds of calls that are made in turn; the first call of each is not counted."""

    def in_one_thread() -> None:
        with threadpool_limits(1):
            plain_fit()

    timings: list[list[float]] = [
        [seconds(call) for call in (ours, plain_fit, in_one_thread)] for _ in range(N_TURNS + 1)
    ]
    return Timing(*(statistics.median(times) for times in zip(*timings[1:], strict=True)))


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep each core busy with another process."""
    spinning = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> None:
    """Print the table; exit with 1 if the final fit is too slow."""
    warnings.simplefilter("ignore")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, commit {commit()}")
    print(f"{'cores':7}{'rows':>7}  {'calls':10}{'featx':>9}{'plain':>9}{'ratio':>7}{'plain, 1 thread':>17}")
    largest = 0.0
    for n_rows in SIZES:
        for name, calls in make_comparisons(make_rows(n_rows)).items():
            quiet = measure_timing(*calls)
            with busy_cores():
                busy = measure_timing(*calls)
            for cores, timing in (("quiet", quiet), ("busy", busy)):
                print(
                    f"{cores:7}{n_rows:7,}  {name:10}{timing.featx_s:7.2f} s{timing.plain_s:7.2f} s"
                    f"{timing.ratio:7.2f}{timing.one_thread_s:15.2f} s",
                    flush=True,
                )
                largest = max(largest, timing.ratio)
    print(f"largest ratio {largest:.2f}, expected at most {MAX_RATIO}")
    sys.exit(0 if largest <= MAX_RATIO else 1)


if __name__ == "__main__":
    main()
