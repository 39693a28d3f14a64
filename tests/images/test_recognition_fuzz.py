"""Random trees of files: recognition raises no error but its own, and accounts for every file.

Modules: images.init, images.inventory.
"""

from pathlib import Path

import pytest

from featx.errors import FeatxError
from featx.images.init import init
from featx.images.readers import read_source
from featx.specs.recipe import load_recipe
from tests.random_trees import write_tree


def check_recognition(folder: Path, seed: int) -> bool:
    """Recognise a random tree; return whether a recipe was written, which then reads all images that were found."""
    write_tree(folder, seed)
    refusal = ""
    try:
        recognition = init(folder, recipe=folder.parent / f"{seed}.toml")
    except FeatxError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        return False
    inventory = recognition.inventory
    assert sum(inventory.types.values()) == inventory.n_files
    assert sum(inventory.uses.values()) == inventory.n_files
    recipe = load_recipe(recognition.recipe)
    assert len(read_source(recipe.data, recipe.folder)) == recognition.n_found
    return True


@pytest.mark.parametrize("decade", range(6))
def test_random_trees_are_recognised_or_refused_in_one_line(decade: int, tmp_path: Path) -> None:
    seeds = range(10 * decade, 10 * decade + 10)
    assert sum(check_recognition(tmp_path / str(seed), seed) for seed in seeds) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("hundred", range(1, 21))
def test_many_random_trees_are_recognised_or_refused_in_one_line(hundred: int, tmp_path: Path) -> None:
    seeds = range(100 * hundred, 100 * hundred + 100)
    assert sum(check_recognition(tmp_path / str(seed), seed) for seed in seeds) >= 30
