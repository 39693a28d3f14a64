"""One pass through the engine: each image once, in batches of one shape, failures named, rows never shifted."""

import io
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featx.embeddings.engine import NOT_FINITE, Lane, PassStatistics, Rows, Runner, Times, run, workers_for
from featx.images.contents import digest
from featx.progress import no_progress
from featx.specs.embedding import Decoding, Preprocessing
from featx.specs.extraction import EngineSpec

HALF = (0.5, 0.5, 0.5)
SMALL, LARGE = (Preprocessing(size_px=side, mean=HALF, std=HALF) for side in (4, 8))
Todo = list[tuple[str, bytes]]


class Means:
    """A network that gives each image's mean colour; it notes what it was given and how many calls ran at once."""

    def __init__(self, rows: int, in_flight: int = 1, seconds: float = 0.0) -> None:
        self.rows, self.in_flight, self.seconds = rows, in_flight, seconds
        self.provenance = {"device": "none"}
        self.shapes: list[tuple[int, ...]] = []
        self.at_once, self._now, self._lock = 0, 0, threading.Lock()

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """See `Runner`."""
        with self._lock:
            self.shapes.append(pixels.shape)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        means = pixels.reshape(len(pixels), -1, 3).mean(axis=1, dtype=np.float32)
        return [means, np.where(means[:, :1] == 13, np.float32("nan"), means[:, :1])]


class Kept:
    """What a lane handed on."""

    def __init__(self) -> None:
        self.rows: dict[str, list[list[float]]] = {}

    def __call__(self, digests: Sequence[str], rows: Rows) -> None:
        """See `featx.embeddings.engine.Sink`."""
        for at, name in enumerate(digests):
            assert name not in self.rows, "handed on twice"
            self.rows[name] = [x[at].tolist() for x in rows]


def pictures(n: int, broken: Sequence[int] = ()) -> Todo:
    """Return n pictures of one colour, which is their number."""
    found = []
    for number in range(n):
        buffer = io.BytesIO()
        Image.new("RGB", (9, 9), (number, 1, 2)).save(buffer, "PNG")
        content = b"broken %d" % number if number in broken else buffer.getvalue()
        found.append((digest(content), content))
    return found


def lane(runner: Runner, wanted: Todo, kept: Kept, size: Preprocessing = SMALL) -> Lane:
    """Make a lane that is ready at once."""
    return Lane(size, frozenset(name for name, _ in wanted), lambda: runner, kept)


def passed_through(lanes: list[Lane], todo: Todo, **engine: int) -> PassStatistics:
    """Send everything through."""
    return run(lanes, todo, Decoding(), EngineSpec(**engine), no_progress)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rows", "in_flight", "batch_size"), [(1, 1, 1), (4, 2, 3), (7, 3, 8), (64, 1, 100)])
def test_each_image_comes_out_once_with_its_own_row(rows: int, in_flight: int, batch_size: int) -> None:
    todo, kept, means = pictures(30, broken=[3, 29]), Kept(), Means(rows, in_flight)
    passed = passed_through([lane(means, todo, kept)], todo, batch_size=batch_size)
    good = {todo[number][0]: number for number in range(30) if number not in {3, 13, 29}}
    assert {name: found[0] for name, found in kept.rows.items()} == {name: [at, 1, 2] for name, at in good.items()}
    assert passed.embedded == set(good)
    assert passed.failed == {
        todo[3][0]: "is not an image of a known format",
        todo[29][0]: "is not an image of a known format",
        todo[13][0]: NOT_FINITE,
    }
    assert set(means.shapes) == {(rows, 4, 4, 3)}
    assert len(means.shapes) == -(-28 // rows)


def test_one_pass_serves_networks_of_several_sizes_each_with_what_it_lacks() -> None:
    todo, first, second = pictures(12), Kept(), Kept()
    small, large = Means(5), Means(3)
    passed_through([lane(small, todo, first), lane(large, todo[::2], second, LARGE)], todo)
    assert set(first.rows) == {name for name, _ in todo}
    assert set(second.rows) == {name for name, _ in todo[::2]}
    assert (set(small.shapes), set(large.shapes)) == ({(5, 4, 4, 3)}, {(3, 8, 8, 3)})
    assert all(second.rows[name] == first.rows[name] for name in second.rows)


def test_as_many_batches_are_in_a_network_as_it_takes() -> None:
    todo, kept, means = pictures(12), Kept(), Means(1, in_flight=3, seconds=0.05)
    passed = passed_through([lane(means, todo, kept)], todo)
    assert means.at_once == 3
    assert passed.times.threads == 3
    assert passed.times.network_s >= 12 * 0.05


def test_what_is_done_when_the_pass_is_interrupted_is_kept() -> None:
    todo, kept = pictures(40), Kept()

    def stop(_stage: str, done: int, _total: int, _note: str = "") -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([lane(Means(4), todo, kept)], todo, Decoding(), EngineSpec(), stop)
    assert len(kept.rows) in {19, 20}  # picture 13 has no finite row
    assert set(kept.rows) <= {name for name, _ in todo[:20]}


def test_a_network_is_made_ready_only_when_an_image_can_be_decoded() -> None:
    todo = pictures(3, broken=[0, 1, 2])

    def never() -> Runner:
        raise AssertionError("made ready for nothing")

    passed = passed_through([Lane(SMALL, frozenset(name for name, _ in todo), never, Kept())], todo)
    assert len(passed.failed) == 3
    assert passed_through([Lane(SMALL, frozenset(), never, Kept())], []).embedded == set()


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (Times(workers=2, decode_s=18, network_s=3, write_s=1, wall_s=10), "bottleneck: decode, busy 90% of the time"),
        (Times(threads=2, decode_s=2, network_s=19, write_s=1, wall_s=10), "bottleneck: network, busy 95% of the time"),
        (Times(decode_s=2, network_s=3, write_s=8, wall_s=10), "bottleneck: write, busy 80% of the time"),
    ],
)
def test_the_busiest_stage_is_named_with_what_would_help(times: Times, said: str) -> None:
    assert times.verdict().startswith(said)
    assert "; to go faster, use " in times.verdict()


def test_as_many_workers_decode_as_are_asked_for() -> None:
    assert workers_for(EngineSpec(workers=8)) == 8
    assert 1 <= workers_for(EngineSpec()) <= 4
