"""Recipes as TOML text with all defaults, which loads again."""

import tomllib
from pathlib import Path

import pytest

from featx.specs.recipe import Recipe, load_recipe, parse_recipe
from featx.specs.recipe_toml import recipe_toml
from tests.recipes import Section, toy_recipe

FILES = sorted(Path(__file__).parents[2].glob("pipelines/*.toml"))
PHASE = {"trainable": "head", "lr": 1e-3, "epochs": 2}
RECIPES: dict[str, dict[str, Section | None]] = {
    "defaults": {},
    "a grid with phases": {
        "finetune": [
            {
                "backbone": "toy",
                "weights": "none",
                "loss": [{"name": "mse"}, {"name": "focal"}],
                "lr": [1e-3, 1e-4],
                "trials": 2,
            },
            {"backbone": "toy", "strategy": "progressive", "phases": [PHASE, PHASE | {"trainable": "all"}]},
        ]
    },
    "networks alone": {"embedding": None, "head": None, "finetune": [{"backbone": "toy", "weights": "none"}]},
    "vectors": {"embedding": [{"vectors": "clip.npz"}], "head": [{"name": "logreg", "embeddings": "all"}]},
    "lists and tables": {
        "embedding": [{"backbone": "toy", "tap": ["0.1", "0.3"], "pool": ["avg", "max"], "mean": [0.1, 0.2, 0.3]}],
        "head": [{"name": "svm", "class_weight": {"dark": 2.0, "light": 1.0}}],
        "groups": {"camera": "device"},
        "split": {"column": "part", "parts": {"0": "train", "1": "test"}, "val": 0.25},
    },
}


def load_shown(recipe: Recipe) -> Recipe:
    """Return the recipe in the text of another one."""
    return parse_recipe(tomllib.loads(recipe_toml(recipe)), recipe.folder / f"{recipe.name}.toml")


@pytest.mark.parametrize("sections", RECIPES.values(), ids=RECIPES)
def test_the_text_of_a_recipe_loads_as_the_same_recipe(sections: dict[str, Section | None], tmp_path: Path) -> None:
    recipe = parse_recipe(tomllib.loads(toy_recipe(**sections)), tmp_path / "featx.toml")
    assert load_shown(recipe) == recipe


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_texts_of_the_examples_load_as_the_same_recipes(file: Path) -> None:
    assert load_shown(load_recipe(file)) == load_recipe(file)


def test_grids_stay_grids_and_defaults_are_written_out(tmp_path: Path) -> None:
    grid = {"backbone": "toy", "weights": "none", "lr": [1e-3, 1e-4], "seed": [0, 1]}
    text = recipe_toml(parse_recipe(tomllib.loads(toy_recipe(finetune=[grid])), tmp_path / "featx.toml"))
    assert "lr = [0.001, 0.0001]\nseed = [0, 1]" in text
    assert tomllib.loads(text)["split"]["method"] == "hash"
    assert text.count("[[finetune]]") == 1


def test_passwords_are_masked(tmp_path: Path) -> None:
    recipe = toy_recipe(data={"source": "https://me:secret@example.org/images.zip"})
    text = recipe_toml(parse_recipe(tomllib.loads(recipe), tmp_path / "featx.toml"))
    assert "secret" not in text
    assert "example.org" in text
