"""A pass embeds each image once, in batches of one shape; failures have a reason and shift no rows."""

import io
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featx.embeddings.engine import (
    NOT_FINITE,
    NetworkPass,
    PassStatistics,
    Rows,
    Runner,
    StageTimes,
    is_out_of_memory,
    run,
    workers_for,
)
from featx.images.contents import digest
from featx.progress import no_progress
from featx.specs.embedding import Decoding, Preprocessing
from featx.specs.extraction import EngineSpec

HALF = (0.5, 0.5, 0.5)
SMALL, LARGE = (Preprocessing(size_px=side, mean=HALF, std=HALF) for side in (4, 8))
Todo = list[tuple[str, bytes]]


class MeanColourRunner:
    """A runner that returns mean colours, and records the batch shapes and the number of simultaneous calls."""

    def __init__(self, rows: int, in_flight: int = 1, seconds: float = 0.0) -> None:
        self.rows, self.in_flight, self.seconds = rows, in_flight, seconds
        self.provenance = {"device": "none"}
        self.shapes: list[tuple[int, ...]] = []
        self.at_once, self._now, self._lock = 0, 0, threading.Lock()

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """Return each image's mean colour, and the mean of red with nan for the value 13."""
        with self._lock:
            self.shapes.append(pixels.shape)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        means = pixels.reshape(len(pixels), -1, 3).mean(axis=1, dtype=np.float32)
        return [means, np.where(means[:, :1] == 13, np.float32("nan"), means[:, :1])]


class CollectingSink:
    """A sink that collects the rows of a network."""

    def __init__(self) -> None:
        self.rows: dict[str, list[list[float]]] = {}

    def __call__(self, digests: Sequence[str], rows: Rows) -> None:
        """Store the rows of one batch."""
        for row, name in enumerate(digests):
            assert name not in self.rows, "received twice"
            self.rows[name] = [x[row].tolist() for x in rows]


def pictures(n: int, broken_numbers: Sequence[int] = ()) -> Todo:
    """Return n pictures of one colour, which is their number."""
    images = []
    for number in range(n):
        buffer = io.BytesIO()
        Image.new("RGB", (9, 9), (number, 1, 2)).save(buffer, "PNG")
        content = b"broken %d" % number if number in broken_numbers else buffer.getvalue()
        images.append((digest(content), content))
    return images


def network_pass(
    runner: Runner, images: Todo, sink: CollectingSink, preprocessing: Preprocessing = SMALL
) -> NetworkPass:
    """Return the pass of a network whose runner is already built."""
    return NetworkPass(preprocessing, frozenset(name for name, _ in images), lambda: runner, sink)


def run_pass(network_passes: list[NetworkPass], todo: Todo, **engine: int) -> PassStatistics:
    """Send all images through the networks."""
    return run(network_passes, todo, Decoding(), EngineSpec(**engine), no_progress)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rows", "in_flight", "batch_size"), [(1, 1, 1), (4, 2, 3), (7, 3, 8), (64, 1, 100)])
def test_each_image_has_exactly_one_row(rows: int, in_flight: int, batch_size: int) -> None:
    todo, sink, means = pictures(30, broken_numbers=[3, 29]), CollectingSink(), MeanColourRunner(rows, in_flight)
    statistics = run_pass([network_pass(means, todo, sink)], todo, batch_size=batch_size)
    good = {todo[number][0]: number for number in range(30) if number not in {3, 13, 29}}
    assert {name: rows_of_taps[0] for name, rows_of_taps in sink.rows.items()} == {
        name: [number, 1, 2] for name, number in good.items()
    }
    assert statistics.embedded == set(good)
    assert statistics.failed == {
        todo[3][0]: "is not an image of a known format",
        todo[29][0]: "is not an image of a known format",
        todo[13][0]: NOT_FINITE,
    }
    assert set(means.shapes) == {(rows, 4, 4, 3)}
    assert len(means.shapes) == -(-28 // rows)


def test_one_pass_serves_networks_of_several_sizes() -> None:
    todo, first, second = pictures(12), CollectingSink(), CollectingSink()
    small, large = MeanColourRunner(5), MeanColourRunner(3)
    run_pass([network_pass(small, todo, first), network_pass(large, todo[::2], second, LARGE)], todo)
    assert set(first.rows) == {name for name, _ in todo}
    assert set(second.rows) == {name for name, _ in todo[::2]}
    assert (set(small.shapes), set(large.shapes)) == ({(5, 4, 4, 3)}, {(3, 8, 8, 3)})
    assert all(second.rows[name] == first.rows[name] for name in second.rows)


def test_a_network_computes_as_many_batches_at_once_as_it_can() -> None:
    todo, sink, means = pictures(12), CollectingSink(), MeanColourRunner(1, in_flight=3, seconds=0.05)
    statistics = run_pass([network_pass(means, todo, sink)], todo)
    assert means.at_once == 3
    assert statistics.times.threads == 3
    assert statistics.times.network_s >= 12 * 0.05


def test_an_interrupted_pass_keeps_finished_rows() -> None:
    todo, sink = pictures(40), CollectingSink()

    def stop(_stage: str, n_done: int, _total: int, _note: str = "") -> None:
        if n_done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([network_pass(MeanColourRunner(4), todo, sink)], todo, Decoding(), EngineSpec(), stop)
    assert len(sink.rows) in {19, 20}  # picture 13 has no finite row
    assert set(sink.rows) <= {name for name, _ in todo[:20]}


def test_a_runner_is_built_only_after_an_image_is_decoded() -> None:
    todo = pictures(3, broken_numbers=[0, 1, 2])

    def fail_to_build() -> Runner:
        raise AssertionError("built for nothing")

    statistics = run_pass(
        [NetworkPass(SMALL, frozenset(name for name, _ in todo), fail_to_build, CollectingSink())], todo
    )
    assert len(statistics.failed) == 3
    assert run_pass([NetworkPass(SMALL, frozenset(), fail_to_build, CollectingSink())], []).embedded == set()


@pytest.mark.parametrize(
    ("times", "beginning"),
    [
        (
            StageTimes(workers=2, decode_s=18, network_s=3, write_s=1, wall_s=10),
            "bottleneck: decode, busy 90% of the time",
        ),
        (
            StageTimes(threads=2, decode_s=2, network_s=19, write_s=1, wall_s=10),
            "bottleneck: network, busy 95% of the time",
        ),
        (StageTimes(decode_s=2, network_s=3, write_s=8, wall_s=10), "bottleneck: write, busy 80% of the time"),
    ],
)
def test_the_bottleneck_is_the_busiest_stage_with_a_next_step(times: StageTimes, beginning: str) -> None:
    assert times.bottleneck().startswith(beginning)
    assert "; to go faster, use " in times.bottleneck()


def test_the_number_of_workers_is_the_one_set() -> None:
    assert workers_for(EngineSpec(workers=8)) == 8
    assert 1 <= workers_for(EngineSpec()) <= 4


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "DefaultCPUAllocator: can't allocate memory",
        "could not create a primitive",
    ],
)
def test_libraries_report_exhausted_memory_in_several_ways(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError("CUDNN_STATUS_NOT_SUPPORTED"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
