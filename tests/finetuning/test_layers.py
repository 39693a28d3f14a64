"""New layers: their order, their widths, and the ranges of their outputs."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from featx.errors import DataError
from featx.finetuning.layers import ACTIVATIONS, RANGES, NewLayers, check_range
from featx.finetuning.trunk import Trunk
from featx.networks.features import build_backbone
from featx.specs.embedding import EmbeddingRequest
from featx.specs.finetuning import LayersSpec

FEATURES = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))


def kinds(spec: LayersSpec) -> list[str]:
    return [type(layer).__name__ for layer in NewLayers(spec, FEATURES[:1], 2).layers]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (LayersSpec(), ["Linear", "ReLU", "Dropout", "Linear"]),
        (LayersSpec(hidden=()), ["Dropout", "Linear"]),
        (LayersSpec(batch_norm=True), ["BatchNorm1d", "Linear", "ReLU", "Dropout", "Linear"]),
        (LayersSpec(hidden=(9, 8), dropout=(0.1, 0.2)), [*["Linear", "ReLU", "Dropout"] * 2, "Linear"]),
        (LayersSpec(hidden=(), dropout=()), ["Linear"]),
        (LayersSpec(hidden=(9, 8, 7)), ["Linear", "ReLU", "Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]),
    ],
)
def test_layers_stand_in_their_order(spec: LayersSpec, expected: list[str]) -> None:
    assert kinds(spec) == expected


def test_each_hidden_layer_has_its_own_share_of_dropout() -> None:
    layers = NewLayers(LayersSpec(hidden=(9, 8), dropout=(0.1, 0.2)), FEATURES[:1], 2).layers
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.1, 0.2]
    with pytest.raises(ValidationError, match="found 1 shares of dropout for 2 hidden layers, expected one each"):
        LayersSpec(hidden=(9, 8), dropout=(0.1,))


@pytest.mark.parametrize(("pool", "d"), [("avg", 5), ("gem", 5), ("flatten", 80)])
def test_widths_follow_from_the_output_of_the_trunk(pool: str, d: int) -> None:
    layers = NewLayers(LayersSpec(pool=pool, hidden=(7,)), FEATURES[:1], 2)  # type: ignore[arg-type]
    linear = [layer for layer in layers.layers if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(d, 7), (7, 2)]
    assert layers(layers.pooled(FEATURES)).shape == (3, 2)
    # The vectors of a trunk without positions are not pooled.
    assert layers(layers.pooled(torch.rand(3, d))).shape == (3, 2)


def test_pooling_is_that_of_embeddings() -> None:
    pooled = NewLayers(LayersSpec(), FEATURES[:1], 2).pooled(FEATURES)
    np.testing.assert_allclose(pooled, FEATURES.numpy().mean((2, 3)), rtol=1e-6)


@pytest.mark.parametrize("activation", list(RANGES))
def test_outputs_lie_in_the_activations_range(activation: str) -> None:
    outputs = ACTIVATIONS[activation](torch.tensor([[-30.0, 2.0], [0.5, 40.0]]))  # type: ignore[index]
    low, high = RANGES[activation]  # type: ignore[index]
    assert low <= outputs.min() < outputs.max() <= high


def test_targets_outside_the_range_of_an_output_are_refused() -> None:
    with pytest.raises(DataError, match=r"targets lie between 1 and 90, activation 'sigmoid' gives 0 to 1; scale them"):
        check_range("sigmoid", 1, 90)
    with pytest.raises(DataError, match="activation 'tanh' gives -1 to 1"):
        check_range("tanh", -2, 0)
    check_range("tanh", -1, 1)
    check_range("none", -1e9, 1e9)


def test_four_hidden_layers_are_too_many() -> None:
    with pytest.raises(ValidationError, match="at most 3"):
        LayersSpec(hidden=(1, 2, 3, 4))


def test_the_small_network_has_as_many_parameters_as_in_its_study() -> None:
    trunk = Trunk(build_backbone(EmbeddingRequest(backbone="small_cnn", weights="none")))
    spec = LayersSpec(pool="flatten", hidden=(256,), activation="sigmoid")
    new_layers = NewLayers(spec, trunk(torch.zeros(1, 3, 48, 48)), 1)
    assert sum(parameter.numel() for module in (trunk, new_layers) for parameter in module.parameters()) == 75_761
    assert [block.layers for block in trunk.blocks] == ["conv1", "conv2", "conv3"]
