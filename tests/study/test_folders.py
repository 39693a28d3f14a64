"""The default folders of results: those of the recipe's project, wherever a command is called."""

from pathlib import Path

import pytest

import featx
from featx.specs.recipe import load_recipe
from featx.study.folders import cache_place, project_folder, runs_folder
from featx.study.study import Study
from tests.recipes import TOY_RECIPE, toy_recipe


def test_a_recipe_is_used_from_any_folder(toy_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy_home / "pyproject.toml").touch()
    recipe = toy_home / "recipes" / "faces.toml"
    recipe.parent.mkdir()
    recipe.write_text(toy_recipe(data={"source": "../images"}))
    other_folder = toy_home / "elsewhere"
    other_folder.mkdir()

    monkeypatch.chdir(other_folder)
    assert featx.extract(recipe).n_embedded == 48
    monkeypatch.chdir(recipe.parent)

    assert featx.extract("faces.toml").n_cached == 48
    assert Study.open("faces.toml").folder == toy_home / "runs" / "faces"
    assert (toy_home / "cache" / "digests.sqlite").is_file()
    monkeypatch.chdir(toy_home)
    # Paths below the working directory are printed as relative ones.
    assert Study.open(recipe).folder == Path("runs/faces")
    assert not any(other_folder.iterdir())


@pytest.mark.parametrize("mark", [".git/", "pyproject.toml", "cache/a.zarr/", "runs/faces/manifest.parquet"])
def test_a_project_is_the_nearest_folder_with_a_mark_of_one(home: Path, mark: str) -> None:
    folder = home / "study" / "recipes"
    folder.mkdir(parents=True)
    assert project_folder(folder) == folder
    for project in (home, home / "study"):
        file = project / mark
        file.parent.mkdir(parents=True, exist_ok=True)
        file.mkdir() if mark.endswith("/") else file.touch()
        assert project_folder(folder) == project
    (folder / "cache").mkdir()
    assert project_folder(folder) == folder


def test_folders_of_other_programs_are_no_project(home: Path) -> None:
    for name in ("cache", "runs"):
        (home / name / "of_another_program").mkdir(parents=True)
    (home / "recipes").mkdir()
    assert project_folder(home / "recipes") == home / "recipes"


def test_a_folder_that_all_users_share_is_no_project(home: Path) -> None:
    (home / "pyproject.toml").touch()
    (home / "shared" / "mine").mkdir(parents=True)
    assert project_folder(home / "shared" / "mine") == home
    (home / "shared").chmod(0o1777)
    assert project_folder(home / "shared" / "mine") == home / "shared" / "mine"


def test_variables_name_the_folders_of_all_recipes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "featx.toml").write_text(TOY_RECIPE)
    study = Study(load_recipe("featx.toml"))
    assert (study.folder, str(study.cache)) == (Path("runs/featx"), "cache")
    monkeypatch.setenv("FEATX_RUNS", "/results")
    monkeypatch.setenv("FEATX_CACHE", "/vectors")
    assert (study.folder, str(study.cache)) == (Path("/results/featx"), "/vectors")
    assert (runs_folder(), str(cache_place())) == (Path("/results"), "/vectors")
    monkeypatch.setenv("FEATX_CACHE", "s3://bucket/vectors")
    assert study.cache.local_folder == Path("cache")
