"""The staged engine: decode in workers → batches of one fixed shape → networks on threads → whoever keeps the rows.

One pass over the images serves all networks. The stages are joined by short queues, so memory does not grow with the
number of images, and each notes how long it was at work.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.workers import Decoder, Todo, decoded
from featx.errors import DeviceError
from featx.images.decode import Pixels
from featx.progress import ProgressCallback
from featx.specs.embedding import Decoding, Preprocessing
from featx.specs.extraction import EngineSpec

MOST_WORKERS = 4  # by default; more is asked for by name
AHEAD = 1  # batches that wait for a network beside those that are in it
NOT_FINITE = "the network gives values that are not finite"
MEMORY = ("out of memory", "allocate memory", "bad_alloc", "bad allocation")  # how libraries say it

Rows = list[NDArray[np.float32]]  # (b, d) of each tap
Sink = Callable[[Sequence[str], Rows], None]  # digests, their rows


class Runner(Protocol):
    """A network made ready for batches of one shape.

    Attributes
    ----------
    rows
        Of a batch.
    in_flight
        Calls that may run at once, each on its own thread.
    provenance
        Device, runtime, its version and precision, as they were found and not as they were asked for.
    """

    rows: int
    in_flight: int
    provenance: dict[str, str]

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """Return (rows, d) float32 for each tap from (rows, h, w, 3) pixels."""


@dataclass(frozen=True)
class Lane:
    """One network's way through the engine.

    Attributes
    ----------
    size
        What it takes.
    wanted
        Digests of the images that it is to see.
    runner
        Makes it ready; called when the first batch is there, and once.
    sink
        Gets the rows.
    """

    size: Preprocessing
    wanted: frozenset[str]
    runner: Callable[[], Runner]
    sink: Sink


@dataclass
class Times:
    """Seconds that each stage was at work, over all its workers or threads, and from start to end.

    Attributes
    ----------
    workers, threads
        How many decode, and how many run networks.
    build_s
        Of making networks ready; not part of `wall_s`.
    """

    workers: int = 1
    threads: int = 1
    decode_s: float = 0.0
    network_s: float = 0.0
    write_s: float = 0.0
    build_s: float = 0.0
    wall_s: float = 0.0

    def shares(self) -> dict[str, float]:
        """Return each stage's time at work as a share of the time that it could have been."""
        wall = max(self.wall_s, 1e-9)
        at_work = {
            "decode": self.decode_s / self.workers,
            "network": self.network_s / self.threads,
            "write": self.write_s,
        }
        return {stage: min(seconds / wall, 1.0) for stage, seconds in at_work.items()}

    def verdict(self) -> str:
        """Say in one line which stage was busiest, and what would help."""
        shares = self.shares()
        stage = max(shares, key=lambda name: shares[name])
        cores = os.cpu_count() or 1
        more = f"try --workers {2 * self.workers}" if self.workers < cores else "fewer or smaller images, or more cores"
        helps = {"decode": more, "network": "a faster device or runtime", "write": "a faster disk for the cache"}
        listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        return f"{stage}-bound: busy {shares[stage]:.0%} of the time ({listed}); what would help: {helps[stage]}"


