"""All runtimes give eager torch's numbers in fp32, and the same ones whatever stands beside an image."""

import gc
import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch

from featx.embeddings.engine import Runner
from featx.embeddings.runtimes import PACKAGES, Execution, PortableNetwork
from featx.errors import DeviceError, RecipeError
from featx.networks.features import FeatureNetwork, resolve_network
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import EngineSpec, Runtime
from featx.specs.validation import build_spec

MIN_COSINE = 1 - 1e-9
SIDE = 16
for_each_runtime = pytest.mark.parametrize("runtime", get_args(Runtime))


def network() -> FeatureNetwork:
    request = EmbeddingRequest(backbone="toy", weights="none")
    pools = ("avg", "max", "avgmax", "gem", "flatten")
    return resolve_network([request.model_copy(update={"tap": "0.0", "pool": pool}) for pool in pools]).network


@cache
def runner(runtime: Runtime) -> Runner:
    return PortableNetwork(network(), SIDE).build_runner(Execution(runtime, "cpu"))


def pictures(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)


def min_cosine(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min())


@for_each_runtime
def test_every_pooling_is_the_same_as_in_eager_torch(runtime: Runtime) -> None:
    tested, eager = runner(runtime), runner("torch")
    pixels = pictures(0, tested.rows)
    for ours, theirs in zip(tested(pixels), eager(pixels), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
        assert min_cosine(ours, theirs) >= MIN_COSINE


@for_each_runtime
def test_a_vector_does_not_depend_on_batch_and_thread(runtime: Runtime) -> None:
    tested = runner(runtime)
    pixels = pictures(1, tested.rows)
    shifted_pixels = [np.roll(pixels, shift, axis=0) for shift in range(6)]
    with ThreadPoolExecutor(tested.in_flight) as threads:
        all_outputs = list(threads.map(tested, shifted_pixels))
    for shift, outputs in enumerate(all_outputs):
        for x, unshifted in zip(outputs, all_outputs[0], strict=True):
            assert np.roll(x, -shift, axis=0).tobytes() == unshifted.tobytes()


def tensors() -> list[torch.Tensor]:
    gc.collect()
    return [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]


def test_exporting_keeps_no_outputs_of_layers() -> None:
    portable = PortableNetwork(network(), SIDE)
    tensors_before = tensors()
    assert portable.as_onnx(8)
    assert {id(x) for x in tensors()} <= {id(x) for x in tensors_before}


def test_networks_can_be_exported_by_several_threads() -> None:
    networks = [PortableNetwork(network(), SIDE) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        models = list(threads.map(lambda portable: portable.as_onnx(8), networks))
    alone = networks[0].as_onnx(8)
    assert {hashlib.sha256(model).digest() for model in models} == {hashlib.sha256(alone).digest()}


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_the_default_backbone_has_the_same_vectors_everywhere(runtime: Runtime) -> None:
    body = resolve_network([EmbeddingRequest(size_px=64, tap=tap) for tap in ("last", "blocks.3")]).network
    pixels = np.random.default_rng(2).integers(0, 256, (32, 64, 64, 3), dtype=np.uint8)
    eager = PortableNetwork(body, 64).build_runner(Execution("torch", "cpu"), 32)(pixels)
    ours = PortableNetwork(body, 64).build_runner(Execution(runtime, "cpu"), 32)(pixels)
    assert all(min_cosine(x, y) >= MIN_COSINE for x, y in zip(ours, eager, strict=True))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_cpu_runtime_refuses_another_device(runtime: Runtime) -> None:
    with pytest.raises(
        DeviceError, match=f"runtime '{runtime}' runs on the CPU, not on 'cuda'; expected runtime 'torch'"
    ):
        PortableNetwork(network(), SIDE).build_runner(Execution(runtime, "cuda"))


def test_a_missing_runtime_is_an_error_that_names_the_extra() -> None:
    assert set(PACKAGES) == set(get_args(Runtime))
    script = (
        "import importlib.util as u, sys\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'openvino' else real(name, *rest)\n"
        "from featx.embeddings.runtimes import check_installed\n"
        "check_installed('openvino')\n"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "MissingExtraError: runtime 'openvino' needs openvino, which is not installed; pip install" in process.stderr


def test_an_unknown_runtime_is_an_error() -> None:
    with pytest.raises(
        RecipeError, match="runtime: found 'tensorrt', expected to be 'auto', 'torch', 'compile', 'onnx' or 'openvino'"
    ):
        build_spec(EngineSpec, "extraction", runtime="tensorrt")


@pytest.mark.parametrize("views", ["flip", "four-flips", "five-crops"])
@for_each_runtime
def test_every_view_is_the_same_as_in_eager_torch(runtime: Runtime, views: str) -> None:
    request = EmbeddingRequest.model_validate({"backbone": "toy", "weights": "none", "views": views})
    resolved_network = resolve_network([request.model_copy(update={"join": join}) for join in ("mean", "stack")])
    side = resolved_network.specs[0].preprocessing.canvas_px
    pixels = np.random.default_rng(3).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    eager, ours = (
        PortableNetwork(resolved_network.network, side).build_runner(Execution(name, "cpu"), 8)(pixels)
        for name in ("torch", runtime)
    )
    assert [x.shape for x in ours] == [(8, d) for d in resolved_network.n_features]
    assert all(min_cosine(x, y) >= MIN_COSINE for x, y in zip(ours, eager, strict=True))
