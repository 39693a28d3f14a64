"""Embeddings on the device equal those of the CPU, in every precision and runtime, and fit into memory."""

import numpy as np
import pytest
import torch
from torch import nn

from featx.embeddings.deviation import worst_deviation
from featx.embeddings.devices import TorchRunner
from featx.embeddings.precision import embed_pixels, find_accurate_precision
from featx.embeddings.runtimes import BATCH_SIZES, Execution, PortableNetwork
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork, Tap, resolve_network
from featx.specs.embedding import EmbeddingRequest, Preprocessing, ReducedPrecision
from featx.specs.extraction import EngineSpec
from tests.gpu.device import IS_CUDA, ON_DEVICE, TEST_DEVICE, memory_limit, needs_cuda

pytestmark = ON_DEVICE
SIDE = 64
LARGE_SIDE = 512
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def portable() -> PortableNetwork:
    """EfficientNet-Lite0 with two taps, for small images."""
    request = EmbeddingRequest(backbone="efficientnet_lite0", size_px=SIDE)
    inner = request.model_copy(update={"tap": "blocks.3", "pool": "gem"})
    return PortableNetwork(resolve_network([request, inner]).network, SIDE)


def pictures(n: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Return smooth random pictures, (n, side, side, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, side // 8, side // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def reduced(dtype: str) -> ReducedPrecision:
    return ReducedPrecision.model_validate({"dtype": dtype, "runtime": "torch", "device": TEST_DEVICE})


def test_embeddings_in_fp32_equal_those_of_the_cpu(portable: PortableNetwork) -> None:
    pixels = pictures(16)
    expected = embed_pixels(portable.build_runner(Execution("torch", "cpu"), 8), pixels)
    embeddings = embed_pixels(portable.build_runner(Execution("torch", TEST_DEVICE), 8), pixels)
    for x, y in zip(expected, embeddings, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-3, atol=1e-4 * np.abs(x).max())
    deviation = worst_deviation(expected, embeddings)
    assert deviation is not None
    assert deviation.min_cosine >= 1 - 1e-9


def test_fp32_is_not_rounded_to_tf32() -> None:
    body = nn.Sequential(nn.Conv2d(3, 256, 3), nn.Conv2d(256, 64, 3))
    network = FeatureNetwork(body, Preprocessing(size_px=16, mean=HALF, std=HALF), [Tap("1", "avg")])
    pixels = pictures(8, side=16)
    (embeddings,) = TorchRunner(network, torch.device(TEST_DEVICE), 8)(pixels)
    with torch.inference_mode():
        (exact_embeddings,) = network.to("cpu", torch.float64)(torch.from_numpy(pixels))
    # TF32 rounds factors to 11 bits, which is an error of about 3e-4.
    assert float((torch.from_numpy(embeddings) - exact_embeddings).norm() / exact_embeddings.norm()) < 1e-5


@pytest.mark.parametrize(("dtype", "min_cosine"), [("bf16", 0.99), ("fp16", 0.999)])
def test_reduced_precisions_are_close_to_fp32(portable: PortableNetwork, dtype: str, min_cosine: float) -> None:
    pixels = pictures(16)
    fp32_embeddings = embed_pixels(portable.build_runner(Execution("torch", TEST_DEVICE), 8), pixels)
    rounded = embed_pixels(portable.build_runner(Execution("torch", TEST_DEVICE, reduced(dtype)), 8), pixels)
    assert all(x.dtype == np.float32 for x in rounded)
    deviation = worst_deviation(fp32_embeddings, rounded)
    assert deviation is not None
    assert min_cosine <= deviation.min_cosine < 1 - 1e-12


def test_an_audit_chooses_the_first_accurate_precision(portable: PortableNetwork) -> None:
    engine = EngineSpec(device=TEST_DEVICE, runtime="torch", min_cosine=0.9)
    assert find_accurate_precision(["bf16"], engine, portable, pictures(16)).precision == reduced("bf16")
    strict = engine.model_copy(update={"min_cosine": 1 - 1e-12})
    assert find_accurate_precision(["bf16"], strict, portable, pictures(16)).precision == "fp32"


def test_the_memory_format_changes_no_embedding(portable: PortableNetwork) -> None:
    pixels = torch.from_numpy(pictures(8)).to(TEST_DEVICE)
    network = portable.network.to(TEST_DEVICE)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = [x.cpu() for x in network.to(memory_format=torch.contiguous_format)(pixels)]
        embeddings = [x.cpu() for x in network.to(memory_format=torch.channels_last)(pixels)]
    for x, y in zip(expected, embeddings, strict=True):
        torch.testing.assert_close(y, x, rtol=1e-3, atol=float(1e-4 * x.abs().max()))


def test_pixels_may_be_overwritten_after_a_call(portable: PortableNetwork) -> None:
    runner = portable.build_runner(Execution("torch", TEST_DEVICE), 8)
    pixels = pictures(8)
    expected = runner(pixels)
    outputs = []
    for _ in range(5):
        batch = pixels.copy()
        outputs.append(runner(batch))
        batch[:] = 0
    assert all(x.tobytes() == y.tobytes() for rows in outputs for x, y in zip(expected, rows, strict=True))


def test_a_row_does_not_depend_on_the_other_images(portable: PortableNetwork) -> None:
    runner = portable.build_runner(Execution("torch", TEST_DEVICE), 8)
    pixels, other_pixels = pictures(8), pictures(8, seed=1)
    other_pixels[3] = pixels[3]
    for x, y in zip(runner(pixels), runner(other_pixels), strict=True):
        assert x[3].tobytes() == y[3].tobytes()


def test_compiled_networks_give_the_same_embeddings() -> None:
    request = EmbeddingRequest(backbone="deep", weights="none")
    portable = PortableNetwork(resolve_network([request]).network, 16)
    pixels = pictures(8, side=16)
    expected = embed_pixels(portable.build_runner(Execution("torch", TEST_DEVICE), 8), pixels)
    embeddings = embed_pixels(portable.build_runner(Execution("compile", TEST_DEVICE), 8), pixels)
    for x, y in zip(expected, embeddings, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-3, atol=1e-4 * np.abs(x).max())


def test_a_batch_has_the_usual_size_of_the_device(portable: PortableNetwork) -> None:
    rows = portable.build_runner(Execution("torch", TEST_DEVICE)).rows
    assert rows == BATCH_SIZES["cuda" if IS_CUDA else "cpu"]


def wide_network() -> PortableNetwork:
    """Return a network whose output takes 32 MB for one image."""
    body = nn.Sequential(nn.Conv2d(3, 32, 1))
    preprocessing = Preprocessing(size_px=LARGE_SIDE, mean=HALF, std=HALF)
    return PortableNetwork(FeatureNetwork(body, preprocessing, [Tap("0", "avg")]), LARGE_SIDE)


@needs_cuda
def test_batches_are_halved_until_they_fit_into_memory() -> None:
    with memory_limit(1_000_000_000):
        runner = wide_network().build_runner(Execution("torch", TEST_DEVICE))
        assert 1 <= runner.rows < BATCH_SIZES["cuda"]
        (rows,) = runner(pictures(runner.rows, side=LARGE_SIDE))
    assert np.isfinite(rows).all()


@needs_cuda
def test_memory_for_less_than_one_image_is_an_error() -> None:
    with memory_limit(40_000_000), pytest.raises(DeviceError, match="memory is too small for a batch of 1 images"):
        wide_network().build_runner(Execution("torch", TEST_DEVICE))