@dataclass
class PassStatistics:
    """What became of the images of one pass.

    Attributes
    ----------
    embedded
        Digests that have all their vectors.
    failed
        Digest → why it lacks one.
    times
        Where the time went.
    batch_s
        For each network the seconds an image of each full batch.
    """

    embedded: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    times: Times = field(default_factory=Times)
    batch_s: list[list[float]] = field(default_factory=list)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that memory does not do."""
    return isinstance(error, MemoryError) or any(how in str(error).lower() for how in MEMORY)


def workers_for(engine: EngineSpec) -> int:
    """Return how many processes decode: as many as asked for, or one a core."""
    return engine.workers or min(MOST_WORKERS, os.cpu_count() or 1)


def run(
    lanes: Sequence[Lane], todo: Todo, decoding: Decoding, engine: EngineSpec, progress: ProgressCallback
) -> PassStatistics:
    """Send images through all lanes that want them.

    Parameters
    ----------
    todo
        (digest, place) of each image, each once.

    Returns
    -------
    Passed
        each digest of `todo` is in ``embedded`` or in ``failed``.
    """
    passed = PassStatistics()
    if not todo:
        return passed
    sizes = tuple(dict.fromkeys(lane.size for lane in lanes))
    passed.times.workers = workers_for(engine)
    flows = [_Flow(lane, passed) for lane in lanes]
    start, is_whole = time.perf_counter(), False
    images = decoded(todo, Decoder(decoding, sizes), passed.times.workers, engine.batch_size)
    try:
        for number, (digest, found, seconds) in enumerate(images, start=1):
            passed.times.decode_s += seconds
            if isinstance(found, str):
                passed.failed[digest] = found
            else:
                for flow in flows:
                    if digest in flow.lane.wanted:
                        flow.add(digest, found[sizes.index(flow.lane.size)])
            n_failed = len(passed.failed)
            progress("embed", number, len(todo), f"{n_failed} unreadable" if n_failed else "")
        is_whole = True
    finally:
        images.close()
        for flow in flows:
            flow.finish(is_whole)  # after Ctrl-C as well: what is done is kept
    passed.embedded = {digest for digest, _ in todo if digest not in passed.failed}
    passed.times.wall_s = time.perf_counter() - start - passed.times.build_s
    return passed


class _Flow:
    """The batches of one lane that are being filled or are in its network."""

    def __init__(self, lane: Lane, passed: PassStatistics) -> None:
        self.lane = lane
        self._passed = passed
        self._batch_s: list[float] = []
        passed.batch_s.append(self._batch_s)
        self._digests: list[str] = []
        self._pixels: list[Pixels] = []
        self._waiting: deque[tuple[list[str], Future[tuple[Rows, float]]]] = deque()
        self._runner: Runner | None = None
        self._threads: ThreadPoolExecutor | None = None

    def add(self, digest: str, pixels: Pixels) -> None:
        """Take one image; a full batch is sent on."""
        self._digests.append(digest)
        self._pixels.append(pixels)
        if len(self._digests) == self._ready().rows:
            self._send()

    def _ready(self) -> Runner:
        if self._runner is None:
            start = time.perf_counter()
            self._runner = self.lane.runner()
            self._threads = ThreadPoolExecutor(self._runner.in_flight)
            self._passed.times.build_s += time.perf_counter() - start
            self._passed.times.threads = max(self._passed.times.threads, self._runner.in_flight)
        return self._runner

    def _send(self) -> None:
        """Hand a batch to the network, padded with black; wait where too many are there already."""
        runner = self._ready()
        assert self._threads is not None
        side = self.lane.size.canvas_px
        batch = np.zeros((runner.rows, side, side, 3), dtype=np.uint8)
        for at, pixels in enumerate(self._pixels):
            batch[at] = pixels  # one grey channel is spread over three
        self._waiting.append((self._digests, self._threads.submit(_timed, runner, batch)))
        self._digests, self._pixels = [], []
        while len(self._waiting) > runner.in_flight + AHEAD:
            self._receive()

    def _receive(self) -> None:
        """Pass the rows of the oldest batch on; rows that are not finite are failures."""
        digests, future = self._waiting.popleft()
        try:
            outputs, seconds = future.result()
        except Exception as error:
            if is_out_of_memory(error):
                raise DeviceError(
                    "the network ran out of memory in the middle of the work; what is embedded stays and has its batch "
                    "shape: free memory and run again"
                ) from error
            raise
        self._passed.times.network_s += seconds
        runner = self._ready()
        if len(digests) == runner.rows:
            self._batch_s.append(seconds / (runner.rows * runner.in_flight))
        columns = [output[: len(digests)] for output in outputs]
        good = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in columns])
        self._passed.failed |= {digests[at]: NOT_FINITE for at in np.flatnonzero(~good).tolist()}
        start = time.perf_counter()
        kept = [digest for digest, fine in zip(digests, good, strict=True) if fine]
        self.lane.sink(kept, [x[good] for x in columns])
        self._passed.times.write_s += time.perf_counter() - start

    def finish(self, is_whole: bool) -> None:
        """Receive what is on its way; where all images have come, send the last batch first."""
        try:
            if is_whole and self._digests:
                self._send()
            while self._waiting:
                self._receive()
        finally:
            if self._threads is not None:
                self._threads.shutdown()


def _timed(runner: Runner, batch: NDArray[np.uint8]) -> tuple[Rows, float]:
    start = time.perf_counter()
    return runner(batch), time.perf_counter() - start
