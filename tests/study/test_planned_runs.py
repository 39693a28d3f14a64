"""Runs of a recipe that are not finished, and runs of its presets.

Modules: study.planned_runs, workflow.section_checks.
"""

from pathlib import Path

import pytest

import featx
from featx.cli.run_table import evaluations
from featx.errors import IncompleteError, RecipeError
from featx.study.study import Study
from tests.conftest import make_images
from tests.printed import unwrapped
from tests.recipes import toy_heads, toy_recipe

NETWORK = {"backbone": "toy", "weights": "none", "epochs": 1, "strategy": "head", "lr": [0.1, 0.01]}


def test_unfinished_heads_and_networks_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_images(home / "images")
    heads = [*toy_heads("logreg"), {"name": "lda", "trials": 1, "folds": 3, "embeddings": ["all", "avgmax"]}]
    embeddings = [{"backbone": "toy", "weights": "none", "pool": pool} for pool in ("avg", "avgmax")]
    Path("featx.toml").write_text(toy_recipe(head=heads, embedding=embeddings, finetune=[NETWORK]))
    featx.extract()
    featx.fit(heads=["logreg"])
    (evaluation,) = featx.evaluate()
    assert evaluation.unfinished == ["head lda (0 of 2 runs)", "network toy (0 of 2 runs)"]
    evaluations([evaluation])
    text = "warning: not finished, so not compared: head lda (0 of 2 runs), network toy (0 of 2 runs); 'featx run'"
    assert text in unwrapped(capsys.readouterr().out)
    stages: list[str] = []
    featx.fit(progress=lambda stage, *_, note="": stages.append(stage))
    assert {"tune lda", "fit lda", "tune lda/avgmax", "fit lda/avgmax"} <= set(stages)
    assert featx.evaluate()[0].unfinished == ["network toy (0 of 2 runs)"]


def test_equal_heads_are_one_run(home: Path) -> None:
    make_images(home / "images")
    (head,) = toy_heads("logreg")
    heads = [head, head, *toy_heads("logreg", trials=3), head | {"embeddings": ["toy", "avg"]}]
    presets = {"small": {"trials": 1}}
    Path("featx.toml").write_text(toy_recipe(head=heads, presets=presets))
    featx.extract("featx.toml#small")
    results = featx.fit("featx.toml#small")
    assert [result.head for result in results] == ["logreg"]
    assert featx.evaluate("featx.toml#small")[0].unfinished == []


def test_runs_of_a_preset_are_pointed_at(home: Path) -> None:
    make_images(home / "images")
    Path("featx.toml").write_text(toy_recipe(head=toy_heads("logreg"), presets={"small": {"sample": 40}}))
    featx.extract("featx.toml#small")
    featx.fit("featx.toml#small")
    with pytest.raises(
        IncompleteError, match="the preset 'small' has finished runs, which '-r featx.toml#small' names"
    ):
        featx.evaluate()
    featx.extract()
    with pytest.raises(IncompleteError, match="has no finished run; .*'-r featx.toml#small' names"):
        featx.evaluate()


def test_names_of_runs_are_checked_before_anything_is_made(home: Path) -> None:
    make_images(home / "images")
    sections = {
        "head": toy_heads("logreg"),
        "finetune": [NETWORK | {"name": "own", "lr": 0.1}, NETWORK | {"name": "own2", "lr": 0.01}],
        "ensemble": [{"name": "pair", "methods": ["soft"], "members": ["own", "logreg"]}],
    }
    wrong_section = {
        "ensemble": [{"methods": ["soft"], "members": ["own", "logerg"]}],
        "smoothing": [{"run": "onw"}],
        "attack": [{"runs": ["smoothed-own", "logregg"]}],
        "corruption": {"reference": "svm"},
    }
    Path("featx.toml").write_text(toy_recipe(**sections | wrong_section))
    with pytest.raises(RecipeError) as error:
        next(featx.run())
    assert error.value.problems[0] == (
        "ensemble[0].members: no run of this recipe is called 'logerg'; did you mean 'logreg'? known: logreg, own, "
        "own2, soft, smoothed"
    )
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "ensemble[0].members",
        "smoothing[0].run",
        "attack[0].runs",
        "corruption.reference",
    ]
    assert not Path("runs").exists()
    Path("featx.toml").write_text(toy_recipe(**sections))
    list(featx.run())
    (vote,) = [run for run in Study.open(None).runs() if run.kind == "ensemble"]
    assert len(vote.members) == 2, "the section 'own2' is another one than 'own'"


def test_missing_files_of_weights_are_named_before_anything_is_made(home: Path) -> None:
    make_images(home / "images")
    networks = [NETWORK | {"lr": 0.1}, NETWORK | {"lr": 0.1, "weights": "own.pth"}]
    embeddings = [{"backbone": "toy", "weights": "other.pth"}]
    Path("featx.toml").write_text(toy_recipe(finetune=networks, embedding=embeddings, head=toy_heads("logreg")))
    with pytest.raises(RecipeError) as error:
        next(featx.run())
    assert error.value.problems == (
        "embedding[0].weights: there is no file other.pth; paths start from the recipe's folder",
        "finetune[1].weights: there is no file own.pth; paths start from the recipe's folder",
    )
    assert not Path("runs").exists()
