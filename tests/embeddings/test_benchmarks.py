"""Speeds of runtimes: how they are measured, and when a further measurement is not worth its time."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.embeddings.benchmarks import BenchmarkJournal, fastest_runtime, images_per_s
from featx.embeddings.runtimes import Execution
from featx.images.value_ranges import Pixels


class SlowRunner:
    """A runner of two images whose call outlasts the time of a measurement."""

    rows = 2
    in_flight = 2

    def __call__(self, pixels: Pixels) -> list[Any]:
        time.sleep(0.01)
        return []


def test_a_slow_runner_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.embeddings.benchmarks.BENCHMARK_S", 0.0)
    rate = images_per_s(SlowRunner(), np.zeros((1, 4, 4, 3), np.uint8))  # type: ignore[arg-type]
    assert 0 < rate < 2 * 2 / 0.01 * 1.01


class TimedNetwork:
    """A network whose runners do nothing."""

    def build_runner(self, execution: Execution, rows: int | None = None) -> Any:
        return SlowRunner()


@pytest.mark.parametrize(
    ("n_images", "rates", "measured"),
    [
        # Eager torch finishes soon; ONNX Runtime does; none does; OpenVINO is needed only for more images.
        (100, {"torch": 100.0, "onnx": 900.0, "openvino": 900.0}, ["torch"]),
        (1_000, {"torch": 100.0, "onnx": 900.0, "openvino": 900.0}, ["torch", "onnx"]),
        (10_000, {"torch": 100.0, "onnx": 900.0, "openvino": 950.0}, ["torch", "onnx", "openvino"]),
    ],
)
def test_benchmarks_end_when_a_runtime_finishes_soon(
    n_images: int, rates: dict[str, float], measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.embeddings.benchmarks.is_installed", lambda _: True)
    order = iter(rates.values())
    monkeypatch.setattr("featx.embeddings.benchmarks.images_per_s", lambda runner, pixels: next(order))
    journal = BenchmarkJournal(tmp_path, [], TimedNetwork())  # type: ignore[arg-type]
    runner = fastest_runtime(journal, None, n_images, lambda: np.zeros((1, 4, 4, 3), np.uint8))
    assert isinstance(runner, SlowRunner)
    assert list(journal.speeds()) == measured
    # A later call measures only what is missing for more images.
    fastest_runtime(journal, None, 10_000, lambda: np.zeros((1, 4, 4, 3), np.uint8))
    assert list(journal.speeds()) == ["torch", "onnx", "openvino"]
    assert next(order, None) is None
