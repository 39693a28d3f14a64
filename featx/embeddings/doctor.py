"""Description of this machine, and a comparison of runtimes and precisions on a recipe's images."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.deviation import Deviation, worst_deviation
from featx.embeddings.groups import NetworkGroup, network_groups
from featx.embeddings.machine import CPU_RUNTIMES, package_version
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import free_bytes, gigabytes
from featx.embeddings.throughput import rounded_rate
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
# Images that are compared: those with the smallest digests.
MAX_IMAGES = 512
FOLDS = 5
# Images per class that cross-validation of a head needs.
MIN_IMAGES_PER_CLASS = 2 * FOLDS


@dataclass(frozen=True)
class PrecisionCheck:
    """One network in one runtime and precision, compared with eager torch in fp32 on a recipe's own images.

    Attributes
    ----------
    network
        Name of the backbone.
    runtime
        Runtime, or the reduced precision with its runtime and device.
    images_per_s
        Images per second of the network alone, without reading and decoding.
    deviation
        Difference from eager torch in fp32.
    is_accepted
        Whether an extraction may use this precision.
    accuracy, accuracy_sd
        Mean and standard deviation of a logistic regression's accuracy over folds; nan where a class has too few
        images.
    """

    network: str
    runtime: str
    images_per_s: float
    deviation: Deviation
    is_accepted: bool
    accuracy: float
    accuracy_sd: float


@dataclass(frozen=True)
class Diagnosis:
    """The result of `doctor`.

    Attributes
    ----------
    machine
        (property, value) of the machine.
    precision_checks
        One check for each network, runtime and precision; empty unless precisions were compared.
    n_images
        Number of images that were compared.
    """

    machine: list[tuple[str, str]]
    precision_checks: list[PrecisionCheck]
    n_images: int


def doctor(
    recipe: str | Path | Recipe | None = None, *, precision: bool = False, progress: ProgressCallback = no_progress
) -> Diagnosis:
    """Describe this machine; with `precision`, also compare runtimes and precisions on a recipe's train images.

    Parameters
    ----------
    recipe
        The recipe; by default ``featx.toml``. Used only with `precision`.
    precision
        Whether to compare runtimes and precisions.
    progress
        Receives the progress of the comparison.

    Raises
    ------
    IncompleteError
        the recipe has not been extracted.
    DataError
        no network computes the recipe's vectors, an image can no longer be decoded, or a network gives no image a
        finite vector.
    """
    if not precision:
        return Diagnosis(machine(cache_place()), [], 0)
    study = Study.open(recipe)
    truth = study.truth(study.of_kind(("classes",))[0]).take(study.ids("train"))
    digests = study.manifest.take(truth.ids).digests.astype(str)
    # Rows of the smallest digests; of several copies of an image the first one is used.
    _, rows = np.unique(digests, return_index=True)
    truth = truth.take(truth.ids[rows[:MAX_IMAGES]])
    manifest = study.manifest.take(truth.ids)
    uris = dict(zip(manifest.digests.tolist(), manifest.uris.tolist(), strict=True))
    selector = RuntimeSelector(study.cache, study.recipe.extraction, uris, progress, sample=len(uris))
    groups = network_groups([request for request in study.recipe.requests if request.vectors is None])
    if not groups:
        raise DataError("no embedding of the recipe is computed by a network; expected one to compare precisions of")
    precision_checks = [check for group in groups for check in _check_network(group, selector, truth, progress)]
    return Diagnosis(machine(study.cache), precision_checks, len(uris))


def machine(cache: CachePlace) -> list[tuple[str, str]]:
    """Return the (property, value) pairs of this machine and of a cache's disk."""
    from featx.embeddings.devices import gpu_names
    from featx.embeddings.runtimes import is_installed, is_native

    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    dtypes = [dtype for dtype in ("bf16", "fp16") if is_installed("openvino") and is_native(dtype)]
    return [
        ("python", platform.python_version()),
        *((package, package_version(package) or "not installed") for package in PACKAGES),
        (
            "processor",
            f"{os.cpu_count()} cores, {platform.machine()}; native reduced precisions: {', '.join(dtypes) or 'none'}",
        ),
        ("memory", f"{memory_gb:.1f} GB"),
        ("GPUs", ", ".join(gpu_names()) or "none found by torch"),
        ("runtimes", ", ".join(name for name in CPU_RUNTIMES if is_installed(name))),
        *_disks(cache),
    ]


def _disks(cache: CachePlace) -> Iterator[tuple[str, str]]:
    if cache.folder is None:
        yield "cache", cache.stores
    for name, folder in {"cache": cache.folder, "local cache": cache.local_folder}.items():
        if folder is not None and (name == "cache" or folder != cache.folder):
            yield name, f"{folder.absolute()}, {gigabytes(free_bytes(folder))} of disk space free"


def _check_network(
    group: NetworkGroup, selector: RuntimeSelector, truth: Truth, progress: ProgressCallback
) -> Iterator[PrecisionCheck]:
    """Run a network in each runtime and precision of this machine, and compare with the first one."""
    from featx.embeddings.benchmarks import images_per_s
    from featx.embeddings.precision import embed_pixels
    from featx.embeddings.runtimes import Execution

    pixels = selector.decode_sample(group)
    n_images, backbone = len(truth.ids), group.requests[0].backbone
    if len(pixels) < n_images:
        raise DataError(
            f"{n_images - len(pixels)} of {n_images} images can no longer be decoded; run 'featx extract' again"
        )
    executions = list(_executions(group, selector.engine))
    exact_rows: list[NDArray[np.float32]] | None = None
    for number, (runtime, precision) in enumerate(executions):
        name = runtime if precision == "fp32" else str(precision)
        progress("check", number, len(executions), f"{backbone} {name}")
        runner = group.portable.build_runner(Execution(runtime, "auto" if runtime == "torch" else "cpu", precision))
        rows = embed_pixels(runner, pixels)
        exact_rows = exact_rows or rows
        deviation = worst_deviation(exact_rows, rows)
        if deviation is None:
            raise DataError(f"{backbone} gives no image a finite vector; choose another tap")
        accuracy, accuracy_sd = _score_head(rows[0], truth)
        yield PrecisionCheck(
            network=backbone,
            runtime=name,
            images_per_s=rounded_rate(images_per_s(runner, pixels)),
            deviation=deviation,
            is_accepted=precision == "fp32" or deviation.min_cosine >= selector.engine.min_cosine,
            accuracy=accuracy,
            accuracy_sd=accuracy_sd,
        )
    progress("check", len(executions), len(executions), "")


def _executions(group: NetworkGroup, engine: EngineSpec) -> Iterator[tuple[Runtime, Precision]]:
    """Yield the runtimes in fp32, eager torch first, then the reduced precisions of this machine."""
    from featx.embeddings.precision import reduced_precisions
    from featx.embeddings.runtimes import is_installed, is_native

    for runtime in CPU_RUNTIMES:
        if is_installed(runtime):
            yield runtime, "fp32"
    for dtype in ("bf16", "fp16"):
        if not is_installed("openvino") or is_native(dtype):
            for reduced_precision in reduced_precisions(dtype, engine, group.portable):
                yield reduced_precision.runtime, reduced_precision


def _score_head(x: NDArray[np.float32], truth: Truth) -> tuple[float, float]:
    """Return mean and standard deviation over folds of a logistic regression's accuracy."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if np.bincount(truth.codes).min() < MIN_IMAGES_PER_CLASS:
        return float("nan"), float("nan")
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    scores = cross_val_score(head, x, truth.codes, cv=FOLDS)
    return float(scores.mean()), float(scores.std())
