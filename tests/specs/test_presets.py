"""Presets limit a recipe: fewer images, epochs and trials, smaller inputs and other backbones.

Modules: specs.head_embeddings.
"""

from pathlib import Path
from typing import Any

import pytest

from featx.errors import DataError, RecipeError
from featx.specs.recipe import load_recipe, parse_recipe
from tests.recipes import toy_recipe

GRID = {
    "strategy": ["last-block", "all"],
    "lr": [1e-3, 1e-4],
    "epochs": 10,
    "backbone": "vgg16",
    "weights": "vgg16.pth",
    "size_px": 224,
}
PHASES = [{"trainable": "head", "lr": 1e-3, "epochs": 1}, {"trainable": "all", "lr": 1e-4, "epochs": 25}]


def write_recipe(folder: Path, **preset: object) -> Path:
    """Write a recipe with a grid, a run in phases, a head and a preset ``small``."""
    file = folder / "study.toml"
    finetune = [GRID, {"strategy": "progressive", "phases": PHASES, "size_px": 32}]
    embedding = [{"backbone": "vgg16", "size_px": 48}, {"backbone": "small_cnn", "weights": "none", "size_px": 96}]
    names = [
        "all",
        "vgg16/last",
        "small_cnn",
        "vgg16/last/avg,size_px=48",
        "small_cnn/last/avg,weights=none,size_px=96",
    ]
    heads = [{"name": "rf", "trials": 30}, {"name": "logreg", "trials": 2, "embeddings": names}]
    file.write_text(toy_recipe(finetune=finetune, embedding=embedding, head=heads, presets={"small": preset}))
    return file


def test_a_preset_limits_training_and_searches(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, epochs=2, trials=5, size_px=64, sample=100)
    recipe = load_recipe(f"{file}#small")
    grid, phased = (section.runs for section in recipe.finetune)
    assert recipe.name == "study-small"
    assert recipe.data.sample == 100
    assert [run.epochs for run in grid] == [2] * 4
    assert {run.size_px for run in grid} == {64}
    assert [phase.epochs for phase in phased[0].phases] == [1, 2]
    assert phased[0].size_px == 32
    assert [head.trials for head in recipe.head] == [5, 2]
    assert [section.size_px for section in recipe.embedding] == [48, 64]
    assert recipe.head[1].embeddings[-1] == "small_cnn/last/avg,weights=none,size_px=64"


def test_a_preset_replaces_backbones_and_their_weights(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, backbones={"vgg16": "efficientnet_lite0"})).with_preset("small")
    assert [section.backbone for section in recipe.embedding] == ["efficientnet_lite0", "small_cnn"]
    assert [section.weights for section in recipe.embedding] == ["default", "none"]
    assert {(run.backbone, run.weights) for run in recipe.finetune[0].runs} == {("efficientnet_lite0", "default")}
    assert recipe.head[0].embeddings == "all"
    assert recipe.head[1].embeddings == (
        *("all", "efficientnet_lite0/last", "small_cnn", "efficientnet_lite0/last/avg,size_px=48"),
        "small_cnn/last/avg,weights=none,size_px=96",
    )


def heads_within_preset(folder: Path, names: list[str], sizes: tuple[int, int]) -> tuple[str, ...]:
    """Return what a head of these names has where a preset makes two backbones equal."""
    file = folder / "study.toml"
    embedding = [
        {"backbone": backbone, "size_px": size_px}
        for backbone, size_px in zip(("vgg16", "efficientnet_lite0"), sizes, strict=True)
    ]
    presets = {"small": {"backbones": {"vgg16": "efficientnet_lite0"}}}
    file.write_text(toy_recipe(embedding=embedding, head=[{"name": "rf", "embeddings": names}], presets=presets))
    return load_recipe(f"{file}#small").head[0].embeddings


def test_names_stay_unique_where_a_preset_makes_backbones_equal(tmp_path: Path) -> None:
    names = heads_within_preset(tmp_path, ["vgg16", "efficientnet_lite0/last", "last"], (48, 64))
    assert names == ("efficientnet_lite0/last/avg,size_px=48", "efficientnet_lite0/last/avg,size_px=64", "last")


def test_embeddings_that_a_preset_makes_equal_have_one_name(tmp_path: Path) -> None:
    assert heads_within_preset(tmp_path, ["vgg16", "efficientnet_lite0"], (48, 48)) == ("efficientnet_lite0",)


