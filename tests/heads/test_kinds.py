"""Every kind of target, from a label table to a model that other code loads.

Modules: artifacts.outputs, heads.builtin.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

import featx
from featx.artifacts.outputs import predict_outputs
from featx.errors import UnsuitedError
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

TARGETS = {
    "classes": {"column": "class"},
    "ordered": {"column": "age", "bins": [30, 60], "ordered": True},
    "soft": {"column": "share", "soft": True, "classes": ["dark", "light"]},
    "labels": {"kind": "labels", "columns": ["has_*"]},
    "numbers": {"kind": "numbers", "columns": ["age", "mood"]},
    "number": {"kind": "numbers", "column": "age"},
    "sure": {"column": "class", "confidence": "sure"},
}
# Targets of a kind that another one has, with another key.
VARIANTS = {"ordered", "number", "sure"}
NO_WEIGHTS = {"knn", "lda"}
UNSUITED = {"soft": NO_WEIGHTS, "sure": NO_WEIGHTS, "numbers": {"logreg", "lda"}, "number": {"logreg", "lda"}}
BARE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"featx", "torch", "optuna", "zarr", "pandas", "pydantic"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import pickle
import joblib, numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

def check_fitted_pipeline(model, x):
    check_is_fitted(model)
    assert model.n_features_in_ == x.shape[1], model
    assert all(step.n_features_in_ == x.shape[1] for step in (model[0], model[:1])), model
    assert list(model[:-1].get_feature_names_out())
    predictions = model.predict(x)
    if is_classifier(model):
        classes, columns = model.classes_, predictions.reshape(len(x), -1).T
        proba = model.predict_proba(x)
        if isinstance(proba, list):  # MultiOutputClassifier returns one array for each label
            assert [list(label_classes) for label_classes in classes] == [[0, 1]] * len(proba)
            for column, label_proba, label_classes in zip(columns, proba, classes, strict=True):
                assert (np.asarray(label_classes)[label_proba.argmax(1)] == column).all()
        elif predictions.ndim == 1:
            assert proba.shape == (len(x), len(classes))
            assert set(predictions) <= set(classes)
    assert np.isfinite(model.score(x, predictions))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), predictions)
    np.testing.assert_array_equal(model.set_output(transform="default").predict(x), predictions)
    fresh = clone(model)
    try:
        check_is_fitted(fresh)
    except NotFittedError:
        pass
    else:
        raise AssertionError("a clone is fitted")
    y = predictions.copy()
    train_x = np.vstack([x] * 10) + np.arange(60)[:, None] / 100
    if is_classifier(model):
        codes = np.arange(60) % (2 if predictions.ndim > 1 else len(model.classes_))
        y = codes if predictions.ndim == 1 else np.stack([codes] * predictions.shape[1], axis=1)
    else:
        y = np.concatenate([predictions] * 10)
    if "n_neighbors" in str(fresh.get_params().keys()):
        fresh.set_params(**{name: 3 for name in fresh.get_params() if name.endswith("n_neighbors")})
    fresh.set_params(**{name: 3 for name in fresh.get_params() if name.endswith("n_estimators")})
    components = [name for name in fresh.get_params() if name.endswith("n_components") and fresh.get_params()[name]]
    fresh.set_params(**dict.fromkeys(components, 2))
    fresh.fit(train_x.astype(np.float32), y)
    assert fresh.predict(x).shape == predictions.shape

x = np.load("x.npy")
for path in sys.argv[1:]:
    model = joblib.load(path)
    predictions = model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)
    if isinstance(predictions, list):
        predictions = np.stack([label_proba[:, 1] for label_proba in predictions], axis=1)
    np.save(path + ".npy", predictions.reshape(len(x), -1))
    check_fitted_pipeline(model, x)
"""


def write_recipe(target: Mapping[str, object]) -> None:
    """Write a recipe with one target."""
    recipe = toy_recipe(data=LABEL_TABLE, targets={"y": target}, split={"test": 0.2, "val": 0.25}, head=None)
    Path("featx.toml").write_text(recipe)


