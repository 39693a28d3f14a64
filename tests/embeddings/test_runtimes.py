"""All runtimes give eager torch's numbers in fp32, and the same ones whatever stands beside an image."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import get_args

import numpy as np
import pytest

from featx.embeddings.engine import Runner
from featx.embeddings.runtimes import PACKAGES, Execution, Portable
from featx.errors import DeviceError, RecipeError
from featx.networks.features import FeatureNetwork, resolve
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import EngineSpec, Runtime
from featx.specs.recipe import checked_spec

LEAST_COSINE = 1 - 1e-9
SIDE = 16
every_runtime = pytest.mark.parametrize("runtime", get_args(Runtime))


def network() -> FeatureNetwork:
    asked = EmbeddingRequest(backbone="toy", weights="none")
    pools = ("avg", "max", "avgmax", "gem", "flatten")
    return resolve([asked.model_copy(update={"tap": "0.0", "pool": pool}) for pool in pools]).network


@cache
def runner(runtime: Runtime) -> Runner:
    return Portable(network(), SIDE).ready(Execution(runtime, "cpu"))


def pictures(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8)


def least_cosine(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min())


@every_runtime
def test_a_runtime_gives_what_eager_torch_gives_for_every_pooling(runtime: Runtime) -> None:
    ready, eager = runner(runtime), runner("torch")
    pixels = pictures(0, ready.rows)
    for ours, theirs in zip(ready(pixels), eager(pixels), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
        assert least_cosine(ours, theirs) >= LEAST_COSINE


@every_runtime
def test_an_image_has_the_same_vector_in_any_batch_and_on_any_thread(runtime: Runtime) -> None:
    ready = runner(runtime)
    pixels = pictures(1, ready.rows)
    turned = [np.roll(pixels, by, axis=0) for by in range(6)]
    with ThreadPoolExecutor(ready.in_flight) as threads:
        found = list(threads.map(ready, turned))
    for by, outputs in enumerate(found):
        for one, first in zip(outputs, found[0], strict=True):
            assert np.roll(one, -by, axis=0).tobytes() == first.tobytes()


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_the_default_backbone_has_the_same_vectors_in_every_runtime(runtime: Runtime) -> None:
    body = resolve([EmbeddingRequest(size_px=64, tap=tap) for tap in ("last", "blocks.3")]).network
    pixels = np.random.default_rng(2).integers(0, 256, (32, 64, 64, 3), dtype=np.uint8)
    eager = Portable(body, 64).ready(Execution("torch", "cpu"), 32)(pixels)
    found = Portable(body, 64).ready(Execution(runtime, "cpu"), 32)(pixels)
    assert all(least_cosine(x, y) >= LEAST_COSINE for x, y in zip(found, eager, strict=True))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_runtime_of_the_cpu_refuses_another_device(runtime: Runtime) -> None:
    with pytest.raises(DeviceError, match=f"runtime '{runtime}' runs on the CPU, not on 'cuda'; use '--runtime torch'"):
        Portable(network(), SIDE).ready(Execution(runtime, "cuda"))


def test_a_runtime_that_is_not_installed_names_the_extra() -> None:
    assert set(PACKAGES) == set(get_args(Runtime))
    script = (
        "import importlib.util as u, sys\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'openvino' else real(name, *rest)\n"
        "from featx.embeddings.runtimes import check_installed\n"
        "check_installed('openvino')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MissingExtraError: runtime 'openvino' needs openvino, which is not installed; pip install" in done.stderr


def test_a_runtime_that_nobody_knows_is_told() -> None:
    with pytest.raises(
        RecipeError, match="runtime: found 'tensorrt', expected to be 'auto', 'torch', 'compile', 'onnx' or 'openvino'"
    ):
        checked_spec(EngineSpec, "extraction", runtime="tensorrt")


@pytest.mark.parametrize("views", ["flip", "five-crops"])
@every_runtime
def test_a_runtime_gives_what_eager_torch_gives_for_every_view(runtime: Runtime, views: str) -> None:
    asked = EmbeddingRequest.model_validate({"backbone": "toy", "weights": "none", "views": views})
    made = resolve([asked.model_copy(update={"join": join}) for join in ("mean", "stack")])
    side = made.specs[0].preprocessing.canvas_px
    pixels = np.random.default_rng(3).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    eager, ours = (Portable(made.network, side).ready(Execution(name, "cpu"), 8)(pixels) for name in ("torch", runtime))
    assert [x.shape for x in ours] == [(8, d) for d in made.n_features]
    assert all(least_cosine(x, y) >= LEAST_COSINE for x, y in zip(ours, eager, strict=True))
