"""Listings of backbones and layers."""

import json
from dataclasses import asdict

import pytest
from torch import nn

from featx.errors import UnknownNameError
from featx.networks.available import list_backbones, list_layers
from featx.registry import BACKBONES


def test_each_registered_backbone_is_listed_with_its_properties() -> None:
    rows = {row.name: row for row in list_backbones()}

    assert list(rows) == BACKBONES.names()
    # Tan and Le's table: 4.7 M parameters, 1280 features, 224 px.
    lite = rows["efficientnet_lite0"]
    assert (lite.n_features, lite.size_px, lite.weights) == (1280, 224, "available")
    assert round(lite.n_parameters, -5) == 4_700_000
    assert (rows["resnet50"].n_features, rows["resnet50"].n_parameters) == (2048, 25_557_032)
    assert (rows["vgg16"].n_features, rows["mobilenet_v2"].n_features) == (512, 1280)
    assert (rows["toy"].n_features, rows["toy"].weights) == (8, "there are none")
    assert json.loads(json.dumps(asdict(lite)))["n_features"] == 1280


def test_layers_are_listed_in_the_order_in_which_they_finish() -> None:
    layers = {layer["name"]: layer for layer in list_layers("toy").layers}

    assert list(layers) == ["0.0", "0.1", "0.2", "0.3", "0.4", "0", "1", "2"]
    assert layers["0.0"] == {"name": "0.0", "kind": "Conv2d", "shape": "1×6×14×14", "n_parameters": 6 * 28}
    assert layers["2"]["shape"] == "1×4"
    assert set(layers) <= {name for name, _ in BACKBONES.get("toy")().build().named_modules()}


def test_layers_of_networks_that_are_not_registered_are_listed_too() -> None:
    last_layer = list_layers("torchvision:resnet34").layers[-1]

    assert (last_layer["name"], last_layer["kind"], last_layer["shape"]) == ("fc", nn.Linear.__name__, "1×1000")


def test_layers_of_an_unknown_backbone_are_answered_with_the_closest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'toy'"):
        list_layers("toyy")


def test_a_backbones_blocks_are_listed_with_their_parameters_and_cost() -> None:
    listing = list_layers("vgg16")

    assert [block["name"] for block in listing.blocks] == ["block1", "block2", "block3", "block4", "block5"]
    last_block = listing.blocks[-1]
    assert (last_block["layers"], last_block["shape"], last_block["n_parameters"]) == (
        "features.24 … features.28",
        "1×512×7×7",
        7_079_424,
    )
    # Three convolutions, with a sum and a product each.
    assert last_block["n_operations"] == 2 * 3 * (512 * 9 * 512 * 14 * 14)
    assert sum(block["share"] for block in listing.blocks) == pytest.approx(1, abs=1e-3)


def test_a_network_that_is_no_chain_has_a_reason_instead_of_blocks() -> None:
    listing = list_layers("timm:hrnet_w18_small")

    assert listing.blocks == []
    assert "up to 'final_layer' it does more than run layers in sequence" in listing.reason_without_blocks
    assert listing.layers


def test_a_network_that_computes_while_it_is_built_is_listed() -> None:
    assert len(list_layers("torchvision:regnet_y_400mf").blocks) == 5
