"""A reduced precision is taken where it was measured to be close enough, and refused in one line elsewhere."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featx.embeddings.drift import Drift, PrecisionAudit, drift, round_down
from featx.embeddings.precision import auto_dtypes, check_accurate, embed_pixels, find_accurate_precision
from featx.embeddings.runtimes import ROWS, Execution, Portable, is_native
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork, Tap, resolve
from featx.specs.embedding import EmbeddingRequest, Preprocessing, Reduced
from featx.specs.extraction import EngineSpec

SIDE = 16
SIZE = Preprocessing(size_px=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
LEAST, NEAR_ONE = 0.5, 0.9999999
needs_bf16 = pytest.mark.skipif(not is_native("bf16"), reason="this CPU does not multiply bf16 by itself")


@cache
def portable() -> Portable:
    """Make the toy network with two poolings."""
    asked = EmbeddingRequest(backbone="toy", weights="none")
    return Portable(resolve([asked, asked.model_copy(update={"pool": "max"})]).network, SIDE)


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


def by(runtime: str, least_cosine: float) -> EngineSpec:
    return EngineSpec.model_validate({"device": "cpu", "runtime": runtime, "least_cosine": least_cosine})


def bf16(runtime: str, **more: object) -> Reduced:
    return Reduced.model_validate({"dtype": "bf16", "runtime": runtime, "device": "cpu"} | more)


def distance(reduced: Reduced, pixels: np.ndarray) -> Drift:
    """Measure the worst tap of a precision against fp32 in the same runtime."""
    exact = embed_pixels(portable().ready(Execution(reduced.runtime, "cpu")), pixels)
    rows = embed_pixels(portable().ready(Execution(reduced.runtime, "cpu", reduced)), pixels)
    return min((drift(x, y) for x, y in zip(exact, rows, strict=True)), key=lambda one: one.cosine)


RUNTIMES = ["torch", pytest.param("openvino", marks=needs_bf16)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_precision_that_is_close_enough_is_taken_with_its_figures(runtime: str) -> None:
    pixels = pictures(20)

    found = find_accurate_precision(["bf16"], by(runtime, LEAST), portable(), pixels)

    assert found == PrecisionAudit(bf16(runtime), distance(bf16(runtime), pixels))
    assert found.drift is not None
    assert found.drift.n_images == 20
    assert LEAST <= found.drift.cosine < 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_precision_is_close_enough_where_nearly_all_is_asked_for(runtime: str) -> None:
    told: list[tuple[int, int, str]] = []

    found = find_accurate_precision(
        ["bf16"],
        by(runtime, NEAR_ONE),
        portable(),
        pictures(20),
        lambda stage, done, total, note="": told.append((done, total, note)),
    )

    assert found.precision == "fp32"
    assert found.drift is not None
    assert min(found.drift.cosine, found.drift.expected_cosine) < NEAR_ONE
    assert told[0][2] == str(bf16(runtime))
    assert told[-1] == (len(told) - 1, len(told) - 1, "fp32")


@needs_bf16
def test_more_bits_for_the_first_layers_are_tried_where_fewer_for_all_do_not_do() -> None:
    pixels = pictures(64)
    first = "fp16" if is_native("fp16") else "fp32"
    whole, fronted = bf16("openvino"), bf16("openvino", first_layers=1, first_dtype=first)
    limits = [min(one.cosine, one.expected_cosine) for one in (distance(whole, pixels), distance(fronted, pixels))]
    assert limits[0] < limits[1]

    assert find_accurate_precision(["bf16"], by("openvino", limits[0]), portable(), pixels).precision == whole
    assert find_accurate_precision(["bf16"], by("openvino", sum(limits) / 2), portable(), pixels).precision == fronted


def test_nothing_is_tried_where_nothing_is_wanted() -> None:
    assert find_accurate_precision([], by("torch", LEAST), portable(), pictures(3)) == PrecisionAudit("fp32", None)


@pytest.mark.parametrize("runtime", ["torch", "compile", "onnx"])
def test_auto_wants_no_fewer_bits_of_a_runtime_that_gains_nothing_by_them(runtime: str) -> None:
    assert auto_dtypes(by(runtime, LEAST)) == []


@pytest.mark.parametrize("runtime", ["auto", "openvino"])
def test_auto_wants_bf16_where_the_cpu_has_it(runtime: str) -> None:
    assert auto_dtypes(by(runtime, LEAST)) == (["bf16"] if is_native("bf16") else [])


def test_a_precision_that_strays_too_far_is_refused_with_its_figures_and_the_next_step() -> None:
    x = np.random.default_rng(0).normal(1, 1, (30, 4)).astype(np.float32)
    y = x.copy()
    y[:, 2] += 1
    far = drift(x, y)

    with pytest.raises(DeviceError, match=r"^precision = 'bf16' is not accurate enough on this machine: .*") as raised:
        check_accurate(PrecisionAudit("fp32", far), "bf16", by("auto", 0.998))

    assert str(raised.value) == (
        f"precision = 'bf16' is not accurate enough on this machine: {far}; expected lowest cosines of 0.998 or more "
        "(extraction.least_cosine); set precision = 'fp32'"
    )
    assert f"on 30 images: lowest cosine {round_down(far.cosine)}" in str(raised.value)
    assert "(feature 2)" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_precision_that_may_be_used_is_not_refused() -> None:
    check_accurate(PrecisionAudit(bf16("torch"), None), "bf16", by("auto", 0.999))


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 20])
def test_rows_come_for_any_number_of_images(runtime: Any, n: int) -> None:
    ready = portable().ready(Execution(runtime, "cpu"), 8)

    found = embed_pixels(ready, pictures(40)[:n])

    assert [one.shape for one in found] == [(n, 8), (n, 8)]
    for many, few in zip(embed_pixels(ready, pictures(40)), found, strict=True):
        assert few.tobytes() == many[:n].tobytes()


class Sized:
    """A runner that has memory for so many images."""

    in_flight = 1

    def __init__(self, rows: int, most: int, error: Exception) -> None:
        self.rows, self._most, self._error = rows, most, error
        self.provenance = {"device": "cpu", "runtime": "none", "precision": "fp32"}

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        if len(pixels) > self._most:
            raise self._error
        return [np.zeros((len(pixels), 1), dtype=np.float32)]


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Exception], list[int]]:
    """Make all networks run where there is memory for so many images; the list says what was tried."""

    def short(most: int, error: Exception) -> list[int]:
        tried: list[int] = []

        def made(self: Portable, how: Execution, rows: int) -> Sized:
            tried.append(rows)
            return Sized(rows, most, error)

        monkeypatch.setattr(Portable, "_build_runner", made)
        return tried

    return short


NO_MEMORY = [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate"), RuntimeError("std::bad_alloc")]


@pytest.mark.parametrize("error", NO_MEMORY, ids=str)
@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_a_batch_is_halved_until_memory_does(short_of_memory: Any, most: int, error: Exception) -> None:
    tried = short_of_memory(most, error)

    ready = portable().ready(Execution("torch", "cpu"))

    assert tried == [rows for rows in (8, 4, 2, 1) if rows >= ready.rows]
    assert ready.rows == max(rows for rows in (8, 4, 2, 1) if rows <= most)


def test_a_batch_that_stored_rows_were_made_with_is_not_halved(short_of_memory: Any) -> None:
    tried = short_of_memory(3, MemoryError())

    with pytest.raises(
        DeviceError,
        match=r"^memory is too small for a batch of 8 images of 16 px, the batch size of the stored embeddings; "
        r"free memory, or choose another device or a smaller size_px$",
    ):
        portable().ready(Execution("torch", "cpu"), ROWS["cpu"])

    assert tried == [8]


def test_one_image_that_memory_does_not_do_for_is_the_least(short_of_memory: Any) -> None:
    tried = short_of_memory(0, MemoryError())

    with pytest.raises(
        DeviceError, match=r"^memory is too small for a batch of 1 images of 16 px, the smallest possible batch; "
    ):
        portable().ready(Execution("torch", "cpu"))

    assert tried == [8, 4, 2, 1]


def test_another_error_is_not_taken_for_want_of_memory(short_of_memory: Any) -> None:
    tried = short_of_memory(3, ValueError("no such operator"))

    with pytest.raises(ValueError, match="^no such operator$"):
        portable().ready(Execution("torch", "cpu"))

    assert tried == [8]


def test_onnx_runtime_does_not_take_fewer_bits() -> None:
    with pytest.raises(DeviceError, match=r"^runtime 'onnx' computes in fp32, not in bf16; use '--runtime openvino'$"):
        portable().ready(Execution("onnx", "cpu", bf16("openvino")))


def test_a_precision_that_the_cpu_does_not_have_is_refused_by_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.embeddings.runtimes.can_compute", lambda precision: False)

    with pytest.raises(
        DeviceError, match=r"^this CPU does not support bf16 by openvino on cpu; set precision = 'fp32'$"
    ):
        portable().ready(Execution("openvino", "cpu", bf16("openvino")))


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


def overflowing(taps: list[Tap]) -> Portable:
    """Make a network whose second layer's first channel is 3.4e38 in fp32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = Overflowing()
    with torch.no_grad():
        body.large.bias[0], body.large.weight[0] = 3.4e38, 0.0
    return Portable(FeatureNetwork(body, SIZE, taps), SIDE)


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
def test_a_precision_in_which_a_network_overflows_is_not_trusted(taps: list[Tap]) -> None:
    network = overflowing(taps)
    engine = by("torch", LEAST)
    at = taps.index(LARGE)
    reduced = embed_pixels(network.ready(Execution("torch", "cpu", bf16("torch"))), pictures(12))
    assert np.isfinite(embed_pixels(network.ready(Execution("torch", "cpu")), pictures(12))[at]).all()
    assert not np.isfinite(reduced[at]).all()

    assert find_accurate_precision(["bf16"], engine, network, pictures(12)).precision == "fp32"
