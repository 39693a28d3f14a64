"""Honesty of scores through the whole path from images to ensembles: chance level, sealed labels, stale runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featx
from featx.metrics.scores import scores
from featx.registry import HEADS
from featx.specs.base import fingerprint
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

RECIPE = toy_recipe(
    data=LABEL_TABLE,
    targets={"y": {"column": "y"}},
    split={"column": "part"},
    head=toy_heads(*HEADS.names(), trials=2),
    ensemble=[{"methods": ["majority", "weighted", "soft"]}],
)


def write_labels(labels: pd.Series, parts: np.ndarray) -> None:
    pd.DataFrame({"path": labels.index, "y": labels.to_numpy(), "part": parts}).to_csv("images/labels.csv", index=False)


@pytest.fixture
def labels(home: Path) -> pd.Series:
    """Write 300 images whose brightness depends on the class, and a recipe with a label table; return the labels."""
    ids = make_images(home / "images", ("a", "b", "c"), n_each=100, size=(16, 16))
    Path("featx.toml").write_text(RECIPE)
    return pd.Series([name[0] for name in ids], index=ids)


def all_runs(trials: int | None = None) -> dict[str, pd.DataFrame]:
    featx.fit(trials=trials)
    featx.ensemble()
    return {run.name: run.predictions.to_frame() for run in Study.open(None).runs()}


def test_shuffled_labels_score_at_chance(labels: pd.Series) -> None:
    rng = np.random.default_rng(0)
    parts = rng.permutation(np.repeat(["train", "val", "test"], 100))
    write_labels(pd.Series(rng.permutation(labels), index=labels.index), parts)
    featx.extract()
    runs = all_runs()
    assert len(runs) == len(HEADS.names()) + 3
    for row in featx.evaluate(final=True)[0].rows:
        recalls = [line["recall"] for line in row.per_class]
        sizes = np.array([line["n"] for line in row.per_class])
        # Standard error of the mean of three recalls whose expectation is 1/3.
        error = np.sqrt((1 / 3 * 2 / 3 / sizes).sum()) / 3
        assert abs(np.mean(recalls) - 1 / 3) < 3 * error, row.run


def test_true_labels_score_above_chance(labels: pd.Series) -> None:
    parts = np.random.default_rng(0).permutation(np.repeat(["train", "val", "test"], 100))
    write_labels(labels, parts)
    featx.extract()
    all_runs(trials=1)
    assert all(row.scores["balanced_accuracy"] > 0.8 for row in featx.evaluate(final=True)[0].rows)


def test_permuted_test_labels_change_no_prediction(labels: pd.Series) -> None:
    rng = np.random.default_rng(1)
    parts = rng.permutation(np.repeat(["train", "val", "test"], 100))
    write_labels(labels, parts)
    featx.extract()
    tables_before = all_runs(trials=1)
    permuted = labels.copy()
    permuted[parts == "test"] = rng.permutation(labels[parts == "test"])
    assert (permuted != labels).any()
    write_labels(permuted, parts)
    assert featx.extract().n_embedded == 0
    featx.fit(trials=1, force=True)
    featx.ensemble(force=True)
    tables_after = {run.name: run.predictions.to_frame() for run in Study.open(None).runs()}
    assert tables_before.keys() == tables_after.keys()
    for name, table in tables_before.items():
        pd.testing.assert_frame_equal(table, tables_after[name], check_exact=True)


def test_changed_train_labels_make_old_runs_stale(labels: pd.Series) -> None:
    parts = np.random.default_rng(2).permutation(np.repeat(["train", "val", "test"], 100))
    write_labels(labels, parts)
    featx.extract()
    (old_run,) = featx.fit(heads=["logreg"])
    changed_labels = labels.copy()
    changed_labels.iloc[np.flatnonzero(parts == "train")[:5]] = "a"
    changed_labels.iloc[np.flatnonzero(parts == "train")[-5:]] = "b"
    write_labels(changed_labels, parts)
    assert featx.extract().n_embedded == 0
    (new_run,) = featx.fit(heads=["logreg"])
    assert new_run.run != old_run.run
    assert [run.name for run in Study.open(None).runs()] == [new_run.run]


def test_each_opening_of_test_is_logged_and_nothing_else_opens_it(labels: pd.Series) -> None:
    write_labels(labels, np.resize(["train", "val", "test"], 300))
    featx.extract()
    featx.fit(heads=["logreg", "ridge"])
    featx.ensemble()
    featx.evaluate()
    featx.report()
    study = Study.open(None)
    assert study.openings() == []
    featx.evaluate(final=True)
    (comparison,) = featx.evaluate(final=True)
    assert comparison.n_openings == len(study.openings("y")) == 2
    assert study.openings()[0]["runs"] == [row.run for row in comparison.rows]
    assert not set(study.truth("y").ids) & set(study.ids("test"))


def test_reported_out_of_fold_scores_are_those_of_all_train_rows(labels: pd.Series) -> None:
    write_labels(labels, np.resize(["train", "val", "test"], 300))
    featx.extract()
    (result,) = featx.fit(heads=["svm"])
    study = Study.open(None)
    (run,) = study.runs()
    oof = run.predictions.of("oof")
    assert sorted(oof.ids) == sorted(study.ids("train"))
    assert set(oof.fold) == {0, 1, 2}
    assert result.oof_accuracy == scores(study.truth("y"), oof)["accuracy"]
    assert fingerprint(sorted(run.predictions.of("test").ids)) == fingerprint(sorted(study.ids("test")))