def test_a_name_that_would_denote_embeddings_of_two_backbones_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    embedding = [
        {"backbone": "vgg16", "tap": ["last", "features.10"]},
        {"backbone": "efficientnet_lite0", "size_px": 48},
    ]
    presets = {"small": {"backbones": {"efficientnet_lite0": "vgg16"}}}
    file.write_text(toy_recipe(embedding=embedding, head=[{"name": "rf", "embeddings": "vgg16"}], presets=presets))
    with pytest.raises(RecipeError, match="presets.small.backbones: 'vgg16' of a head becomes 'vgg16', which is also"):
        load_recipe(f"{file}#small")


@pytest.mark.parametrize(
    ("sections", "preset", "problem"),
    [
        (
            {"embedding": [{"backbone": "vgg16", "tap": "last"}]},
            {"size_px": 64},
            r"presets.small.size_px: found 64, but embedding\[0\] \(vgg16\) states no size_px .*; set size_px in that",
        ),
        (
            {
                "finetune": [
                    {"backbone": "vgg16", "size_px": 64},
                    {"backbone": ["vgg16", "small_cnn"], "weights": "none"},
                ]
            },
            {"size_px": 64},
            r"presets.small.size_px: found 64, but finetune\[1\] \(vgg16\) states no size_px",
        ),
        (
            {"embedding": [{"backbone": "vgg16"}]},
            {"backbones": {"resnet50": "small_cnn"}},
            "presets.small.backbones: no section has the backbone 'resnet50'; .*'?vgg16",
        ),
        (
            {"finetune": [{"backbone": "vgg16"}, {"backbone": "small_cnn", "name": "net"}]},
            {"backbones": {"vgg16": "checkpoint:net"}},
            r"finetune\[0\].backbone: section 'net' is trained later; move its",
        ),
    ],
)
def test_a_preset_whose_limits_cannot_apply_is_refused(
    tmp_path: Path, sections: dict[str, Any], preset: dict[str, Any], problem: str
) -> None:
    file = tmp_path / "study.toml"
    removed = {} if "embedding" in sections else {"embedding": None, "head": None}
    file.write_text(toy_recipe(**removed, **sections, presets={"small": preset}))
    assert load_recipe(file).variant == ""
    with pytest.raises(RecipeError, match=problem):
        load_recipe(f"{file}#small")


def test_networks_that_keep_their_size_need_none_in_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    embedding = [{"vectors": "clip.npz"}, {"backbone": "checkpoint:net"}]
    finetune = [{"name": "net", "backbone": "vgg16", "size_px": 128}]
    file.write_text(toy_recipe(embedding=embedding, finetune=finetune, presets={"small": {"size_px": 64}}))
    recipe = load_recipe(f"{file}#small")
    assert [run.size_px for run in recipe.finetune[0].runs] == [64]
    assert [section.size_px for section in recipe.embedding] == [None, None]


def test_a_preset_balances_only_targets_that_have_a_balance(tmp_path: Path) -> None:
    targets = {"class": {"column": "class", "balance": {"train": 9000}}, "other": {"column": "other"}}
    presets = {"small": {"sample": 100, "balance": "undersample"}}
    file = tmp_path / "study.toml"
    file.write_text(toy_recipe(targets=targets, presets=presets))
    recipe = load_recipe(f"{file}#small")
    assert [target.balance for target in recipe.targets.values()] == ["undersample", "none"]


def test_without_a_preset_the_recipe_is_whole(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path, epochs=2))
    assert recipe.name == "study"
    assert {run.epochs for run in recipe.finetune[0].runs} == {10}


def test_an_unknown_preset_is_named_with_the_known_ones(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, epochs=2)
    with pytest.raises(DataError, match="study has no preset 'tiny'; presets: small"):
        load_recipe(f"{file}#tiny")


def test_a_limit_that_does_not_exist_is_an_error_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="presets.small.epoch: no such key; did you mean 'epochs'?"):
        load_recipe(write_recipe(tmp_path, epoch=2))


def test_an_unknown_backbone_in_a_preset_is_an_error_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="presets.small.backbones.*'vgg17'"):
        load_recipe(write_recipe(tmp_path, backbones={"vgg16": "vgg17"}))


def test_a_name_with_a_hash_is_a_file_before_it_is_a_preset(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, epochs=2).rename(tmp_path / "study#small")
    assert load_recipe(file).name == "study#small"


@pytest.mark.parametrize("name", ["a/b", "..", "a#b", "", "repeat-00", "two words"])
def test_a_name_that_is_no_part_of_a_folders_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error_info:
        parse_recipe({"data": {"source": "images"}, "presets": {name: {"sample": 9}}}, tmp_path / "r.toml")
    (problem,) = error_info.value.problems
    assert problem.startswith(f"presets.{name}: found {name!r}, expected a name of letters, digits")
