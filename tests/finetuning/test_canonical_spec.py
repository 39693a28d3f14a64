"""Specs that describe the same training are the same run, and specs of other trainings are not.

Modules: finetuning.grids.
"""

from pathlib import Path
from typing import Any

import pytest

import featx
from featx.errors import UnknownNameError
from featx.finetuning.canonical_spec import canonical_spec
from featx.specs.finetuning import FinetuneSpec
from featx.tables.ids import Kind
from tests.finetuning.specs import SECTIONS, changed
from tests.recipes import toy_recipe

EQUAL: list[tuple[Kind, dict[str, Any], dict[str, Any]]] = [
    ("numbers", {}, {"loss": "mse"}),
    ("numbers", {"loss": "mae"}, {"loss": {"name": "mae", "gamma": 1.0, "delta": 2.0}}),
    ("classes", {}, {"loss": "cross_entropy", "layers": {"activation": "softmax"}}),
    ("classes", {}, {"schedule": "constant", "momentum": 0.5, "views": 4, "holdout": 0.1, "lr": 1e-4}),
    ("classes", {"schedule": "cosine"}, {"schedule": {"name": "cosine", "factor": 0.1, "epochs": 2}}),
    ("classes", {"strategy": "head"}, {"strategy": "head", "lr": 1e-3, "block_decay": 0.5}),
    ("classes", {"strategy": "scratch"}, {"strategy": "all", "weights": "none", "lr": 1e-3, "batch_norm": "learn"}),
    ("classes", {"strategy": "block4+block5"}, {"strategy": "block5+block4+block5"}),
    ("classes", {}, {"strategy": "last-1-blocks", "batch_norm": "keep"}),
    ("classes", {}, {"size_px": 224, "mean": [0.5, 0.5, 0.5], "crop_share": 0.875, "resize": "crop"}),
    ("classes", {"resize": "squash"}, {"resize": "squash", "crop_share": 1.0}),
    ("classes", {"monitor": "val"}, {"monitor": "val", "holdout": 0.0}),
    ("classes", {"holdout": 0.0}, {"holdout": 0.0, "patience": 3, "choose_by": "score"}),
    (
        "classes",
        {"strategy": "last-block", "lr": 1e-3, "epochs": 5},
        {"strategy": "progressive", "phases": [{"trainable": "last-block", "lr": 1e-3, "epochs": 5}], "epochs": 7},
    ),
]


@pytest.mark.parametrize(("kind", "left_out", "written_out"), EQUAL)
def test_defaults_written_out_and_left_out_are_the_same_run(
    kind: Kind, left_out: dict[str, Any], written_out: dict[str, Any]
) -> None:
    canonical = canonical_spec(FinetuneSpec(**left_out), kind)
    assert canonical == canonical_spec(FinetuneSpec(**written_out), kind)
    assert canonical == canonical_spec(canonical, kind)
    assert FinetuneSpec.model_validate(canonical.model_dump()) == canonical


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "focal"},
        {"schedule": {"name": "step", "factor": 0.1}},
        {"monitor": "val"},
        {"choose_by": "score"},
        {"holdout": 0.2},
        {"size_px": 128},
        {"resize": "squash"},
        {"crop_share": 1.0},
        {"optimiser": "sgd", "momentum": 0.5},
        {"optimiser": "sgd"},
        {"block_decay": 0.5},
        {"weights": "none"},
        {"lr": 1e-3},
    ],
)
def test_settings_with_an_effect_stay(fields: dict[str, Any]) -> None:
    assert canonical_spec(FinetuneSpec(**fields), "classes") != canonical_spec(FinetuneSpec(), "classes")


def test_the_default_learning_rate_depends_on_the_trained_layers() -> None:
    rates = {
        strategy: FinetuneSpec(strategy=strategy).training_phases[0].lr
        for strategy in ("head", "last-block", "all", "scratch")
    }
    assert rates == {"head": 1e-3, "last-block": 1e-4, "all": 1e-4, "scratch": 1e-3}
    assert FinetuneSpec(strategy="all", weights="none").training_phases[0].lr == 1e-3
    assert FinetuneSpec(strategy="head", lr=0.1).training_phases[0].lr == 0.1


def test_equal_sections_train_one_network_and_backbones_select_sections(study: Path) -> None:
    network = {"weights": "none", "strategy": "head", "epochs": 1}
    sections = [
        {"backbone": "deep", **network},
        {"backbone": "deep", **network, "loss": "mse", "lr": [1e-3, 0.01]},
        {"backbone": "toy", **network},
    ]
    targets = {"level": {"column": "level", "kind": "numbers"}}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"finetune": sections, "targets": targets}))
    featx.extract()
    runs = featx.finetune(backbones=["deep"])
    assert len(runs) == 2
    assert all(run.is_new and run.run.startswith("deep-") for run in runs)
    assert {run.settings["lr"] for run in runs} == {0.001, 0.01}
    assert [run.run.partition("-")[0] for run in featx.finetune(backbones=["toy"], epochs=2)] == ["toy"]
    with pytest.raises(UnknownNameError, match=r"has the backbone 'vgg16'; .*: 'deep', 'toy'"):
        featx.finetune(backbones=["toy", "vgg16"])
    (by_spec,) = featx.finetune(specs=[changed(strategy="head"), changed(strategy="head", loss="mse")], target="level")
    assert by_spec.is_new
