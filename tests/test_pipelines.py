"""Validity of the recipes in pipelines/."""

from pathlib import Path

import pytest

from featx.specs.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "pipelines").glob("*.toml"))


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_starts_with_its_command(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.requests or recipe.finetune
    assert path.read_text().startswith(f"# featx run pipelines/{path.name}")
