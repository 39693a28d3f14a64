"""Runs of outer splits are listed by split, and every command that finds none says where they are."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from featx.errors import FeatxError
from featx.specs.recipe import load_recipe
from featx.study.run_listing import list_runs
from featx.study.variant_runs import describe_outer_runs, describe_preset_runs
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

SPLIT = {"test": 0.2, "val": 0.2, "method": "train_test_split", "repeats": 2}
RECIPE = toy_recipe(
    split=SPLIT, head=toy_heads("logreg", "knn"), ensemble=[{"methods": ["soft"]}], presets={"few": {"sample": 40}}
)
PLACE = "the runs of this recipe are in 2 outer splits, of which '-r outer.toml#repeat-00' names the first"
COMMANDS = ["evaluate", "report", "ensemble", "predict images/dark/000.png", "predict images/dark/000.png --run knn"]
COMMANDS += ["export knn", "show knn", "runs show knn", "runs rm knn", "attack", "corrupt", "smooth knn", "explore -v"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished study of two outer splits."""
    folder = tmp_path_factory.mktemp("finished")
    make_images(folder / "images")
    (folder / "outer.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        featx.run("outer.toml")
    return folder


@pytest.fixture
def study(finished: Path, home: Path) -> Path:
    """Change to a copy of the finished study; return the folder of its runs."""
    shutil.copytree(finished, home, dirs_exist_ok=True)
    featx.extract("outer.toml")
    return Path("runs/outer")


def remove_runs(study: Path) -> None:
    """Remove the runs of all splits, as `keep_runs = false` does."""
    for header in study.glob("repeat-*/*/header.json"):
        shutil.rmtree(header.parent)


def output_of(command: str) -> str:
    """Return what a command prints, or the text of its error."""
    result = CliRunner().invoke(app, [*command.split(), "-r", "outer.toml"])
    assert isinstance(result.exception, FeatxError | None), result.exception
    return f"{result.exception}" if result.exception else " ".join(result.output.split())


def test_commands_that_find_no_run_name_the_outer_splits(study: Path) -> None:
    for command in COMMANDS:
        assert PLACE in output_of(command), command
    remove_runs(study)
    for command in COMMANDS:
        text = output_of(command)
        assert "the runs of its 2 finished outer splits were not kept; set 'keep_runs = true' in [split]" in text
        assert "'featx run outer.toml' makes them again" in text


def test_runs_are_listed_by_outer_split(study: Path) -> None:
    runs = list_runs("outer.toml")
    assert {(run.recipe, run.label) for run in runs} == {
        (f"outer/repeat-0{number}", name) for number in (0, 1) for name in ("logreg", "knn", "soft")
    }
    assert {run.state for run in runs} == {"current"}
    text = output_of("runs ls")
    assert text.index("outer/repeat-00:") < text.index("outer/repeat-01:")
    assert text.endswith("next featx runs show RUN -r outer.toml#repeat-00")
    assert CliRunner().invoke(app, ["runs", "show", "knn", "-r", "outer.toml#repeat-00"]).exit_code == 0
    listed = json.loads(CliRunner().invoke(app, ["runs", "ls", "--json", "-r", "outer.toml"]).output)["runs"]
    assert {run["recipe"] for run in listed} == {"outer/repeat-00", "outer/repeat-01"}
    remove_runs(study)
    assert "were not kept" in output_of("runs ls")


def test_runs_of_outer_splits_are_listed_without_a_recipe(study: Path) -> None:
    output = CliRunner().invoke(app, ["runs", "ls"]).output
    assert "outer/repeat-00:" in output
    assert "featx runs show runs/outer/repeat-00/RUN" in output


def test_a_split_whose_runs_were_not_kept_says_so(study: Path) -> None:
    remove_runs(study)
    with pytest.raises(
        FeatxError, match="the runs of this finished outer split were not kept; .* 'featx run outer.toml'"
    ):
        featx.evaluate("outer.toml#repeat-01")


def test_runs_in_the_study_itself_need_no_hint(study: Path) -> None:
    featx.fit("outer.toml", heads=["knn"])
    assert featx.evaluate("outer.toml")[0].rows
    assert output_of("runs show knn").startswith("knn-class")
    shutil.rmtree(study)
    assert describe_outer_runs(load_recipe("outer.toml")) == ""


def test_a_preset_with_outer_splits_is_named_with_its_splits(study: Path) -> None:
    study.rename("runs/outer-few")
    text = (
        "; the preset 'few' has finished runs in 2 outer splits, of which '-r outer.toml#few/repeat-00' names the first"
    )
    assert describe_preset_runs(load_recipe("outer.toml")) == text
    assert load_recipe("outer.toml#few/repeat-01").reference == "outer.toml#few/repeat-01"
    Path("with space.toml").write_text(RECIPE)
    assert load_recipe("with space.toml#few").reference == "'with space.toml'#few"
