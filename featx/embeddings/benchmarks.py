"""What was tried on this machine for a network: how fast each runtime is, and how far fewer bits lie from fp32.

Noted in ``trials.json``, by network and machine, so that nothing is tried twice.
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

from featx.embeddings.devices import gpu_names
from featx.embeddings.drift import Drift, PrecisionAudit
from featx.embeddings.engine import Runner
from featx.embeddings.machine import arithmetic
from featx.embeddings.runtimes import Execution, Portable, is_installed
from featx.files.atomic import locked, read_json_as, write_json
from featx.images.decode import Pixels
from featx.progress import ProgressCallback, no_progress
from featx.specs.base import fingerprint
from featx.specs.embedding import EmbeddingSpec, Precision
from featx.specs.extraction import Runtime

ON_CPU: tuple[Runtime, ...] = ("torch", "onnx", "openvino")  # in the order in which they are tried
SHORT_S = 5.0  # an extraction that takes no longer with what is at hand is not worth a trial
TRIAL_S = 0.7
CLEARLY = 1.1  # as many times faster: less may be chance


def machine() -> dict[str, str]:
    """Return what makes a rate another one: processor, cores, GPU, and the runtimes' versions."""
    return arithmetic() | {"cores": str(os.cpu_count()), "gpus": ", ".join(gpu_names())}


@dataclass(frozen=True)
class RuntimeSpeed:
    """A runtime's figures for one network.

    Attributes
    ----------
    images_per_s
        Of the network alone.
    build_s
        To make it ready.
    """

    images_per_s: float
    build_s: float

    def seconds(self, n_images: int) -> float:
        """How long it takes from nothing."""
        return self.build_s + n_images / self.images_per_s


class BenchmarkJournal:
    """What was tried for one network.

    Parameters
    ----------
    notes
        The folder for what is no store.
    specs
        What the network fills, in fp32.
    portable
        The network.
    """

    def __init__(self, notes: Path, specs: Sequence[EmbeddingSpec], portable: Portable) -> None:
        self.portable = portable
        self._file = notes / "trials.json"
        self._key = fingerprint({"specs": [spec.identity() for spec in specs], "machine": machine()})

    def _known(self) -> dict[str, Any]:
        return dict(self._every().get(self._key, {}))

    def _every(self) -> dict[str, Any]:
        return read_json_as(self._file, dict[str, dict[str, Any]]) if self._file.is_file() else {}

    def _keep(self, name: str, value: Mapping[str, Any]) -> None:
        with locked(self._file.with_name(".trials.lock")):
            every = self._every()
            every.setdefault(self._key, {})[name] = value
            write_json(self._file, every)

    def precision(self, reason: str) -> PrecisionAudit | None:
        """Return the audit recorded for a reason (`RuntimeSelector.reason`), None where there is none."""
        known = self._known().get(reason)
        if known is None:
            return None
        drift = known["drift"] and Drift.model_validate(known["drift"])
        return PrecisionAudit(TypeAdapter(Precision).validate_python(known["precision"]), drift)

    def keep_precision(self, reason: str, found: PrecisionAudit) -> None:
        """Remember it."""
        kept = found.precision if isinstance(found.precision, str) else found.precision.identity()
        self._keep(reason, {"precision": kept, "drift": found.drift and found.drift.model_dump()})

    def speeds(self) -> dict[Runtime, RuntimeSpeed]:
        """Return what was measured of the runtimes in fp32 on the CPU; empty where nobody has."""
        return {name: RuntimeSpeed(**figures) for name, figures in self._known().get("speeds", {}).items()}

    def keep_speeds(self, speeds: Mapping[Runtime, RuntimeSpeed]) -> None:
        """Remember it."""
        self._keep("speeds", {name: asdict(speed) for name, speed in speeds.items()})


def fastest_runtime(
    trials: BenchmarkJournal,
    rows: int | None,
    n_images: int,
    pixels: Callable[[], Pixels],
    progress: ProgressCallback = no_progress,
) -> Runner:
    """Return a network in the runtime that has `n_images` done first in fp32 on the CPU, from nothing.

    Parameters
    ----------
    trials
        What is known of it; what is measured here is added.
    rows
        The batch that is asked for, if there is one.
    pixels
        Gives images to try on, (n, h, w, 3).
    """
    known = trials.speeds()
    here = [name for name in ON_CPU if is_installed(name)]
    if set(here) <= set(known):
        return trials.portable.ready(Execution(min(here, key=lambda name: known[name].seconds(n_images)), "cpu"), rows)
    batch = pixels()
    speeds: dict[Runtime, RuntimeSpeed] = {}
    ready: dict[Runtime, Runner] = {}
    for number, name in enumerate(here, start=1):
        start = time.perf_counter()
        ready[name] = trials.portable.ready(Execution(name, "cpu"), rows)
        built = time.perf_counter() - start
        speeds[name] = RuntimeSpeed(round(images_per_s(ready[name], batch), 1), round(built, 2))
        is_enough = speeds["torch"].seconds(n_images) < SHORT_S
        tried = len(here) if is_enough else number
        progress("try runtimes", tried, len(here), f"{name} {speeds[name].images_per_s} images/s")
        if is_enough:
            return ready["torch"]
    trials.keep_speeds(speeds)
    chosen: Runtime = "torch"
    for name in here:
        if speeds[name].images_per_s > CLEARLY * speeds[chosen].images_per_s:
            chosen = name
    return ready[chosen]


def images_per_s(runner: Runner, pixels: Pixels) -> float:
    """Measure a network alone, as many calls at once as it takes."""
    batch = np.resize(pixels, (runner.rows, *pixels.shape[1:]))

    def loop(_: int) -> int:
        done = 0
        while time.perf_counter() - start < TRIAL_S:
            runner(batch)
            done += runner.rows
        return done

    with ThreadPoolExecutor(runner.in_flight) as threads:
        list(threads.map(runner, [batch] * runner.in_flight))
        start = time.perf_counter()
        done = sum(threads.map(loop, range(runner.in_flight)))
        return done / (time.perf_counter() - start)
