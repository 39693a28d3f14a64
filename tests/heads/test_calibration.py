"""Calibration is chosen on held-out rows and equals scikit-learn's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.svm import SVC

from featx.heads.calibration import METHODS, ClassifierOutputs, add_calibration, choose_calibration
from featx.heads.fitting import fit_out_of_fold, fit_pipeline
from featx.heads.folds import TrainingData, TrainRows
from featx.heads.head_definition import HeadTask
from featx.metrics.reliability import reliability
from featx.registry import HEADS
from featx.specs.head import Calibration, HeadSpec
from featx.tables.ids import Kind
from featx.tables.target_values import ClassTargets, LabelTargets

FIVE_FOLDS = HeadSpec(name="rf")

NAMES = ("a", "b", "c")


def rows_of(n: int = 300, k: int = 3, seed: int = 0) -> TrainRows:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    x = (np.eye(k)[codes] * 1.5 + rng.normal(size=(n, k))).astype(np.float32)
    return TrainRows(x, ClassTargets(NAMES[:k], codes))


def scaled_outputs(rows: TrainRows, factor: float) -> tuple[ClassifierOutputs, Any]:
    """Return log-odds times a factor, which makes probabilities over- or underconfident, and the folds."""
    raw_outputs = np.empty((len(rows), rows.targets.n_outputs))
    for train, held_out in rows.folds(5, 0):
        model = LogisticRegression().fit(rows.x[train], rows.targets.y[train])
        raw_outputs[held_out] = factor * model.predict_log_proba(rows.x[held_out])
    proba = np.exp(raw_outputs)
    return ClassifierOutputs(raw_outputs, True, proba / proba.sum(1, keepdims=True)), rows.fold_numbers(5, 0)


@pytest.mark.parametrize("factor", [8.0, 0.2])
def test_over_and_underconfident_probabilities_are_calibrated(factor: float) -> None:
    rows = rows_of(1000)
    outputs, fold_numbers = scaled_outputs(rows, factor)
    result = choose_calibration("auto", outputs, rows.targets, rows.training_data(), fold_numbers)
    assert result.method != "none"
    # With three classes and 1000 rows all methods are tried.
    assert set(result.log_losses) == {"none", *METHODS}
    assert outputs.proba is not None
    assert reliability(rows.targets, result.proba).ece < 0.5 * reliability(rows.targets, outputs.proba).ece
    np.testing.assert_allclose(result.proba.sum(1), 1)


def test_calibrated_probabilities_change_little() -> None:
    rows = rows_of(1000)
    outputs, fold_numbers = scaled_outputs(rows, 1.0)
    result = choose_calibration("auto", outputs, rows.targets, rows.training_data(), fold_numbers)
    assert result.method != "isotonic"
    assert result.log_losses[result.method] <= result.log_losses["none"]
    np.testing.assert_allclose(result.proba, outputs.proba, atol=0.1)
    uncalibrated = choose_calibration("none", outputs, rows.targets, rows.training_data(), fold_numbers)
    np.testing.assert_array_equal(uncalibrated.proba, outputs.proba)


@pytest.mark.parametrize("method", METHODS)
def test_no_fold_is_used_in_its_own_calibration(method: Calibration) -> None:
    rows = rows_of(300)
    outputs, fold_numbers = scaled_outputs(rows, 3.0)
    proba_before = choose_calibration(method, outputs, rows.targets, rows.training_data(), fold_numbers).proba
    flipped_codes = rows.targets.y.copy()
    is_held_out = fold_numbers == 0
    flipped_codes[is_held_out] = (flipped_codes[is_held_out] + 1) % 3
    flipped_rows = TrainRows(rows.x, ClassTargets(NAMES, flipped_codes))
    proba_after = choose_calibration(
        method, outputs, flipped_rows.targets, flipped_rows.training_data(), fold_numbers
    ).proba
    np.testing.assert_array_equal(proba_after[is_held_out], proba_before[is_held_out])
    assert (proba_after != proba_before).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [2, 3])
def test_the_final_model_is_scikit_learns(method: Calibration, k: int) -> None:
    rows = rows_of(200, k)
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, k, 0))
    model, out_of_fold = fit_out_of_fold(head, dict(head.start), rows, HeadSpec(name="svm", calibration=method))
    assert isinstance(model[-1], CalibratedClassifierCV)
    machine = model[-1].estimator if k == 2 else model[-1].estimator.estimators_[0]
    assert isinstance(machine, SVC)
    proba = model.predict_proba(rows.x)
    assert (proba.argmax(1) == rows.targets.y).mean() > 0.75
    assert out_of_fold.method == method
    assert (out_of_fold.outputs.argmax(1) == rows.targets.y).mean() > 0.65


def test_soft_labels_and_labels_are_calibrated() -> None:
    rows = rows_of(200, 2)
    shares = np.where(rows.targets.y[:, None] == [0, 1], 0.8, 0.2)
    soft = TrainRows(rows.x, ClassTargets(NAMES[:2], rows.targets.y, None, shares))
    label_rows = TrainRows(rows.x, LabelTargets(NAMES[:2], np.stack([rows.targets.y, 1 - rows.targets.y], axis=1)))
    for target_rows in (soft, label_rows):
        head = HEADS.get("svm")(HeadTask(*target_rows.x.shape, 2, 0, target_rows.targets.kind))
        model, result = fit_out_of_fold(head, dict(head.start), target_rows, HeadSpec(name="svm"))
        # With so few rows only Platt's sigmoid is tried.
        assert result.method == "platt"
        assert result.log_losses[result.method] == min(result.log_losses.values())
        assert isinstance(model[-1], MultiOutputClassifier) == (target_rows is label_rows)


def test_log_losses_name_the_methods_that_were_tried() -> None:
    rows = rows_of(200, 2)
    for name, path_params in (("lda", {"shrinkage": 0.1}), ("ridge", {"alpha_per_row": 0.1})):
        head = HEADS.get(name)(HeadTask(*rows.x.shape, 2, 0))
        _, result = fit_out_of_fold(head, dict(head.start) | path_params, rows, HeadSpec(name=name))
        assert result.log_losses.keys() == {"platt", *(["none"] if name == "lda" else [])}


def test_a_head_lists_its_allowed_calibrations() -> None:
    svm = HEADS.get("svm")(HeadTask(100, 3, 2, 0))
    assert "none" not in svm.allowed_calibrations("classes")
    forest = HEADS.get("rf")(HeadTask(100, 3, 2, 0, "labels"))
    assert forest.allowed_calibrations("labels") == ("auto", "none")


@pytest.mark.parametrize("method", METHODS)
def test_small_decisions_are_calibrated(method: Calibration) -> None:
    rows = TrainRows(np.repeat(np.eye(3, dtype=np.float32), 50, axis=0), ClassTargets(NAMES, np.arange(150) // 50))
    head = HEADS.get("logreg")(HeadTask(*rows.x.shape, 3, 0))
    params = {"scaling": "standard", "C": 1e-6}
    proba = fit_pipeline(head, params, rows, method, FIVE_FOLDS).predict_proba(rows.x)
    # The uncalibrated probabilities are slightly above a third.
    assert proba.max(1).min() > 0.6
    assert (proba.argmax(1) == rows.targets.y).all()


def test_an_outlier_does_not_change_the_calibration() -> None:
    rows = rows_of(300, 2)
    outputs, fold_numbers = scaled_outputs(rows, 1.0)
    assert outputs.raw is not None
    decisions = outputs.raw[:, 1:] - outputs.raw[:, :1]
    without_outlier = choose_calibration(
        "platt", ClassifierOutputs(decisions, True, None), rows.targets, rows.training_data(), fold_numbers
    )
    decisions[7] = -400 if rows.targets.y[7] == 0 else 400
    with_outlier = choose_calibration(
        "platt", ClassifierOutputs(decisions, True, None), rows.targets, rows.training_data(), fold_numbers
    )
    assert with_outlier.log_losses["platt"] == pytest.approx(without_outlier.log_losses["platt"], abs=0.02)


def test_nearly_constant_features_do_not_change_the_method() -> None:
    plain_rows = rows_of(1200, 2)
    nearly_constant = np.random.default_rng(0).normal(0, 1e-6, (len(plain_rows), 20))
    # Each of the first twenty rows has a feature that varies nowhere else.
    nearly_constant[np.arange(20), np.arange(20)] = 1
    extended_rows = TrainRows(np.c_[plain_rows.x, nearly_constant].astype(np.float32), plain_rows.targets)
    params, spec = {"scaling": "standard", "alpha_per_row": 0.1}, HeadSpec(name="ridge")
    plain_result, extended_result = (
        fit_out_of_fold(HEADS.get("ridge")(HeadTask(*rows.x.shape, 2, 0)), params, rows, spec)[1]
        for rows in (plain_rows, extended_rows)
    )
    assert extended_result.method == plain_result.method
    assert extended_result.log_losses == pytest.approx(plain_result.log_losses, abs=0.01)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_calibration_on_held_out_rows_equals_scikit_learns(kind: Kind) -> None:
    rows = rows_of(200, 2)
    if kind == "labels":
        rows = replace(rows, targets=LabelTargets(NAMES[:2], np.stack([rows.targets.y, 1 - rows.targets.y], axis=1)))
    spec, params = HeadSpec(name="svm", calibration="platt"), {"scaling": "none", "kernel": "linear", "C": 1.0}
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, 2, 0, kind))
    model, _ = fit_out_of_fold(head, params, rows, spec)
    folds = rows.folds(spec.folds, spec.seed)
    estimator = head.build(params)[-1]
    reference = CalibratedClassifierCV(
        getattr(estimator, "estimator", estimator), method="sigmoid", ensemble=False, cv=folds
    )
    reference = MultiOutputClassifier(reference) if kind == "labels" else reference
    expected = reference.fit(rows.x.astype(np.float64), rows.targets.y).predict_proba(rows.x)
    np.testing.assert_allclose(model.predict_proba(rows.x), expected, atol=1e-6)
    assert model[-1].get_params().keys() == reference.get_params().keys()


def test_overconfident_probabilities_of_two_classes_get_a_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 3000)
    y = (rng.random(3000) < expit(logits)).astype(np.int64)
    targets = ClassTargets(NAMES[:2], y)
    overconfident = expit(3 * logits)
    proba = np.stack([1 - overconfident, overconfident], axis=1)
    rows = TrainRows(np.zeros((3000, 1), np.float32), targets)
    result = choose_calibration(
        "auto", ClassifierOutputs(proba, False, proba), targets, rows.training_data(), np.arange(3000) % 5
    )
    assert result.method == "temperature"
    assert np.abs(result.proba[:, 1] - expit(logits)).max() < 0.05


def test_platts_sigmoid_never_reverses_the_order_of_decisions() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    # Folds whose models differ in their intercepts only give such decisions.
    falling = -y[:, None] + rng.normal(0, 0.1, (60, 1))
    targets = ClassTargets(("a", "b"), y)
    training_data = TrainingData(np.arange(60), y, None)
    result = choose_calibration(
        "platt", ClassifierOutputs(falling, True, None), targets, training_data, np.arange(60) % 5
    )
    np.testing.assert_allclose(result.proba[:, 1], y.mean(), atol=0.1)
    model = add_calibration(
        LogisticRegression().fit(falling, 1 - y), "platt", ClassifierOutputs(falling, True, None), training_data
    )
    proba = model.predict_proba(falling)[:, 1]
    assert (np.argsort(proba) == np.argsort(model.estimator.decision_function(falling))).all()
