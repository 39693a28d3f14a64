"""Rates of passes are measured, recorded and added up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.embeddings.throughput import (
    MAX_RATE_RATIO,
    MIN_IMAGES_TO_RECORD,
    Throughput,
    rate_of_batches,
    record_throughput,
    recorded_throughputs,
    seconds_per_image,
    steady_rate,
)


def test_a_pass_over_more_images_replaces_one_over_fewer(tmp_path: Path) -> None:
    for n, rate in ((100, 20.0), (50, 5.0), (200, 25.0)):
        record_throughput(tmp_path, Throughput(("a", "b"), n, rate))
    record_throughput(tmp_path, Throughput(("a",), MIN_IMAGES_TO_RECORD - 1, 1.0))
    assert recorded_throughputs(tmp_path) == [Throughput(("a", "b"), 200, 25.0)]


def test_a_pass_with_several_embeddings_is_counted_once() -> None:
    throughputs = [
        Throughput(("a", "b"), 100, 20.0),
        Throughput(("c",), 100, 50.0),
        Throughput(("a", "b", "c"), 100, 10.0),
    ]
    assert seconds_per_image(throughputs, {"a", "b"}) == pytest.approx(1 / 20)
    assert seconds_per_image(throughputs, {"a", "c"}) == pytest.approx(1 / 20 + 1 / 50)
    assert seconds_per_image(throughputs, {"d"}) is None
    assert seconds_per_image(throughputs, set()) == 0


def disturbed_rate(seed: int) -> Callable[[], float]:
    """Measure a rate of 100 on a machine that is busy half of the time."""
    rng = np.random.default_rng(seed)
    return lambda: 100 * rng.uniform(0.97, 1.0) * rng.choice([1.0, rng.uniform(0.1, 0.9)])


def test_a_steady_rate_is_repeatable_and_none_without_agreement() -> None:
    rates = [rate for rate in (steady_rate(disturbed_rate(seed)) for seed in range(200)) if rate is not None]
    assert len(rates) > 150
    agreeing = [100 / MAX_RATE_RATIO <= rate <= 100 for rate in rates]
    assert np.mean(agreeing) > 0.95
    falling = iter([1000.0 / 2**power for power in range(20)])
    assert steady_rate(lambda: next(falling)) is None


def test_the_rate_of_a_pass_needs_halves_that_agree() -> None:
    even = [9.0, 0.01, 0.011, 0.01, 0.011]
    assert rate_of_batches([even]) == pytest.approx(1 / 0.0105)
    assert rate_of_batches([even, even]) == pytest.approx(1 / 0.021)
    assert rate_of_batches([[9.0, 0.01, 0.01, 0.02, 0.02]]) is None
    assert rate_of_batches([even, [0.01] * 4]) is None
    assert rate_of_batches([]) is None


def _read_only(notes: Path) -> None:
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("a file where the folder should be")


def _linked_lock(notes: Path) -> None:
    notes.mkdir()
    (notes / ".throughputs.lock").symlink_to(notes.parent / "precious")


def _other_content(notes: Path) -> None:
    notes.mkdir()
    (notes / "throughputs.json").write_text('[{"n": 1}, 2]')


def _no_json(notes: Path) -> None:
    notes.mkdir()
    (notes / "throughputs.json").write_bytes(b"\xff{")


@pytest.mark.parametrize("damage", [_read_only, _linked_lock, _other_content, _no_json])
def test_a_rate_that_cannot_be_written_is_logged(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "precious").write_text("content")
    damage(tmp_path / "notes")
    record_throughput(tmp_path / "notes", Throughput(("a",), 100, 20.0))
    assert "the rate of this extraction is not recorded" in caplog.text
    assert (tmp_path / "precious").read_text() == "content"


def test_measurements_of_a_busy_machine_end_after_a_time_limit() -> None:
    rates: list[float] = []

    def measure() -> float:
        rates.append(2.0 ** len(rates))
        return rates[-1]

    assert steady_rate(measure, max_s=0.0) is None
    assert len(rates) == 4
    assert steady_rate(lambda: 5.0, max_s=0.0) == 5.0
