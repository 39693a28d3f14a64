"""One pass over images for all networks: decoding in processes, batches of one shape, networks on threads, storage.

The stages are joined by short queues, so memory does not grow with the number of images, and the time that each stage
is busy is measured.
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

from featx.embeddings.workers import ChunkDecoder, Clipped, Decoder, Images, Sizes, decode_images
from featx.errors import DeviceError
from featx.images.value_ranges import Pixels
from featx.progress import ProgressCallback
from featx.specs.embedding import Decoding, Preprocessing
from featx.specs.extraction import EngineSpec

# Decoding processes by default; a recipe or an option may name more.
MAX_DEFAULT_WORKERS = 4
# Batches that wait for a network beside those that it computes.
MAX_WAITING_BATCHES = 1
NOT_FINITE = "the network gives values that are not finite"
# Parts of the messages by which libraries report that memory is exhausted.
OUT_OF_MEMORY_MESSAGES = ("out of memory", "allocate memory", "bad_alloc", "bad allocation", "_status_alloc_failed")
# Whole messages by which oneDNN, which computes layers on the CPU, reports it.
ONEDNN_MESSAGES = ("could not create a primitive", "could not create a memory object", "could not execute a primitive")

Rows = list[NDArray[np.float32]]  # (b, d) of each tap
Sink = Callable[[Sequence[str], Rows], None]  # takes digests and their rows
# (settings of decoding, preprocessing of each network) → what workers do with the images.
DecoderMaker = Callable[[Decoding, tuple[Preprocessing, ...]], ChunkDecoder[Sizes]]


class Runner(Protocol):
    """A network built for batches of one shape, on one device, by one runtime.

    Attributes
    ----------
    rows
        Images per batch.
    in_flight
        Number of calls that may run at once, each on its own thread.
    provenance
        Device, runtime with its version, and precision that are in use, which may differ from the settings.
    """

    rows: int
    in_flight: int
    provenance: dict[str, str]

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """Return (rows, d) float32 for each tap from (rows, h, w, 3) pixels."""


@dataclass(frozen=True)
class NetworkPass:
    """One network in a pass: its images, and where its rows go.

    Attributes
    ----------
    preprocessing
        Size and normalisation of the images that the network takes.
    digests
        Digests of the images that the network embeds.
    build_runner
        Builds the runner; called once, when the first image is decoded.
    sink
        Takes the rows of each batch.
    """

    preprocessing: Preprocessing
    digests: frozenset[str]
    build_runner: Callable[[], Runner]
    sink: Sink


@dataclass
class StageTimes:
    """Busy seconds of each stage, summed over its processes or threads, and the duration of the pass.

    Attributes
    ----------
    workers, threads
        Number of decoding processes, and of threads that run networks.
    decode_s, network_s, write_s
        Busy seconds of each stage.
    build_s
        Seconds to build the runners; not part of `wall_s`.
    wall_s
        Seconds from the start to the end of the pass.
    """

    workers: int = 1
    threads: int = 1
    decode_s: float = 0.0
    network_s: float = 0.0
    write_s: float = 0.0
    build_s: float = 0.0
    wall_s: float = 0.0

    def shares(self) -> dict[str, float]:
        """Return the share of the pass during which each stage was busy, averaged over its processes or threads."""
        wall_s = max(self.wall_s, 1e-9)
        busy_s = {
            "decode": self.decode_s / self.workers,
            "network": self.network_s / self.threads,
            "write": self.write_s,
        }
        return {stage: min(seconds / wall_s, 1.0) for stage, seconds in busy_s.items()}

    def bottleneck(self) -> str:
        """Return one line that names the busiest stage and what would make it faster."""
        shares = self.shares()
        stage = max(shares, key=lambda name: shares[name])
        more_workers = (
            f"more processes for decoding (workers = {2 * self.workers})"
            if self.workers < (os.cpu_count() or 1)
            else "fewer or smaller images, or more cores"
        )
        speedups = {
            "decode": more_workers,
            "network": "a faster device or runtime",
            "write": "a faster disk for the cache",
        }
        shares_text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        return (
            f"bottleneck: {stage}, busy {shares[stage]:.0%} of the time ({shares_text}); to go faster, "
            f"use {speedups[stage]}"
        )


@dataclass
class PassStatistics:
    """The result of one pass over images.

    Attributes
    ----------
    embedded
        Digests of the images with a vector from each network.
    failed
        Digest → reason why an image lacks a vector.
    clipped
        Digest → extremes of an image with values outside ``decoding.value_range``.
    times
        Busy seconds of each stage.
    batch_s
        Seconds per image of each full batch, one list for each network.
    """

    embedded: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    clipped: Clipped = field(default_factory=dict)
    times: StageTimes = field(default_factory=StageTimes)
    batch_s: list[list[float]] = field(default_factory=list)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, of whatever library, reports that memory is exhausted."""
    text = str(error).lower()
    is_stated = text in ONEDNN_MESSAGES or any(message in text for message in OUT_OF_MEMORY_MESSAGES)
    return isinstance(error, MemoryError) or is_stated


def workers_for(engine: EngineSpec) -> int:
    """Return the number of decoding processes: the one set, or one per core up to `MAX_DEFAULT_WORKERS`."""
    return engine.workers or min(MAX_DEFAULT_WORKERS, os.cpu_count() or 1)


