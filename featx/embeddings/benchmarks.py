"""Measured speeds of runtimes and deviations of precisions for one network on this machine.

Results are stored in ``benchmarks.json`` by network and machine, so that nothing is measured twice.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from featx.embeddings.deviation import Deviation, PrecisionAudit
from featx.embeddings.devices import gpu_names
from featx.embeddings.engine import Runner
from featx.embeddings.machine import CPU_RUNTIMES, arithmetic
from featx.embeddings.runtimes import Execution, PortableNetwork, is_installed
from featx.embeddings.throughput import rounded_rate
from featx.files.atomic import file_lock, read_json_as, write_json
from featx.images.value_ranges import Pixels
from featx.progress import ProgressCallback, no_progress
from featx.specs.base import fingerprint
from featx.specs.embedding import EmbeddingSpec, Precision
from featx.specs.extraction import Runtime

# Seconds. If a measured runtime embeds all images sooner, further benchmarks would take longer than they save.
MIN_SECONDS_TO_BENCHMARK = 3.0
# Seconds that the speed of one runtime is measured for.
BENCHMARK_S = 0.25
# A runtime that is less than this factor faster may be so by chance.
MIN_SPEEDUP = 1.1


def machine() -> dict[str, str]:
    """Return everything that a measured rate depends on: processor, cores, GPUs and the runtimes' versions."""
    return arithmetic() | {"cores": str(os.cpu_count()), "gpus": ", ".join(gpu_names())}


@dataclass(frozen=True)
class RuntimeSpeed:
    """The speed of one runtime for one network.

    Attributes
    ----------
    images_per_s
        Images per second of the network alone, without reading and decoding.
    build_s
        Seconds to build the runner.
    """

    images_per_s: float
    build_s: float

    def seconds(self, n_images: int, *, is_built: bool) -> float:
        """Return the expected seconds to embed `n_images`, and to build the runner if it is not built."""
        return (0.0 if is_built else self.build_s) + n_images / self.images_per_s


class BenchmarkJournal:
    """The benchmarks of one network on this machine, stored in a file.

    Parameters
    ----------
    local_folder
        The local folder of the cache, in which ``benchmarks.json`` lies.
    specs
        The embeddings that the network computes, in fp32; they identify the network.
    portable
        The network.
    """

    def __init__(self, local_folder: Path, specs: Sequence[EmbeddingSpec], portable: PortableNetwork) -> None:
        self.portable = portable
        self._file = local_folder / "benchmarks.json"
        self._key = fingerprint({"specs": [spec.identity() for spec in specs], "machine": machine()})

    def _read_own_entries(self) -> dict[str, Any]:
        return dict(self._read_all_entries().get(self._key, {}))

    def _read_all_entries(self) -> dict[str, Any]:
        return read_json_as(self._file, dict[str, dict[str, Any]]) if self._file.is_file() else {}

    def _write_entry(self, name: str, value: Mapping[str, Any]) -> None:
        with file_lock(self._file.with_name(".benchmarks.lock")):
            entries = self._read_all_entries()
            entries.setdefault(self._key, {})[name] = value
            write_json(self._file, entries)

    def precision(self, reason: str) -> PrecisionAudit | None:
        """Return the audit recorded for a reason (`RuntimeSelector.reason`), None where there is none."""
        entry = self._read_own_entries().get(reason)
        if entry is None:
            return None
        deviation = entry["deviation"] and Deviation.model_validate(entry["deviation"])
        return PrecisionAudit(TypeAdapter(Precision).validate_python(entry["precision"]), deviation)

    def record_precision(self, reason: str, audit: PrecisionAudit) -> None:
        """Store the audit for a reason."""
        precision = audit.precision if isinstance(audit.precision, str) else audit.precision.identity()
        deviation = audit.deviation and audit.deviation.model_dump()
        self._write_entry(reason, {"precision": precision, "deviation": deviation})

    def speeds(self) -> dict[Runtime, RuntimeSpeed]:
        """Return the recorded speeds of the runtimes in fp32 on the CPU, empty where none is recorded."""
        return {name: RuntimeSpeed(**figures) for name, figures in self._read_own_entries().get("speeds", {}).items()}

    def record_speeds(self, speeds: Mapping[Runtime, RuntimeSpeed]) -> None:
        """Store the speeds of the runtimes."""
        self._write_entry("speeds", {name: asdict(speed) for name, speed in speeds.items()})


def fastest_runtime(
    journal: BenchmarkJournal,
    rows: int | None,
    n_images: int,
    load_pixels: Callable[[], Pixels],
    progress: ProgressCallback = no_progress,
) -> Runner:
    """Return a runner in the runtime that embeds `n_images` soonest in fp32 on the CPU, its build included.

    Parameters
    ----------
    journal
        Recorded benchmarks of the network; new measurements are added.
    rows
        Images per batch; None lets the runtime choose.
    n_images
        Number of images to embed. Decides whether building a faster runtime pays.
    load_pixels
        Returns images to measure with, (n, h, w, 3) uint8; called only if there is something to measure.
    """
    speeds, runners = journal.speeds(), dict[Runtime, Runner]()
    installed_runtimes = [name for name in CPU_RUNTIMES if is_installed(name)]

    def expected_s(name: Runtime) -> float:
        return speeds[name].seconds(n_images, is_built=name in runners)

    for name in [name for name in installed_runtimes if name not in speeds]:
        if any(expected_s(runtime) < MIN_SECONDS_TO_BENCHMARK for runtime in speeds):
            break
        start = time.perf_counter()
        runners[name] = journal.portable.build_runner(Execution(name, "cpu"), rows)
        build_s = time.perf_counter() - start
        speeds[name] = RuntimeSpeed(rounded_rate(images_per_s(runners[name], load_pixels())), round(build_s, 2))
        progress("try runtimes", len(speeds), len(installed_runtimes), f"{name} {speeds[name].images_per_s} images/s")
    if runners:
        progress("try runtimes", len(installed_runtimes), len(installed_runtimes))
        journal.record_speeds(speeds)
    # Torch comes first and is always measured.
    best_runtime: Runtime = "torch"
    for name in speeds:
        if MIN_SPEEDUP * expected_s(name) < expected_s(best_runtime):
            best_runtime = name
    return runners.get(best_runtime) or journal.portable.build_runner(Execution(best_runtime, "cpu"), rows)


def images_per_s(runner: Runner, pixels: Pixels) -> float:
    """Measure the images per second of a network alone, with as many calls at once as its runner takes."""
    batch = np.resize(pixels, (runner.rows, *pixels.shape[1:]))

    def count_images(_: int) -> int:
        # A thread can start late on a busy machine; each runs one batch at least, so that no rate is 0.
        n_images = 0
        while not n_images or time.perf_counter() - start < BENCHMARK_S:
            runner(batch)
            n_images += runner.rows
        return n_images

    with ThreadPoolExecutor(runner.in_flight) as threads:
        list(threads.map(runner, [batch] * runner.in_flight))
        start = time.perf_counter()
        n_images = sum(threads.map(count_images, range(runner.in_flight)))
        return n_images / (time.perf_counter() - start)
