"""The recipes that come with featx are well formed."""

from pathlib import Path

import pytest

from featx.specs.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "pipelines").glob("*.toml"))


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_says_how_to_run_it(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.requests or recipe.finetune
    assert path.read_text().startswith(f"# featx run pipelines/{path.name}")
