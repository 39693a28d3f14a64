"""What is remembered of passes over images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featx.embeddings.throughput import (
    AGREEMENT,
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


def test_a_pass_that_filled_several_is_counted_once() -> None:
    paces = [Throughput(("a", "b"), 100, 20.0), Throughput(("c",), 100, 50.0), Throughput(("a", "b", "c"), 100, 10.0)]
    assert seconds_per_image(paces, {"a", "b"}) == pytest.approx(1 / 20)
    assert seconds_per_image(paces, {"a", "c"}) == pytest.approx(1 / 20 + 1 / 50)
    assert seconds_per_image(paces, {"d"}) is None
    assert seconds_per_image(paces, set()) == 0


def disturbed(seed: int) -> Callable[[], float]:
    """Measure a rate of 100 on a machine that is busy half of the time."""
    rng = np.random.default_rng(seed)
    return lambda: 100 * rng.uniform(0.97, 1.0) * rng.choice([1.0, rng.uniform(0.1, 0.9)])


def test_two_measurements_of_a_rate_agree_or_there_is_none() -> None:
    rates = [rate for rate in (steady_rate(disturbed(seed)) for seed in range(200)) if rate is not None]
    assert len(rates) > 150
    agreeing = [100 / AGREEMENT <= rate <= 100 for rate in rates]
    assert np.mean(agreeing) > 0.95
    falling = iter([1000.0 / 2**at for at in range(20)])
    assert steady_rate(lambda: next(falling)) is None


def test_the_rate_of_a_pass_is_that_of_its_batches_where_its_halves_agree() -> None:
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
    (notes / ".paces.lock").symlink_to(notes.parent / "precious")


def _other_content(notes: Path) -> None:
    notes.mkdir()
    (notes / "paces.json").write_text('[{"n": 1}, 2]')


def _no_json(notes: Path) -> None:
    notes.mkdir()
    (notes / "paces.json").write_bytes(b"\xff{")


@pytest.mark.parametrize("spoil", [_read_only, _linked_lock, _other_content, _no_json])
def test_a_note_that_cannot_be_kept_is_logged(
    spoil: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "precious").write_text("content")
    spoil(tmp_path / "notes")
    record_throughput(tmp_path / "notes", Throughput(("a",), 100, 20.0))
    assert "the rate of this extraction is not recorded" in caplog.text
    assert (tmp_path / "precious").read_text() == "content"
