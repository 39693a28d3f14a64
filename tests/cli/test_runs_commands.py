"""``featx runs``: list, describe, remove and rename finished runs.

Modules: cli.run_page, study.run_changes, study.run_listing.
"""

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import featx
from featx.cli.main import app
from featx.errors import DataError, IncompleteError, RecipeError
from featx.study.run_changes import rename_run
from featx.study.run_listing import find_finished_run, list_runs
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

RECIPE = toy_recipe(head=toy_heads("logreg", "lda"), ensemble=[{"methods": ["soft"]}])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two heads and an ensemble of them, whose test split was opened."""
    folder = tmp_path_factory.mktemp("finished")
    make_images(folder / "images")
    (folder / "featx.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        featx.extract()
        featx.fit()
        featx.ensemble()
        featx.evaluate(final=True)
    return folder


@pytest.fixture
def study(finished: Path, home: Path) -> Path:
    """Change to a copy of the finished study; return the folder of its runs."""
    shutil.copytree(finished, home, dirs_exist_ok=True)
    featx.extract()
    return Path("runs/featx")


def invoke(words: str, answer: str = "") -> Result:
    """Return the result of ``featx runs``."""
    return CliRunner().invoke(app, ["runs", *words.split()], input=answer)


def states() -> dict[str, str]:
    """Return the state of each run, by the first word of its name."""
    return {run.run.partition("-")[0]: run.state for run in list_runs()}


def test_the_list_has_settings_scores_sizes_and_seeds(study: Path) -> None:
    summaries = {run.run.partition("-")[0]: run for run in list_runs()}
    head, soft = summaries["logreg"], summaries["soft"]
    assert (head.kind, head.target, head.seed, head.part, head.state) == ("head", "class", 0, "val", "current")
    assert head.settings["trials"] == 1
    assert "C" in head.settings
    assert head.weights == "toy/last/avg,weights=none"
    assert head.scores["accuracy"] == featx.evaluate()[0].rows[0].scores["accuracy"]
    assert soft.settings == {"method": "soft", "metric": "accuracy"}
    assert set(soft.members) == {head.run, summaries["lda"].run}
    assert head.n_bytes == sum(file.stat().st_size for file in Path(head.path).iterdir())
    assert (head.label, soft.label) == ("logreg", "soft")
    output = invoke("ls --verbose").output
    assert re.search(rf"^  logreg +acc {head.scores['accuracy']:.4f} +val ", output, re.MULTILINE)
    assert f"  {head.run}: trials 1, folds 3, " in output
    assert "C " in output
    assert "seed 0" in output


def test_runs_of_all_recipes_are_listed_without_a_recipe(study: Path) -> None:
    Path("featx.toml").rename("elsewhere.toml")
    assert {(run.recipe, run.state) for run in list_runs()} == {("featx", "unknown")}
    with pytest.raises(RecipeError, match="no such recipe"):
        find_finished_run("logreg")
    assert find_finished_run(next(study.glob("lda-*"))).name.startswith("lda-")


def test_stale_and_damaged_runs_are_listed_with_the_reason(study: Path) -> None:
    next(study.glob("lda-*")).joinpath("metrics.json").write_text("{")
    Path("featx.toml").write_text(RECIPE.replace("test = 0.25", "test = 0.2"))
    featx.extract()
    assert states() == {"logreg": "stale", "lda": "damaged", "soft": "damaged"}
    reasons = {run.run.partition("-")[0]: run.reason for run in list_runs()}
    assert "was made on other images or another split" in reasons["logreg"]
    assert "metrics.json" in reasons["lda"]
    assert "state     stale (logreg-class-" in invoke("show logreg").output


def test_the_state_is_unknown_without_a_current_extraction(study: Path) -> None:
    Path("images").rename("photos")
    Path("featx.toml").write_text(RECIPE.replace('source = "images"', 'source = "photos"'))
    assert set(states().values()) == {"unknown"}
    assert "the state of runs is unknown: the recipe's [data] or its label file changed" in invoke("ls").output


@pytest.mark.parametrize(
    ("name", "message"),
    [("nosuch", "no finished run is called 'nosuch'"), ("l", r"'l' matches 2 runs: lda-class-\w+, logreg-class-\w+;")],
)
def test_names_that_match_no_run_or_several_are_reported(study: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_finished_run(name)


def test_runs_are_removed_after_confirmation(study: Path) -> None:
    refusal = invoke("rm lda", "n\n")
    assert refusal.exit_code == 1
    assert "nothing is removed; '--yes' removes without a question" in refusal.output
    assert "lda" in states()

    result = invoke("rm lda", "y\n")

    assert result.exit_code == 0
    assert "Remove this run?" in result.output
    soft = next(study.glob("soft-*")).name
    assert f"ensemble {soft} needs lda-class-" in result.output
    assert states() == {"logreg": "current", "soft": "stale"}
    assert not list(study.glob(".lda*"))
    assert "warning" not in invoke("rm soft logreg --yes").output
    assert states() == {}


def test_a_renamed_run_is_found_by_its_commands_and_keeps_its_test_scores(study: Path) -> None:
    with pytest.raises(
        DataError, match=r"logreg-class-\w+ is a member of 1 ensembles, which know it by its name: soft"
    ):
        rename_run(find_finished_run("logreg"), "best")
    shutil.rmtree(next(study.glob("soft-*")))

    renamed_run = rename_run(find_finished_run("logreg"), "best one")

    assert renamed_run.name.startswith("best_one-")
    assert not renamed_run.damage
    assert [(run.run, run.is_new) for run in featx.fit("featx.toml", heads=["logreg"])] == [(renamed_run.name, False)]
    final = next(study.glob("final-*.json")).read_text()
    assert renamed_run.name in final
    assert "logreg-class-" not in final
    assert featx.fit("featx.toml", heads=["logreg"], force=True)[0].run == renamed_run.name
    assert len(Study.open(None).run_folders()) == 2
    with pytest.raises(DataError, match="there is a run 'best_one-"):
        rename_run(renamed_run, "best one")


def test_a_run_keeps_its_name_if_test_scores_cannot_be_read(study: Path) -> None:
    shutil.rmtree(next(study.glob("soft-*")))
    final = next(study.glob("final-*.json"))
    final.write_text(final.read_text().replace('"accuracy"', '"accurate"', 1))
    with pytest.raises(IncompleteError, match=r"final-\S+ was changed after it was written; no run is renamed: remove"):
        rename_run(find_finished_run("lda"), "best")
    assert find_finished_run("lda").name.startswith("lda-class-")
    final.unlink()
    assert rename_run(find_finished_run("lda"), "best").name.startswith("best-")


def test_a_new_name_is_shown_wherever_the_short_one_was(study: Path) -> None:
    shutil.rmtree(next(study.glob("soft-*")))
    result = invoke("rename lda lda-better")
    assert "is called lda-better-" in result.output
    assert {run.label for run in list_runs()} == {"logreg", "lda-better"}
    assert re.search(r"^  lda-better +acc ", invoke("ls").output, re.MULTILINE)
    assert {row.label for row in featx.evaluate()[0].rows} == {"logreg", "lda-better"}
    assert find_finished_run("lda-better").name.startswith("lda-better-")
    with pytest.raises(DataError, match="known: lda-better, logreg"):
        find_finished_run("soft")
