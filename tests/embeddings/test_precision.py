"""A reduced precision is used where it is measured to be accurate, and refused elsewhere."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featx.embeddings.deviation import Deviation, PrecisionAudit, measure_deviation, round_down
from featx.embeddings.precision import auto_dtypes, check_accurate, embed_pixels, find_accurate_precision
from featx.embeddings.runtimes import BATCH_SIZES, Execution, PortableNetwork, is_native
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork, Tap, resolve_network
from featx.specs.embedding import EmbeddingRequest, Preprocessing, ReducedPrecision
from featx.specs.extraction import EngineSpec

SIDE = 16
SIZE = Preprocessing(size_px=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
LOW_LIMIT, HIGH_LIMIT = 0.5, 0.9999999
needs_bf16 = pytest.mark.skipif(not is_native("bf16"), reason="this CPU does not multiply bf16 by itself")


@cache
def portable() -> PortableNetwork:
    """Make the toy network with two poolings."""
    request = EmbeddingRequest(backbone="toy", weights="none")
    return PortableNetwork(resolve_network([request, request.model_copy(update={"pool": "max"})]).network, SIDE)


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def engine_for(runtime: str, min_cosine: float) -> EngineSpec:
    return EngineSpec.model_validate({"device": "cpu", "runtime": runtime, "min_cosine": min_cosine})


def bf16(runtime: str, **settings: object) -> ReducedPrecision:
    return ReducedPrecision.model_validate({"dtype": "bf16", "runtime": runtime, "device": "cpu"} | settings)


def measured_deviation(reduced: ReducedPrecision, pixels: np.ndarray) -> Deviation:
    """Measure the worst tap of a precision against fp32 in the same runtime."""
    exact_rows = embed_pixels(portable().build_runner(Execution(reduced.runtime, "cpu")), pixels)
    rows = embed_pixels(portable().build_runner(Execution(reduced.runtime, "cpu", reduced)), pixels)
    return min(
        (measure_deviation(x, y) for x, y in zip(exact_rows, rows, strict=True)),
        key=lambda deviation_of_tap: deviation_of_tap.cosine,
    )


RUNTIMES = ["torch", pytest.param("openvino", marks=needs_bf16)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_accurate_precision_is_returned_with_its_deviation(runtime: str) -> None:
    pixels = pictures(20)

    audit = find_accurate_precision(["bf16"], engine_for(runtime, LOW_LIMIT), portable(), pixels)

    assert audit == PrecisionAudit(bf16(runtime), measured_deviation(bf16(runtime), pixels))
    assert audit.deviation is not None
    assert audit.deviation.n_images == 20
    assert LOW_LIMIT <= audit.deviation.cosine < 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fp32_is_returned_where_the_limit_is_too_high(runtime: str) -> None:
    calls: list[tuple[int, int, str]] = []

    audit = find_accurate_precision(
        ["bf16"],
        engine_for(runtime, HIGH_LIMIT),
        portable(),
        pictures(20),
        lambda stage, n_done, total, note="": calls.append((n_done, total, note)),
    )

    assert audit.precision == "fp32"
    assert audit.deviation is not None
    assert min(audit.deviation.cosine, audit.deviation.estimated_min_cosine) < HIGH_LIMIT
    assert calls[0][2] == str(bf16(runtime))
    assert calls[-1] == (len(calls) - 1, len(calls) - 1, "fp32")


@needs_bf16
def test_a_higher_precision_for_the_first_layers_is_tried_second() -> None:
    pixels = pictures(64)
    first = "fp16" if is_native("fp16") else "fp32"
    all_layers, later_layers = bf16("openvino"), bf16("openvino", first_layers=1, first_dtype=first)
    limits = [
        min(deviation.cosine, deviation.estimated_min_cosine)
        for deviation in (measured_deviation(all_layers, pixels), measured_deviation(later_layers, pixels))
    ]
    assert limits[0] < limits[1]

    assert (
        find_accurate_precision(["bf16"], engine_for("openvino", limits[0]), portable(), pixels).precision == all_layers
    )
    assert (
        find_accurate_precision(["bf16"], engine_for("openvino", sum(limits) / 2), portable(), pixels).precision
        == later_layers
    )


def test_without_dtypes_nothing_is_compared() -> None:
    assert find_accurate_precision([], engine_for("torch", LOW_LIMIT), portable(), pictures(3)) == PrecisionAudit(
        "fp32", None
    )


@pytest.mark.parametrize("runtime", ["torch", "compile", "onnx"])
def test_auto_tries_no_dtype_for_a_runtime_that_gains_no_speed(runtime: str) -> None:
    assert auto_dtypes(engine_for(runtime, LOW_LIMIT)) == []


@pytest.mark.parametrize("runtime", ["auto", "openvino"])
def test_auto_tries_bf16_where_the_cpu_supports_it(runtime: str) -> None:
    assert auto_dtypes(engine_for(runtime, LOW_LIMIT)) == (["bf16"] if is_native("bf16") else [])


def test_an_inaccurate_precision_is_refused_with_its_deviation() -> None:
    x = np.random.default_rng(0).normal(1, 1, (30, 4)).astype(np.float32)
    y = x.copy()
    y[:, 2] += 1
    large_deviation = measure_deviation(x, y)
    request = EmbeddingRequest(backbone="toy", weights="none", precision="bf16")

    with pytest.raises(DeviceError, match=r"precision = 'bf16' is not accurate enough on this machine: .*") as raised:
        check_accurate(PrecisionAudit("fp32", large_deviation), request, engine_for("auto", 0.998))

    assert str(raised.value) == (
        f"backbone 'toy': precision = 'bf16' is not accurate enough on this machine: {large_deviation}; expected "
        "lowest cosines of 0.998 or more (extraction.min_cosine); set precision = 'fp32'"
    )
    assert f"on 30 images: lowest cosine {round_down(large_deviation.cosine)}" in str(raised.value)
    assert "(feature 2)" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("accurate", "expectation"),
    [(bf16("torch"), nullcontext()), ("fp32", pytest.raises(DeviceError, match="precision = 'bf16' is not accurate"))],
    ids=["the precision", "fp32"],
)
def test_a_precision_is_refused_only_if_another_one_was_accurate(
    accurate: str, expectation: AbstractContextManager[object]
) -> None:
    deviation_of_rows = measure_deviation(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    with expectation:
        check_accurate(
            PrecisionAudit(accurate, deviation_of_rows), EmbeddingRequest(precision="bf16"), engine_for("auto", 0.999)
        )


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 20])
def test_any_number_of_images_can_be_embedded(runtime: Any, n: int) -> None:
    runner = portable().build_runner(Execution(runtime, "cpu"), 8)

    rows = embed_pixels(runner, pictures(40)[:n])

    assert [x.shape for x in rows] == [(n, 8), (n, 8)]
    for all_rows, first_rows in zip(embed_pixels(runner, pictures(40)), rows, strict=True):
        assert first_rows.tobytes() == all_rows[:n].tobytes()


class LimitedRunner:
    """A runner that raises an error for batches above a number of images."""

    in_flight = 1

    def __init__(self, rows: int, max_images: int, error: Exception) -> None:
        self.rows, self._most, self._error = rows, max_images, error
        self.provenance = {"device": "cpu", "runtime": "none", "precision": "fp32"}

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        if len(pixels) > self._most:
            raise self._error
        return [np.zeros((len(pixels), 1), dtype=np.float32)]


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Exception], list[int]]:
    """Return a function that limits the batch size of all runners, and returns the list of batch sizes tried."""

    def limit_memory(max_images: int, error: Exception) -> list[int]:
        batch_sizes: list[int] = []

        def build_runner(self: PortableNetwork, execution: Execution, rows: int) -> LimitedRunner:
            batch_sizes.append(rows)
            return LimitedRunner(rows, max_images, error)

        monkeypatch.setattr(PortableNetwork, "_build_for_batch", build_runner)
        return batch_sizes

    return limit_memory


NO_MEMORY = [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate"), RuntimeError("std::bad_alloc")]


@pytest.mark.parametrize("error", NO_MEMORY, ids=str)
@pytest.mark.parametrize("max_images", [1, 2, 3, 8])
def test_the_batch_size_is_halved_until_it_fits_into_memory(
    short_of_memory: Any, max_images: int, error: Exception
) -> None:
    batch_sizes = short_of_memory(max_images, error)

    runner = portable().build_runner(Execution("torch", "cpu"))

    assert batch_sizes == [rows for rows in (8, 4, 2, 1) if rows >= runner.rows]
    assert runner.rows == max(rows for rows in (8, 4, 2, 1) if rows <= max_images)


def test_the_batch_size_of_stored_rows_is_not_halved(short_of_memory: Any) -> None:
    batch_sizes = short_of_memory(3, MemoryError())

    with pytest.raises(
        DeviceError,
        match=r"^memory is too small for a batch of 8 images of 16 px, the batch size of the stored embeddings; "
        r"free memory, or choose another device or a smaller size_px$",
    ):
        portable().build_runner(Execution("torch", "cpu"), BATCH_SIZES["cpu"])

    assert batch_sizes == [8]


def test_too_little_memory_for_one_image_is_an_error(short_of_memory: Any) -> None:
    batch_sizes = short_of_memory(0, MemoryError())

    with pytest.raises(
        DeviceError, match=r"^memory is too small for a batch of 1 images of 16 px, the smallest possible batch; "
    ):
        portable().build_runner(Execution("torch", "cpu"))

    assert batch_sizes == [8, 4, 2, 1]


def test_other_errors_do_not_count_as_lack_of_memory(short_of_memory: Any) -> None:
    batch_sizes = short_of_memory(3, ValueError("no such operator"))

    with pytest.raises(ValueError, match="^no such operator$"):
        portable().build_runner(Execution("torch", "cpu"))

    assert batch_sizes == [8]


def test_onnx_runtime_refuses_reduced_precision() -> None:
    with pytest.raises(DeviceError, match=r"^runtime 'onnx' computes in fp32, not in bf16; expected runtime 'openv"):
        portable().build_runner(Execution("onnx", "cpu", bf16("openvino")))


def test_openvino_refuses_a_precision_that_the_cpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.embeddings.runtimes.can_compute", lambda precision: False)

    with pytest.raises(
        DeviceError, match=r"^this CPU does not support bf16 by openvino on cpu; set precision = 'fp32'$"
    ):
        portable().build_runner(Execution("openvino", "cpu", bf16("openvino")))


class Overflowing(nn.Module):
    """Gives numbers that only fp32 holds in one layer, and ones that any precision holds in another.

    fp32 reaches 3.4028e38 and bf16 only 3.3895e38: what rounds up beyond that is infinite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 3)
        self.large = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.large(self.plain(x))
        return out