def write_study(target: str) -> None:
    """Write images whose brightness determines their targets, and a recipe for one kind of target."""
    ids = make_images(Path("images"), ("dark", "light"), n_each=60)
    rng = np.random.default_rng(0)
    light = np.array([name.startswith("light") for name in ids])
    table = pd.DataFrame(
        {
            "path": ids,
            "class": np.where(light, "light", "dark"),
            "age": np.where(light, 70, 20) + rng.integers(0, 20, len(ids)),
            "share": np.where(light, rng.choice([0.67, 1], len(ids)), rng.choice([0, 0.33], len(ids))),
            "has_light": light.astype(int),
            "has_dark": np.where(light, -1, 1),
            "has_luck": rng.choice(["yes", "no"], len(ids)),
            "mood": light + rng.normal(0, 0.1, len(ids)),
            "sure": rng.uniform(0.2, 1, len(ids)),
        }
    )
    table.to_csv("images/labels.csv", index=False)
    write_recipe(TARGETS[target])


@pytest.mark.parametrize(
    "target", [pytest.param(name, marks=[pytest.mark.slow] if name in VARIANTS else []) for name in TARGETS]
)
def test_all_heads_learn_each_kind_and_load_without_featx(target: str, home: Path) -> None:
    write_study(target)
    featx.extract()
    unsuited = UNSUITED.get(target, set())
    runs = featx.fit(heads=[name for name in HEADS.names() if name not in unsuited], trials=1)
    kind = target if target in {"labels", "numbers"} else "numbers" if target == "number" else "classes"
    for name in unsuited:
        with pytest.raises(UnsuitedError, match=f"head '{name}' (learns|cannot weigh)"):
            featx.fit(heads=name, trials=1)
    (comparison,) = featx.evaluate(final=True)
    assert comparison.kind == kind
    chance_scores = {"mae": 12.5, "average_precision": 0.7, "accuracy": 0.8, "quadratic_kappa": 0.5}
    for run in runs:
        assert run.val_score is not None
        is_better = (
            run.val_score < chance_scores["mae"] if run.score == "mae" else run.val_score > chance_scores[run.score]
        )
        assert is_better, run
    featx.report()

    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    np.save("x.npy", x)
    bodies = [str(Path(run.path) / "model.joblib") for run in runs]
    subprocess.run([sys.executable, "-c", BARE, *bodies], check=True)
    for run, body in zip(runs, bodies, strict=True):
        # Loading checks the outputs for the golden inputs.
        model = featx.load(run.path)
        expected = predict_outputs(joblib.load(body), x, model.header.prediction_kind)
        np.testing.assert_array_equal(np.load(body + ".npy"), expected)
        np.testing.assert_array_equal(model.predict_proba(x), expected)
    predictions = featx.predict(["images/dark/000.png", "images/light/000.png"], runs=[runs[0].run])[runs[0].run]
    rows = predictions.rows("r", None if kind == "labels" else 0.8)
    assert len(rows) == 2
    if kind == "numbers":
        assert all(row["low.age"] < row["value.age"] < row["high.age"] for row in rows)
    if target == "labels":
        assert predictions.classes == ("has_light", "has_dark", "has_luck")
        assert predictions.labels[0].startswith("has_dark")
        assert predictions.labels[1].startswith("has_light")


def test_confidence_weighs_rows_in_scores(home: Path) -> None:
    write_study("sure")
    featx.extract()
    (run,) = featx.fit(heads="logreg", trials=2)
    table = pd.read_parquet(Path(run.path) / "predictions.parquet")
    labels = pd.read_csv("images/labels.csv").set_index("path")
    val = table[table["part"] == "val"]
    is_correct = (val["proba.light"] > 0.5).to_numpy() == (labels.loc[val["id"], "class"] == "light").to_numpy()
    confidence = labels.loc[val["id"], "sure"].to_numpy()
    (row,) = featx.evaluate()[0].rows
    assert row.scores["accuracy"] == pytest.approx(is_correct.mean())
    assert row.scores["confidence_accuracy"] == pytest.approx((is_correct * confidence).sum() / confidence.sum())


