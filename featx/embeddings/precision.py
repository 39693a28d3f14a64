"""Which precision may be used for a network.

No reduced precision is trusted before its vectors of some images have been compared with fp32's.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.devices import device_named
from featx.embeddings.drift import Drift, PrecisionAudit, worst_drift
from featx.embeddings.engine import Rows, Runner
from featx.embeddings.runtimes import Execution, Portable, is_installed, is_native
from featx.errors import DeviceError
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import Reduced
from featx.specs.extraction import EngineSpec

SHARES = (0.2, 0.35, 0.5)  # of the layers that keep more bits, tried in this order: early ones matter most


def rows_of(runner: Runner, pixels: NDArray[np.uint8]) -> Rows:
    """Return each tap's (n, d) for (n, h, w, 3) pixels; n need not be a multiple of the batch."""
    batches = [pixels[start : start + runner.rows] for start in range(0, len(pixels), runner.rows)]
    missing = runner.rows * len(batches) - len(pixels)
    batches[-1] = np.concatenate([batches[-1], np.zeros((missing, *pixels.shape[1:]), dtype=np.uint8)])
    with ThreadPoolExecutor(runner.in_flight) as threads:
        found = list(threads.map(runner, batches))
    return [np.concatenate(columns)[: len(pixels)] for columns in zip(*found, strict=True)]


def wanted_by_auto(engine: EngineSpec) -> list[str]:
    """Return the dtypes that ``precision = "auto"`` tries on this machine, the best one first."""
    if device_named(engine.device).type == "cuda":
        return ["fp16", "bf16"] if engine.runtime in {"auto", "torch", "compile"} else []
    if engine.runtime not in {"auto", "openvino"} or not is_installed("openvino"):
        return []
    return ["bf16"] if is_native("bf16") else []


def audited(
    dtypes: Sequence[str],
    engine: EngineSpec,
    portable: Portable,
    pixels: NDArray[np.uint8],
    progress: ProgressCallback = no_progress,
) -> PrecisionAudit:
    """Return the first way to compute in one of `dtypes` that stays close enough to fp32, else fp32.

    Parameters
    ----------
    pixels
        (n, h, w, 3) of the images to compare on.
    """
    exact: Rows | None = None
    found: Drift | None = None
    ways = [one for dtype in dtypes for one in candidates(dtype, engine, portable)]
    for number, reduced in enumerate(ways):
        progress("compare with fp32", number, len(ways), str(reduced))
        exact = exact or rows_of(portable.ready(Execution(reduced.runtime, engine.device)), pixels)
        rows = rows_of(portable.ready(Execution(reduced.runtime, engine.device, reduced)), pixels)
        found = worst_drift(exact, rows)
        if found is not None and found.least_cosine >= engine.least_cosine:
            progress("compare with fp32", len(ways), len(ways), str(reduced))
            return PrecisionAudit(reduced, found)
    progress("compare with fp32", len(ways), len(ways), "fp32")
    return PrecisionAudit(drift=found)


def candidates(dtype: str, engine: EngineSpec, portable: Portable) -> Iterator[Reduced]:
    """Yield ways to compute in `dtype`, the fastest first."""
    device = device_named(engine.device).type
    if device == "cuda" or engine.runtime in {"torch", "compile"} or not is_installed("openvino"):
        yield Reduced.model_validate({"dtype": dtype, "runtime": "torch", "device": device})
        return
    whole = {"dtype": dtype, "runtime": "openvino", "device": "cpu"}
    yield Reduced.model_validate(whole)
    places = [cut.n_layers for cut in portable.cuts]
    behind = [next((at for at in places if at >= share * (places[-1] + 1)), None) for share in SHARES]
    first = "fp16" if dtype == "bf16" and is_native("fp16") else "fp32"
    for at in dict.fromkeys(one for one in behind if one is not None):
        yield Reduced.model_validate(whole | {"first_layers": at, "first_dtype": first})


def check_trusted(found: PrecisionAudit, wanted: str, engine: EngineSpec) -> None:
    """Refuse a precision that a recipe names and that strays too far.

    Raises
    ------
    DeviceError
        every way to compute in it lies too far from fp32.
    """
    if found.precision == "fp32":
        raise DeviceError(
            f"precision = {wanted!r} is not trusted here: {found.drift}; expected a cosine of "
            f"{engine.least_cosine} or more (extraction.least_cosine); say precision = 'fp32'"
        )
