"""Devices are found by name, and each row belongs to its image."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from featx.embeddings.devices import TorchRunner, find_device
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork, build_backbone, resolve_network
from featx.specs.embedding import EmbeddingRequest

CPU = torch.device("cpu")


def network() -> FeatureNetwork:
    request = EmbeddingRequest(backbone="toy", weights="none")
    return resolve_network([request, request.model_copy(update={"tap": "0.0", "pool": "max"})]).network


def pictures(n: int, rows: int, first: int = 0) -> np.ndarray:
    images = [
        np.random.default_rng(first + number).integers(0, 256, (16, 16, 3), dtype=np.uint8) for number in range(n)
    ]
    return np.stack([*images, *[np.zeros((16, 16, 3), dtype=np.uint8)] * (rows - n)])


@pytest.mark.parametrize("name", ["banana", "", "cpu:x", "cuda:-1"])
def test_an_unknown_device_name_is_an_error(name: str) -> None:
    with pytest.raises(DeviceError, match=f"no device is called '{name}'; expected auto, cpu, cuda or cuda:NUMBER"):
        find_device(name)


@pytest.mark.parametrize("name", ["meta", "mps", "xpu"])
def test_an_unsupported_device_is_an_error(name: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{name}' is not supported"):
        find_device(name)


def test_a_missing_gpu_is_an_error() -> None:
    missing_device = f"cuda:{torch.cuda.device_count()}"

    with pytest.raises(
        DeviceError,
        match=rf"'{missing_device}' does not exist on this machine \(torch finds \d+ GPUs\); expected 'cpu' or 'auto'",
    ):
        find_device(missing_device)


def test_auto_is_a_gpu_where_there_is_one() -> None:
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert find_device("cpu") == CPU


def test_each_tap_gives_one_row_per_image() -> None:
    outputs = TorchRunner(network(), CPU, 8)(pictures(3, 8))

    assert [(x.shape, x.dtype) for x in outputs] == [((8, 8), np.float32), ((8, 6), np.float32)]


def test_a_vector_does_not_depend_on_the_rest_of_the_batch() -> None:
    runner = TorchRunner(network(), CPU, 8)
    batch_rows, _ = runner(pictures(8, 8))

    for row in range(8):
        single_rows, _ = runner(pictures(1, 8, row))
        assert batch_rows[row].tobytes() == single_rows[0].tobytes()


def test_a_network_is_put_into_eval_mode() -> None:
    toy = network().train()

    outputs = TorchRunner(toy, CPU, 4)(pictures(2, 4))

    assert not toy.training
    assert all(np.isfinite(x).all() for x in outputs)


def test_threads_build_runners_on_one_body() -> None:
    request = EmbeddingRequest(backbone="toy", weights="none")
    backbone = build_backbone(request)
    pixels = pictures(8, 8)
    (expected,) = TorchRunner(resolve_network([request], backbone).network, CPU, 8)(pixels)

    def embed(_: int) -> bytes:
        (rows,) = TorchRunner(resolve_network([request], backbone).network, CPU, 8)(pixels)
        return rows.tobytes()

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(embed, range(200))) == {expected.tobytes()}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_a_runner_moves_its_network_back_to_its_device() -> None:
    toy = network()
    on_gpu, on_cpu = TorchRunner(toy, torch.device("cuda"), 8), TorchRunner(toy, CPU, 8)

    outputs = [runner(pictures(8, 8)) for runner in (on_gpu, on_cpu, on_gpu)]

    for x, y in zip(outputs[0], outputs[2], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_a_gpu_gives_the_cpus_vectors_up_to_rounding() -> None:
    cpu_outputs = TorchRunner(network(), CPU, 8)(pictures(8, 8))
    cuda_outputs = TorchRunner(network(), torch.device("cuda"), 8)(pictures(8, 8))

    for x, y in zip(cpu_outputs, cuda_outputs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
