"""Scores of boosted trees after each tree, and early stopping."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error

import featx
from featx.artifacts.outputs import predict_outputs
from featx.artifacts.rescoring import update_val_scores
from featx.errors import RecipeError
from featx.heads.boosting_curves import embedding_gains, score_trees, stop_early
from featx.heads.fitting import fit_once, fit_out_of_fold
from featx.heads.folds import TrainRows
from featx.heads.head_settings import make_head
from featx.heads.parameter_checks import check_heads
from featx.specs.head import HeadSpec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics
from featx.study.study import Study
from featx.tables.ids import Kind
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets, TargetValues
from tests.heads.test_heads import digits
from tests.recipes import toy_recipe

PARAMS: dict[str, Any] = {"n_estimators": 6, "max_depth": 2, "learning_rate": 0.5}
SPEC = HeadSpec(name="xgboost", trials=0, folds=3, params=PARAMS)


def log_loss_of(y: np.ndarray, proba: np.ndarray) -> float:
    return float(-np.log(proba[np.arange(len(y)), y]).mean())


def rows_and_val(kind: Kind, n_classes: int = 3) -> tuple[TrainRows, TrainRows]:
    rows = digits(n_classes, 150)
    y = rows.targets.y
    targets: TargetValues = rows.targets
    if kind == "labels":
        targets = LabelTargets(("odd", "large"), np.stack([y % 2, y > 1], axis=1).astype(np.int64))
    elif kind == "numbers":
        targets = NumberTargets(("digit",), y[:, None].astype(float))
    all_rows = TrainRows(rows.x, targets)
    return all_rows.take(np.arange(100)), all_rows.take(np.arange(100, 150))


@pytest.mark.parametrize(("kind", "n_classes"), [("classes", 2), ("classes", 3), ("labels", 3), ("numbers", 3)])
def test_scores_after_each_tree_are_those_of_the_model_cut_there(kind: Kind, n_classes: int) -> None:
    rows, val = rows_and_val(kind, n_classes)
    head = make_head(SPEC, rows.x.shape, kind, rows.targets.n_outputs)
    model = fit_once(head, dict(PARAMS), rows, SPEC)
    curves = score_trees(model, rows, val, SPEC)
    assert curves is not None
    assert curves.max_trees is None
    for part, part_rows in (("train", rows), ("val", val)):
        losses, scores = getattr(curves, f"{part}_loss"), getattr(curves, f"{part}_score")
        assert len(losses) == len(scores) == PARAMS["n_estimators"]
        for n_trees in (1, 3, 6):
            cut = fit_once(head, PARAMS | {"n_estimators": n_trees}, rows, SPEC)
            outputs, y = predict_outputs(cut, part_rows.x, kind), part_rows.targets.y
            if kind == "classes":
                expected = (log_loss_of(y, outputs), accuracy_score(y, outputs.argmax(1)))
            elif kind == "labels":
                true_proba = np.where(y == 1, outputs, 1 - outputs)
                expected = (-np.log(true_proba).mean(), ((outputs >= 0.5) == y).mean())
            else:
                errors = outputs[:, 0] - y[:, 0]
                expected = (np.sqrt((errors**2).mean()), mean_absolute_error(y, outputs))
            assert (losses[n_trees - 1], scores[n_trees - 1]) == pytest.approx(expected, abs=2e-5)


def test_trees_are_found_inside_calibrations_and_decision_rules() -> None:
    rows, val = rows_and_val("classes")
    weighted = TrainRows(rows.x, rows.targets, class_weights=np.array([0.5, 1.0, 1.5]))
    for calibration in ("temperature", "none"):
        spec = SPEC.model_copy(update={"calibration": calibration})
        head = make_head(spec, rows.x.shape, "classes", 3)
        model, _ = fit_out_of_fold(head, dict(PARAMS), weighted, spec)
        curves = score_trees(model, weighted, val, spec)
        assert curves is not None
        assert curves.val_score[-1] > 0.6
    outputs = predict_outputs(model, val.x, "classes")
    assert curves.val_loss[-1] == pytest.approx(log_loss_of(val.targets.y, outputs), abs=1e-5)
    logreg = HeadSpec(name="logreg", trials=0)
    linear_model = fit_once(make_head(logreg, rows.x.shape, "classes", 3), {}, rows, logreg)
    assert score_trees(linear_model, rows, val, logreg) is None


def test_early_stopping_takes_the_trees_with_the_lowest_held_out_loss() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 5)).astype(np.float32)
    # A third of the labels is random, so that many trees overfit.
    y = np.where(rng.random(120) < 0.33, rng.integers(0, 2, 120), x[:, 0] > 0).astype(np.int64)
    rows = TrainRows(x, ClassTargets(("a", "b"), y))
    fixed = {"n_estimators": 60, "learning_rate": 0.5}
    spec = HeadSpec(name="xgboost", trials=0, folds=3, params=fixed | {"early_stopping_rounds": 8})
    head = make_head(spec, rows.x.shape, "classes", 2)
    n_trees = stop_early(head, dict(fixed), rows, spec)["n_estimators"]
    train, held_out = (rows.take(numbers) for numbers in rows.folds(3, spec.seed)[0])
    curves = score_trees(fit_once(head, dict(fixed), train, spec), train, held_out, spec)
    assert curves is not None
    assert curves.max_trees == 60
    assert n_trees == int(np.argmin(curves.val_loss[: n_trees + 8])) + 1 < 52
    model = fit_once(head, fixed | {"n_estimators": n_trees}, rows, spec)
    assert model[-1].get_booster().num_boosted_rounds() == n_trees


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"early_stopping_rounds": 8}, "early_stopping_rounds: the search chooses the number of trees by its folds"),
        ({"early_stopping_rounds": 0, "n_estimators": 9}, "early_stopping_rounds: found 0, expected a number of trees"),
    ],
)
def test_early_stopping_that_stops_nothing_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_heads([HeadSpec(name="xgboost", params=params)], {"y": "classes"})


def test_curves_are_kept_in_the_run_and_drawn(toy_home: Path) -> None:
    head = {"name": "xgboost", "trials": 0, "folds": 3, "params": {"n_estimators": 30, "early_stopping_rounds": 2}}
    Path("featx.toml").write_text(toy_recipe(head=[head]))
    featx.extract()
    (run,) = featx.fit()
    metrics = RunFolder(Path(run.path)).metrics
    assert isinstance(metrics, HeadMetrics)
    assert metrics.trees == run.trees is not None
    assert len(metrics.trees.val_loss) == len(metrics.trees.train_score) == run.params["n_estimators"] < 30
    assert metrics.trees.val_score[-1] == pytest.approx(run.val_accuracy, abs=1e-6)
    assert "log loss by the number of trees" in Path(featx.report().report).read_text()
    study = Study.open(None)
    # Labels of val were changed after the run.
    metrics.model_copy(update={"val_state": metrics.val_state.model_copy(update={"val_labels": "0" * 16})}).write(
        Path(run.path)
    )
    rescored = update_val_scores(study, RunFolder(Path(run.path))).metrics
    assert isinstance(rescored, HeadMetrics)
    assert rescored.trees is not None
    assert (rescored.trees.val_loss, rescored.trees.train_loss) == ([], metrics.trees.train_loss)


def test_gains_are_summed_by_joined_embedding() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    rows = TrainRows(x, ClassTargets(("a", "b"), (x[:, 4] > 0).astype(np.int64)))
    head = make_head(SPEC, x.shape, "classes", 2)
    model = fit_once(head, PARAMS, rows, SPEC)
    gains = embedding_gains(model, {"one": 4, "two": 2})
    assert sum(gains.values()) == pytest.approx(1)
    assert gains["two"] > 0.9
    assert embedding_gains(model, {"one": 6}) == {}
    logreg = HeadSpec(name="logreg", trials=0)
    linear_model = fit_once(make_head(logreg, x.shape, "classes", 2), {}, rows, logreg)
    assert embedding_gains(linear_model, {"one": 4, "two": 2}) == {}
