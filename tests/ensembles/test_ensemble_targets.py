"""Ensembles of a study with two targets: methods, members and metrics of each."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featx
from featx.errors import DataError, RecipeError, UnsuitedError
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

TWO_TARGETS = {
    "data": LABEL_TABLE,
    "targets": {"class": {"column": "class"}, "age": {"column": "age", "kind": "numbers"}},
    "split": {"test": 0.2, "val": 0.25},
    "head": toy_heads("rf", "ridge", folds=2),
}


@pytest.fixture
def two_targets(home: Path) -> Path:
    """A study with classes and numbers."""
    ids = make_images(home / "images", n_each=40)
    light = np.array([name.startswith("light") for name in ids])
    age = np.where(light, 60, 20) + np.random.default_rng(0).normal(0, 3, len(ids))
    table = pd.DataFrame({"path": ids, "class": np.where(light, "light", "dark"), "age": age})
    table.to_csv("images/labels.csv", index=False)
    Path("featx.toml").write_text(toy_recipe(**TWO_TARGETS))
    featx.extract()
    featx.fit()
    return home


def test_each_target_gets_the_methods_that_suit_it(two_targets: Path) -> None:
    pairs = {(run.target, run.method) for run in featx.ensemble()}
    assert {method for target, method in pairs if target == "age"} == {"soft", "weighted", "greedy"}
    assert {method for target, method in pairs if target == "class"} == {"majority", "soft", "weighted", "greedy"}
    (median,) = featx.ensemble(methods=["median"])
    assert (median.target, median.metric) == ("age", "mae")
    assert 0 < median.score < 5
    assert median.gain == median.best_member_score - median.score
    with pytest.raises(
        UnsuitedError, match="method 'majority' predicts classes or labels, target 'age' is of numbers; suitable"
    ):
        featx.ensemble(methods=["majority"], target="age")
    with pytest.raises(
        UnsuitedError, match="'median' predicts numbers, target 'class' is of classes; suitable methods: conf"
    ):
        featx.ensemble(methods=["median"], target="class")
    prediction = featx.load(median.path).predict_images(["images/light/000.png"])
    assert prediction.kind == "numbers"
    assert 40 < prediction.proba[0, 0] < 80
    assert prediction.intervals(0.8).shape == (1, 1, 2)


def test_a_target_with_one_run_has_no_ensemble_and_the_reason_is_said(two_targets: Path) -> None:
    heads = [head | {"target": "class"} for head in toy_heads("rf", "lda", folds=2)]
    heads += [head | {"target": "age"} for head in toy_heads("ridge", folds=2)]
    sections = TWO_TARGETS | {"head": heads, "ensemble": [{"methods": ["mean"]}, {"methods": ["mean", "soft"]}]}
    Path("one_age.toml").write_text(toy_recipe(**sections))
    notes: list[str] = []
    results = [
        result
        for stage, result in featx.run("one_age.toml", progress=lambda stage, done, total, note="": notes.append(note))
        if stage == "ensemble"
    ]
    assert [(run.target, run.method) for run in results[0]] == [("class", "soft")]
    reason = "no ensemble of 'age': it needs two runs with different predictions"
    assert [note for note in notes if note.startswith("no ensemble")] == [reason, reason]
    with pytest.raises(DataError, match="needs two different finished runs or more, .* for target 'age'"):
        featx.ensemble("one_age.toml", methods=["mean"])


def test_members_of_one_target_give_ensembles_of_that_target(two_targets: Path) -> None:
    names = [run.name for run in Study.open(None).runs("age")]
    (soft,) = featx.ensemble(methods=["soft"], members=names)
    assert (soft.target, sorted(soft.members)) == ("age", sorted(names))
    with pytest.raises(DataError, match="no finished run is called 'mlp'"):
        featx.ensemble(members=["mlp"])


def test_the_metric_of_the_recipe_is_used_for_targets_that_have_it(two_targets: Path) -> None:
    recipe = Path("featx.toml")
    recipe.write_text(toy_recipe(**TWO_TARGETS, ensemble=[{"metric": "rmse"}]))
    metrics = {run.target: run.metric for run in featx.ensemble(methods=["greedy"])}
    assert metrics == {"class": "accuracy", "age": "rmse"}
    assert {table.target: table.chosen_by for table in featx.evaluate()} == {
        "class": "accuracy on val",
        "age": "rmse on val",
    }
    recipe.write_text(toy_recipe(**TWO_TARGETS, ensemble=[{"metric": "average_precision"}]))
    with pytest.raises(
        RecipeError, match=r"ensemble\[0\].metric: 'average_precision' is not defined, target 'class' is"
    ):
        featx.ensemble()


def test_a_run_of_another_target_split_or_labelling_is_named(two_targets: Path) -> None:
    of_age = next(run.name for run in Study.open(None).runs("age"))
    with pytest.raises(DataError, match=f"{of_age} predicts target 'age', expected 'class'; runs on this split: rf"):
        featx.ensemble(members=[of_age, "rf-class"], target="class")
    table = pd.read_csv("images/labels.csv")
    old_run = next(run.name for run in Study.open(None).runs("class") if run.name.startswith("rf"))
    train = Study.open(None).ids("train")
    table.loc[table["path"].eq(train[0]), "class"] = "light"
    table.loc[table["path"].eq(train[1]), "class"] = "light"
    table.to_csv("images/labels.csv", index=False)
    featx.extract()
    with pytest.raises(DataError, match=f"{old_run} was trained on other labels or weights; runs on this split: "):
        featx.ensemble(members=[old_run], target="class")
    Path("featx.toml").write_text(toy_recipe(**TWO_TARGETS | {"split": {"test": 0.2, "val": 0.25, "seed": 5}}))
    featx.extract()
    expected = f"{of_age} was made on other images or another split; runs on this split: none"
    with pytest.raises(DataError, match=expected):
        featx.ensemble(members=[of_age], target="age")
