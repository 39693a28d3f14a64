"""Choice of a reduced precision for a network.

A reduced precision is used only after its vectors of a sample of images were compared with those of fp32.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.deviation import Deviation, PrecisionAudit, worst_deviation
from featx.embeddings.devices import find_device
from featx.embeddings.engine import Rows, Runner
from featx.embeddings.runtimes import Execution, PortableNetwork, is_installed, is_native
from featx.errors import DeviceError
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import EmbeddingRequest, ReducedPrecision
from featx.specs.extraction import EngineSpec

# Shares of the first layers that may keep a higher precision, tried in this order; errors in early layers matter most.
FIRST_LAYER_SHARES = (0.2, 0.35, 0.5)


def embed_pixels(runner: Runner, pixels: NDArray[np.uint8]) -> Rows:
    """Return the (n, d) rows of each tap for (n, h, w, 3) pixels; n need not be a multiple of the batch size."""
    batches = [pixels[start : start + runner.rows] for start in range(0, len(pixels), runner.rows)]
    n_padding = runner.rows * len(batches) - len(pixels)
    batches[-1] = np.concatenate([batches[-1], np.zeros((n_padding, *pixels.shape[1:]), dtype=np.uint8)])
    with ThreadPoolExecutor(runner.in_flight) as threads:
        outputs = list(threads.map(runner, batches))
    return [np.concatenate(batch_rows)[: len(pixels)] for batch_rows in zip(*outputs, strict=True)]


def auto_dtypes(engine: EngineSpec) -> list[str]:
    """Return the dtypes that ``precision = "auto"`` tries on this machine, the preferred one first."""
    if find_device(engine.device).type == "cuda":
        return ["fp16", "bf16"] if engine.runtime in {"auto", "torch", "compile"} else []
    if engine.runtime not in {"auto", "openvino"} or not is_installed("openvino"):
        return []
    return ["bf16"] if is_native("bf16") else []


def find_accurate_precision(
    dtypes: Sequence[str],
    engine: EngineSpec,
    portable: PortableNetwork,
    pixels: NDArray[np.uint8],
    progress: ProgressCallback = no_progress,
) -> PrecisionAudit:
    """Return the first precision with one of `dtypes` that is as close to fp32 as `engine` requires, else fp32.

    Parameters
    ----------
    dtypes
        ``bf16`` or ``fp16``, in the order in which they are tried.
    engine
        Device, runtime and required cosine.
    portable
        The network.
    pixels
        Images to compare, (n, h, w, 3) uint8.
    """
    exact_rows: Rows | None = None
    deviation: Deviation | None = None
    precisions = [precision for dtype in dtypes for precision in reduced_precisions(dtype, engine, portable)]
    for number, precision in enumerate(precisions):
        progress("compare with fp32", number, len(precisions), str(precision))
        exact_rows = exact_rows or embed_pixels(
            portable.build_runner(Execution(precision.runtime, engine.device)), pixels
        )
        rows = embed_pixels(portable.build_runner(Execution(precision.runtime, engine.device, precision)), pixels)
        deviation = worst_deviation(exact_rows, rows)
        if deviation is not None and deviation.min_cosine >= engine.min_cosine:
            progress("compare with fp32", len(precisions), len(precisions), str(precision))
            return PrecisionAudit(precision, deviation)
    progress("compare with fp32", len(precisions), len(precisions), "fp32")
    return PrecisionAudit(deviation=deviation)


def reduced_precisions(dtype: str, engine: EngineSpec, portable: PortableNetwork) -> Iterator[ReducedPrecision]:
    """Yield the precisions that compute in `dtype`, the fastest one first.

    The later ones of OpenVINO compute more and more of the first layers in a higher precision.
    """
    device = find_device(engine.device).type
    if device == "cuda" or engine.runtime in {"torch", "compile"} or not is_installed("openvino"):
        yield ReducedPrecision.model_validate({"dtype": dtype, "runtime": "torch", "device": device})
        return
    all_layers = {"dtype": dtype, "runtime": "openvino", "device": "cpu"}
    yield ReducedPrecision.model_validate(all_layers)
    cut_layers = [cut.n_layers for cut in portable.cuts]
    first_layers = [
        next((n_layers for n_layers in cut_layers if n_layers >= share * (cut_layers[-1] + 1)), None)
        for share in FIRST_LAYER_SHARES
    ]
    first_dtype = "fp16" if dtype == "bf16" and is_native("fp16") else "fp32"
    for n_layers in dict.fromkeys(n_layers for n_layers in first_layers if n_layers is not None):
        yield ReducedPrecision.model_validate(all_layers | {"first_layers": n_layers, "first_dtype": first_dtype})


def check_accurate(audit: PrecisionAudit, request: EmbeddingRequest, engine: EngineSpec) -> None:
    """Check that the precision that a request names is as close to fp32 as `engine` requires.

    Raises
    ------
    DeviceError
        every way to compute in this precision is too far from fp32.
    """
    if audit.precision == "fp32":
        raise DeviceError(
            f"backbone {request.backbone!r}: precision = {request.precision!r} is not accurate enough on this machine: "
            f"{audit.deviation}; expected lowest cosines of {engine.min_cosine} or more (extraction.min_cosine); set "
            "precision = 'fp32'"
        )