def run(  # noqa: PLR0913 (each is one part of a pass)
    network_passes: Sequence[NetworkPass],
    encoded_images: Images,
    decoding: Decoding,
    engine: EngineSpec,
    progress: ProgressCallback,
    make_decoder: DecoderMaker = Decoder,
) -> PassStatistics:
    """Decode each image once and send it through the networks that list its digest.

    Parameters
    ----------
    network_passes
        The networks.
    encoded_images
        (digest, source) of each image, each once.
    make_decoder
        Makes what workers do with the images; by default they are decoded and resized.

    Returns
    -------
    PassStatistics
        each digest of `encoded_images` is in ``embedded`` or in ``failed``.
    """
    statistics = PassStatistics()
    if not encoded_images:
        return statistics
    sizes = tuple(dict.fromkeys(network_pass.preprocessing for network_pass in network_passes))
    statistics.times.workers = workers_for(engine)
    batchers = [_Batcher(network_pass, statistics) for network_pass in network_passes]
    start, is_complete = time.perf_counter(), False
    decoder = make_decoder(decoding, sizes)
    images = decode_images(encoded_images, decoder, statistics.times.workers, engine.batch_size, statistics.clipped)
    try:
        for number, (digest, pixels, decode_s) in enumerate(images, start=1):
            statistics.times.decode_s += decode_s
            if isinstance(pixels, str):
                statistics.failed[digest] = pixels
            else:
                for batcher in batchers:
                    if digest in batcher.network_pass.digests:
                        batcher.add(digest, pixels[sizes.index(batcher.network_pass.preprocessing)])
            n_failed = len(statistics.failed)
            progress("embed", number, len(encoded_images), f"{n_failed} unreadable" if n_failed else "")
        is_complete = True
    finally:
        images.close()
        # Batches that were computed before an interruption are stored as well.
        for batcher in batchers:
            batcher.finish(is_complete)
    statistics.embedded = {digest for digest, _ in encoded_images if digest not in statistics.failed}
    statistics.times.wall_s = time.perf_counter() - start - statistics.times.build_s
    return statistics


class _Batcher:
    """The batches of one network that are being filled or computed."""

    def __init__(self, network_pass: NetworkPass, statistics: PassStatistics) -> None:
        self.network_pass = network_pass
        self._statistics = statistics
        self._batch_s: list[float] = []
        statistics.batch_s.append(self._batch_s)
        self._digests: list[str] = []
        self._pixels: list[Pixels] = []
        self._waiting: deque[tuple[list[str], Future[tuple[Rows, float]]]] = deque()
        self._runner: Runner | None = None
        self._threads: ThreadPoolExecutor | None = None

    def add(self, digest: str, pixels: Pixels) -> None:
        """Take one image, and send the batch to the network once it is full."""
        self._digests.append(digest)
        self._pixels.append(pixels)
        if len(self._digests) == self._get_runner().rows:
            self._send()

    def _get_runner(self) -> Runner:
        if self._runner is None:
            start = time.perf_counter()
            self._runner = self.network_pass.build_runner()
            self._threads = ThreadPoolExecutor(self._runner.in_flight)
            times = self._statistics.times
            times.build_s += time.perf_counter() - start
            times.threads = max(times.threads, self._runner.in_flight)
        return self._runner

    def _send(self) -> None:
        """Send a batch, padded with black, to the network; wait where too many are there already."""
        runner = self._get_runner()
        assert self._threads is not None
        side = self.network_pass.preprocessing.canvas_px
        batch = np.zeros((runner.rows, side, side, 3), dtype=np.uint8)
        for row, pixels in enumerate(self._pixels):
            # Images with one grey channel are broadcast to three.
            batch[row] = pixels
        self._waiting.append((self._digests, self._threads.submit(_run_timed, runner, batch)))
        self._digests, self._pixels = [], []
        while len(self._waiting) > runner.in_flight + MAX_WAITING_BATCHES:
            self._receive()

    def _receive(self) -> None:
        """Pass the rows of the oldest batch to the sink; rows that are not finite are failures."""
        digests, future = self._waiting.popleft()
        try:
            outputs, network_s = future.result()
        except Exception as error:
            if is_out_of_memory(error):
                raise DeviceError(
                    "the network ran out of memory during the extraction; stored embeddings are kept and fix the batch "
                    "size: free memory and run again"
                ) from error
            raise
        statistics = self._statistics
        statistics.times.network_s += network_s
        runner = self._get_runner()
        if len(digests) == runner.rows:
            self._batch_s.append(network_s / (runner.rows * runner.in_flight))
        columns = [output[: len(digests)] for output in outputs]
        is_finite = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in columns])
        statistics.failed |= {digests[row]: NOT_FINITE for row in np.flatnonzero(~is_finite).tolist()}
        start = time.perf_counter()
        finite_digests = [digests[row] for row in np.flatnonzero(is_finite).tolist()]
        self.network_pass.sink(finite_digests, [x[is_finite] for x in columns])
        statistics.times.write_s += time.perf_counter() - start

    def finish(self, is_complete: bool) -> None:
        """Receive all batches that were sent; where all images have come, send the last, partial batch first."""
        try:
            if is_complete and self._digests:
                self._send()
            while self._waiting:
                self._receive()
        finally:
            if self._threads is not None:
                self._threads.shutdown()


def _run_timed(runner: Runner, batch: NDArray[np.uint8]) -> tuple[Rows, float]:
    start = time.perf_counter()
    return runner(batch), time.perf_counter() - start
