"""Recipes of one name, in two folders of a project or with other suffixes, do not take over each other's results."""

import shutil
from pathlib import Path

import pytest

import featx
from featx.errors import DataError
from tests.recipes import toy_recipe


@pytest.fixture
def project(toy_home: Path) -> Path:
    """Return a project whose recipe has been extracted, with a second recipe of the same name in a folder of it."""
    (toy_home / "pyproject.toml").touch()
    featx.extract()
    (toy_home / "second").mkdir()
    (toy_home / "second" / "featx.toml").write_text(toy_recipe(data={"source": "../images"}))
    return toy_home


def test_a_recipe_of_the_same_name_in_another_folder_is_refused(project: Path) -> None:
    for call in (featx.extract, featx.fit, featx.run):
        with pytest.raises(
            DataError, match=r"holds the results of .*featx.toml, another recipe called 'featx'; rename"
        ):
            call("second/featx.toml")
    assert featx.extract().n_cached


def test_another_name_or_folder_of_runs_is_accepted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy("second/featx.toml", "second/other.toml")
    assert featx.extract("second/other.toml").n_found
    Path("second/featx.toml").write_text(toy_recipe(data={"source": "../images"}, paths={"runs": "runs"}))
    assert featx.extract("second/featx.toml").n_found
    monkeypatch.setenv("FEATX_RUNS", "runs")
    Path("second/featx.toml").write_text(toy_recipe(data={"source": "../images"}))
    assert featx.extract("second/featx.toml").n_found


def test_a_recipe_or_a_project_may_be_moved(project: Path) -> None:
    Path("third").mkdir()
    shutil.move("featx.toml", "third/featx.toml")
    Path("fea.toml").touch()  # another name, of which the recipe's is no preset
    recipe = Path("third/featx.toml")
    recipe.write_text(toy_recipe(data={"source": "../images"}))
    assert featx.extract(recipe).n_cached


@pytest.mark.parametrize("name", ["featx.TOML", "featx", "featx.txt"])
def test_recipes_that_differ_in_their_suffix_are_refused(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy("featx.toml", name)
    refusal = rf"runs/featx holds the results of .*featx\.toml, another .*; rename .*/{name}, or give it its own folder"
    for call in (featx.extract, featx.evaluate, featx.run):
        with pytest.raises(DataError, match=refusal):
            call(name)
    monkeypatch.setenv("FEATX_RUNS", "runs")
    with pytest.raises(DataError, match=refusal):
        featx.extract(name)
    Path("featx.toml").unlink()
    assert featx.extract(name).n_cached


def test_a_recipe_called_like_a_preset_of_another_is_refused(project: Path) -> None:
    Path("featx.toml").write_text(toy_recipe(presets={"few": {"sample": 30}}))
    assert featx.extract("featx.toml#few").n_found
    shutil.copy("featx.toml", "featx-few.toml")
    with pytest.raises(DataError, match="runs/featx-few holds the results of .*featx.toml, another recipe"):
        featx.extract("featx-few.toml")


def test_outer_splits_belong_to_the_study_of_their_recipe(project: Path) -> None:
    split = {"test": 0.2, "val": 0, "method": "train_test_split", "repeats": 2}
    Path("featx.txt").write_text(toy_recipe(split=split))
    with pytest.raises(DataError, match="runs/featx holds the results of .*featx.toml"):
        featx.extract("featx.txt#repeat-00")
