"""What this machine has for featx, and what fewer bits would do to a recipe's embeddings."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.drift import Drift, worst_drift
from featx.embeddings.groups import NetworkGroup, network_groups
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import free_bytes, gigabytes
from featx.errors import DataError
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import Precision
from featx.specs.extraction import EngineSpec, Runtime
from featx.specs.recipe import Recipe
from featx.storage.places import CachePlace
from featx.study.folders import cache_place
from featx.study.study import Study
from featx.tables.truth import Truth

PACKAGES = ("featx", "torch", "torchvision", "timm", "onnxruntime", "openvino", "scikit-learn", "xgboost", "zarr")
RUNTIMES: tuple[Runtime, ...] = ("torch", "onnx", "openvino")
MOST_IMAGES = 512  # that are tried on: those with the smallest digests
FOLDS = 5
LEAST_ROWS = 2 * FOLDS  # of a class, for a head on them to say something


@dataclass(frozen=True)
class PrecisionCheck:
    """A way to run one network, compared with eager torch in fp32 on a recipe's own images.

    Attributes
    ----------
    network
        Its backbone.
    how
        Runtime, or the reduced precision with all that it depends on.
    images_per_s
        Of the network alone.
    drift
        From fp32.
    is_trusted
        Whether an extraction may use it.
    accuracy, accuracy_sd
        Of a logistic regression, mean and standard deviation over folds; nan where a class has too few images.
    """

    network: str
    how: str
    images_per_s: float
    drift: Drift
    is_trusted: bool
    accuracy: float
    accuracy_sd: float


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes
    ----------
    machine
        (what, found).
    checkups
        One for each way to run each network; empty where nobody asked.
    n_images
        That they were tried on.
    """

    machine: list[tuple[str, str]]
    checkups: list[PrecisionCheck]
    n_images: int


def doctor(
    recipe: str | Path | Recipe | None = None, *, precision: bool = False, progress: ProgressCallback = no_progress
) -> Diagnosis:
    """Say what this machine has; with `precision`, compare runtimes and precisions on a recipe's images.

    Raises
    ------
    IncompleteError
        the recipe has not been extracted: its train images are what is tried on.
    DataError
        an image cannot be decoded any more, or a network gives none a finite vector.
    """
    if not precision:
        return Diagnosis(machine(cache_place()), [], 0)
    study = Study.open(recipe)
    truth = study.truth(study.of_kind(("classes",))[0]).take(study.ids("train"))
    manifest = study.manifest.take(truth.ids)
    _, first = np.unique(manifest.digests.astype(str), return_index=True)  # by digest, each once
    truth, manifest = truth.take(truth.ids[first[:MOST_IMAGES]]), manifest.take(truth.ids[first[:MOST_IMAGES]])
    uris = dict(zip(manifest.digests.tolist(), manifest.uris.tolist(), strict=True))
    chooser = RuntimeSelector(study.cache, study.recipe.extraction, uris, progress, sample=len(uris))
    groups = network_groups(study.recipe.requests)
    checkups = [one for group in groups for one in _checkups(group, chooser, truth, progress)]
    return Diagnosis(machine(study.cache), checkups, len(uris))


def machine(cache: CachePlace) -> list[tuple[str, str]]:
    """Return what there is, in words."""
    from featx.embeddings.devices import gpu_names
    from featx.embeddings.runtimes import is_installed, is_native

    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    native = [dtype for dtype in ("bf16", "fp16") if is_installed("openvino") and is_native(dtype)]
    return [
        ("python", platform.python_version()),
        *((package, _version(package)) for package in PACKAGES),
        (
            "processor",
            f"{os.cpu_count()} cores, {platform.machine()}; {' and '.join(native) or 'no fewer bits'} native",
        ),
        ("memory", f"{memory_gb:.1f} GB"),
        ("GPUs", ", ".join(gpu_names()) or "none that torch sees"),
        ("runtimes", ", ".join(name for name in RUNTIMES if is_installed(name))),
        *_disks(cache),
    ]


def _disks(cache: CachePlace) -> Iterator[tuple[str, str]]:
    if cache.folder is None:
        yield "cache", cache.stores
    for name, folder in {"cache": cache.folder, "notes": cache.notes}.items():
        if folder is not None and (name == "cache" or folder != cache.folder):
            yield name, f"{folder.absolute()}, {gigabytes(free_bytes(folder))} free on its disk"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _checkups(
    group: NetworkGroup, chooser: RuntimeSelector, truth: Truth, progress: ProgressCallback
) -> Iterator[PrecisionCheck]:
    """Run a network in every way that this machine has; the first one is what the others are compared with."""
    from featx.embeddings.benchmarks import images_per_s
    from featx.embeddings.precision import rows_of
    from featx.embeddings.runtimes import Execution

    pixels = chooser.pixels(group)
    if len(pixels) < len(truth.ids):
        raise DataError(f"{len(truth.ids) - len(pixels)} of {len(truth.ids)} images cannot be decoded; extract again")
    ways = list(_ways(group, chooser.engine))
    exact: list[NDArray[np.float32]] | None = None
    for number, (runtime, precision) in enumerate(ways):
        how = runtime if precision == "fp32" else str(precision)
        progress("check", number, len(ways), f"{group.requests[0].backbone} {how}")
        runner = group.portable.ready(Execution(runtime, "auto" if runtime == "torch" else "cpu", precision))
        rows = rows_of(runner, pixels)
        exact = exact or rows
        found = worst_drift(exact, rows)
        if found is None:
            raise DataError(f"{group.requests[0].backbone} gives no image a finite vector; name another tap")
        accuracy, spread = _head(rows[0], truth)
        yield PrecisionCheck(
            network=group.requests[0].backbone,
            how=how,
            images_per_s=round(images_per_s(runner, pixels), 1),
            drift=found,
            is_trusted=precision == "fp32" or found.least_cosine >= chooser.engine.least_cosine,
            accuracy=accuracy,
            accuracy_sd=spread,
        )
    progress("check", len(ways), len(ways), "")


def _ways(group: NetworkGroup, engine: EngineSpec) -> Iterator[tuple[Runtime, Precision]]:
    from featx.embeddings.precision import candidates
    from featx.embeddings.runtimes import is_installed, is_native

    for runtime in RUNTIMES:
        if is_installed(runtime):
            yield runtime, "fp32"
    by_torch = not is_installed("openvino")
    for dtype in ("bf16", "fp16"):
        if by_torch or is_native(dtype):
            for reduced in candidates(dtype, engine, group.portable):
                yield reduced.runtime, reduced


def _head(x: NDArray[np.float32], truth: Truth) -> tuple[float, float]:
    """Return mean and standard deviation of a plain head's accuracy over folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if np.bincount(truth.codes).min() < LEAST_ROWS:
        return float("nan"), float("nan")
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    scores = cross_val_score(head, x, truth.codes, cv=FOLDS)
    return float(scores.mean()), float(scores.std())