def test_all_stages_run_on_labels(home: Path) -> None:
    write_study("labels")
    text = Path("featx.toml").read_text() + '[[head]]\nname = "rf"\ntrials = 1\n[[head]]\nname = "ridge"\ntrials = 1\n'
    Path("featx.toml").write_text(text)
    assert [name for name, _ in featx.run()] == ["extract", "fit", "fit", "ensemble", "evaluate", "report"]
    (soft,) = featx.ensemble(methods=["soft"])
    assert soft.metric == "average_precision"
    predictions = featx.load(soft.path).predict_images(["images/light/000.png"])
    assert predictions.kind == "labels"
    assert predictions.labels[0].startswith("has_light")


def test_the_default_heads_of_numbers_support_them(home: Path) -> None:
    write_study("number")
    assert [head.name for head in featx.specs.recipe.load_recipe().head] == ["ridge", "svm", "rf", "xgboost"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"column": "age", "soft": True}, "no probability in 'age'.*expected numbers in \\[0, 1\\]"),
        ({"kind": "labels", "columns": ["has_*", "hat"]}, "no column matches 'hat'"),
        ({"kind": "labels", "columns": ["age", "mood"]}, "column 'age' holds .* expected 0/1"),
        ({"kind": "labels", "columns": ["has_light"]}, "one label, 'has_light', is a target of classes"),
    ],
)
def test_columns_that_do_not_fit_a_kind_are_refused(target: Mapping[str, object], message: str, home: Path) -> None:
    write_study("classes")
    write_recipe(target)
    assert re.search(message, featx.extract().label_problem)


def test_unsupported_solvers_and_calibrations_are_refused(home: Path) -> None:
    write_study("labels")
    featx.extract()
    with pytest.raises(UnsuitedError, match="head 'rf' has no solver 'minibatch'; expected sklearn"):
        featx.fit(heads=HeadSpec(name="rf", solver="minibatch"))
    with pytest.raises(UnsuitedError, match="head 'rf' cannot have calibration = 'platt' for labels; expected one of"):
        featx.fit(heads=HeadSpec(name="rf", calibration="platt"))


def test_weighted_runs_are_compared_and_combined_by_weight(home: Path) -> None:
    write_study("sure")
    featx.extract()
    featx.fit(heads=["ridge", "rf"], trials=1)
    (ensemble,) = featx.ensemble(methods=["soft"])
    (comparison,) = featx.evaluate()
    assert (comparison.compared, ensemble.weighted) == ("confidence_accuracy", True)
    by_weight = {row.run: row.scores["confidence_accuracy"] for row in comparison.rows}
    assert ensemble.score == pytest.approx(by_weight[ensemble.run])
    for row in comparison.rows[1:]:
        assert row.difference == pytest.approx(by_weight[row.run] - by_weight[comparison.chosen])


def test_weighted_runs_show_the_score_that_chooses(home: Path) -> None:
    write_study("sure")
    with Path("featx.toml").open("a") as file:
        file.write('[[ensemble]]\nmethods = []\nmetric = "log_loss"\n')
    featx.extract()
    featx.fit(heads=["logreg", "rf"], trials=1)
    (evaluation,) = featx.evaluate()
    assert evaluation.compared == "confidence_log_loss"
    by_weight = {row.run: row.scores[evaluation.compared] for row in evaluation.rows}
    assert list(by_weight.values()) == sorted(by_weight.values())
    for row in evaluation.rows:
        low, high = row.intervals[evaluation.compared]
        assert low <= by_weight[row.run] <= high
        assert row.difference is None or row.difference == pytest.approx(
            by_weight[row.run] - by_weight[evaluation.chosen]
        )
    predictions = featx.predict(["images/light/000.png"])
    assert {run: item.selection_score for run, item in predictions.items()} == pytest.approx(
        {run: -value for run, value in by_weight.items()}
    )