def overflowing(taps: list[Tap]) -> PortableNetwork:
    """Make a network whose second layer's first channel is 3.4e38 in fp32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = Overflowing()
    with torch.no_grad():
        body.large.bias[0], body.large.weight[0] = 3.4e38, 0.0
    return PortableNetwork(FeatureNetwork(body, SIZE, taps), SIDE)


PLAIN, LARGE = Tap("plain", "avg"), Tap("large", "max")


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
@pytest.mark.parametrize(
    "taps",
    [
        pytest.param([LARGE], id="alone"),
        pytest.param([LARGE, PLAIN], id="first"),
        pytest.param([PLAIN, LARGE], id="last"),
    ],
)
def test_a_precision_in_which_a_network_overflows_is_rejected(taps: list[Tap]) -> None:
    network = overflowing(taps)
    engine = engine_for("torch", LOW_LIMIT)
    tap = taps.index(LARGE)
    reduced = embed_pixels(network.build_runner(Execution("torch", "cpu", bf16("torch"))), pictures(12))
    assert np.isfinite(embed_pixels(network.build_runner(Execution("torch", "cpu")), pictures(12))[tap]).all()
    assert not np.isfinite(reduced[tap]).all()

    assert find_accurate_precision(["bf16"], engine, network, pictures(12)).precision == "fp32"
