"""Where networks run, and that what comes out belongs to the images that went in."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from featx.embeddings.batches import Batch
from featx.embeddings.devices import device_named, embed
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork, resolve
from featx.specs import EmbeddingRequest

CPU = torch.device("cpu")


def network() -> FeatureNetwork:
    asked = EmbeddingRequest(backbone="toy", weights="none")
    return resolve([asked, asked.model_copy(update={"tap": "0.0", "pool": "max"})]).network


def batch(n: int, rows: int, first: int = 0) -> Batch:
    images = [np.random.default_rng(first + at).integers(0, 256, (16, 16, 3), dtype=np.uint8) for at in range(n)]
    padding = [np.zeros((16, 16, 3), dtype=np.uint8)] * (rows - n)
    return Batch(tuple(f"{first + at}" for at in range(n)), (np.stack([*images, *padding]),))


@pytest.mark.parametrize("name", ["banana", "", "cpu:x", "cuda:-1"])
def test_a_name_that_means_nothing_is_told_what_does(name: str) -> None:
    with pytest.raises(DeviceError, match=f"no device is called '{name}'; expected auto, cpu, cuda or cuda:NUMBER"):
        device_named(name)


@pytest.mark.parametrize("name", ["meta", "mps", "xpu"])
def test_a_device_that_featx_does_not_run_on_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{name}' is not one that featx runs on"):
        device_named(name)


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu() -> None:
    absent = f"cuda:{torch.cuda.device_count()}"

    with pytest.raises(DeviceError, match=rf"'{absent}' is not here \(torch sees \d+ GPUs\); say '--device cpu'"):
        device_named(absent)


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_named("cpu") == CPU


def test_padding_is_cut_off_and_each_tap_gives_its_rows() -> None:
    ((digests, outputs),) = embed([batch(3, 8)], network(), CPU)

    assert digests == ("0", "1", "2")
    assert [(x.shape, x.dtype) for x in outputs] == [((3, 8), np.float32), ((3, 6), np.float32)]


def test_an_image_has_the_same_vector_whatever_stands_beside_it() -> None:
    toy = network()
    alone = {name: x for names, (x, _) in embed([batch(1, 8, at) for at in range(8)], toy, CPU) for name in names}

    ((digests, (together, _)),) = embed([batch(8, 8)], toy, CPU)

    for name, row in zip(digests, together, strict=True):
        assert row.tobytes() == alone[name].tobytes()


def test_a_network_in_training_mode_is_not_run_so() -> None:
    toy = network().train()

    ((_, outputs),) = embed([batch(2, 4)], toy, CPU)

    assert not toy.training
    assert all(np.isfinite(x).all() for x in outputs)


def test_batches_are_taken_one_at_a_time() -> None:
    taken = []

    def batches() -> Iterator[Batch]:
        for at in range(3):
            taken.append(at)
            yield batch(1, 2, at)

    rows = embed(batches(), network(), CPU)

    assert next(rows)[0] == ("0",)
    assert taken == [0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_a_gpu_gives_the_cpus_numbers_but_for_rounding() -> None:
    ((_, ours),) = embed([batch(8, 8)], network(), CPU)
    ((_, theirs),) = embed([batch(8, 8)], network(), torch.device("cuda"))

    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
