"""Calibration is chosen on rows that it did not learn from, and gives what scikit-learn gives."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.svm import SVC

from featx.heads.builtin import HeadTask
from featx.heads.calibration import METHODS, Outputs, calibrate, with_calibration
from featx.heads.fitting import fitted, learnt_in_folds
from featx.heads.folds import TrainingData, TrainRows
from featx.metrics.reliability import reliability
from featx.registry import HEADS
from featx.specs.head import Calibration, HeadSpec
from featx.tables.target_values import Kind, TargetValues

FIVE_FOLDS = HeadSpec(name="rf")

NAMES = ("a", "b", "c")


def rows_of(n: int = 300, k: int = 3, seed: int = 0) -> TrainRows:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    x = (np.eye(k)[codes] * 1.5 + rng.normal(size=(n, k))).astype(np.float32)
    return TrainRows(x, TargetValues("classes", NAMES[:k], codes))


def outputs_of(rows: TrainRows, boast: float) -> tuple[Outputs, Any]:
    """Return honest log odds times a factor: probabilities that say too much, or too little."""
    raw = np.empty((len(rows), rows.facts.n_outputs))
    for learn, held in rows.folds(5, 0):
        model = LogisticRegression().fit(rows.x[learn], rows.facts.y[learn])
        raw[held] = boast * model.predict_log_proba(rows.x[held])
    proba = np.exp(raw)
    return Outputs(raw, True, proba / proba.sum(1, keepdims=True)), rows.fold_of(5, 0)


@pytest.mark.parametrize("boast", [8.0, 0.2])
def test_probabilities_that_say_too_much_or_too_little_are_mended(boast: float) -> None:
    rows = rows_of(1000)
    outputs, fold_of = outputs_of(rows, boast)
    found = calibrate("auto", outputs, rows.facts, rows.lessons(), fold_of)
    assert found.method != "none"
    assert set(found.log_losses) == {"none", *METHODS}  # of three classes and 1000 rows, all are tried
    assert outputs.proba is not None
    assert reliability(rows.facts, found.proba).ece < 0.5 * reliability(rows.facts, outputs.proba).ece
    np.testing.assert_allclose(found.proba.sum(1), 1)


def test_honest_probabilities_stay_much_as_they_are() -> None:
    rows = rows_of(1000)
    outputs, fold_of = outputs_of(rows, 1.0)
    found = calibrate("auto", outputs, rows.facts, rows.lessons(), fold_of)
    assert found.method != "isotonic"
    assert found.log_losses[found.method] <= found.log_losses["none"]
    np.testing.assert_allclose(found.proba, outputs.proba, atol=0.1)
    asked = calibrate("none", outputs, rows.facts, rows.lessons(), fold_of)
    np.testing.assert_array_equal(asked.proba, outputs.proba)


@pytest.mark.parametrize("method", METHODS)
def test_no_fold_has_a_part_in_its_own_calibration(method: Calibration) -> None:
    rows = rows_of(300)
    outputs, fold_of = outputs_of(rows, 3.0)
    before = calibrate(method, outputs, rows.facts, rows.lessons(), fold_of).proba
    flipped = rows.facts.y.copy()
    held = fold_of == 0
    flipped[held] = (flipped[held] + 1) % 3
    lied = TrainRows(rows.x, TargetValues("classes", NAMES, flipped))
    after = calibrate(method, outputs, lied.facts, lied.lessons(), fold_of).proba
    np.testing.assert_array_equal(after[held], before[held])
    assert (after != before).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [2, 3])
def test_the_final_model_is_scikit_learns(method: Calibration, k: int) -> None:
    rows = rows_of(200, k)
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, k, 0))
    model, unseen = learnt_in_folds(head, dict(head.start), rows, HeadSpec(name="svm", calibration=method))
    assert isinstance(model[-1], CalibratedClassifierCV)
    assert isinstance(model[-1].estimator, SVC)
    proba = model.predict_proba(rows.x)
    assert (proba.argmax(1) == rows.facts.y).mean() > 0.75
    assert unseen.method == method
    assert (unseen.answers.argmax(1) == rows.facts.y).mean() > 0.65


def test_soft_labels_and_labels_are_calibrated() -> None:
    rows = rows_of(200, 2)
    shares = np.where(rows.facts.y[:, None] == [0, 1], 0.8, 0.2)
    soft = TrainRows(rows.x, TargetValues("classes", NAMES[:2], rows.facts.y, None, shares))
    several = TrainRows(rows.x, TargetValues("labels", NAMES[:2], np.stack([rows.facts.y, 1 - rows.facts.y], axis=1)))
    for one in (soft, several):
        head = HEADS.get("svm")(HeadTask(*one.x.shape, 2, 0, one.facts.kind))
        model, found = learnt_in_folds(head, dict(head.start), one, HeadSpec(name="svm"))
        assert found.method == "platt"  # of so few rows, nothing else is tried by itself
        assert found.log_losses[found.method] == min(found.log_losses.values())
        assert isinstance(model[-1], MultiOutputClassifier) == (one is several)


def test_what_was_chosen_from_is_told() -> None:
    rows = rows_of(200, 2)
    for name, settled in (("lda", {"shrinkage": 0.1}), ("ridge", {"alpha": 0.1})):
        head = HEADS.get(name)(HeadTask(*rows.x.shape, 2, 0))
        _, found = learnt_in_folds(head, dict(head.start) | settled, rows, HeadSpec(name=name))
        assert found.log_losses.keys() == {"platt", *(["none"] if name == "lda" else [])}


def test_what_cannot_be_calibrated_so_is_known_beforehand() -> None:
    svm = HEADS.get("svm")(HeadTask(100, 3, 2, 0))
    assert "none" not in svm.calibrations("classes")
    forest = HEADS.get("rf")(HeadTask(100, 3, 2, 0, "labels"))
    assert forest.calibrations("labels") == ("auto", "none")


@pytest.mark.parametrize("method", METHODS)
def test_small_decisions_are_calibrated_as_well(method: Calibration) -> None:
    rows = TrainRows(
        np.repeat(np.eye(3, dtype=np.float32), 50, axis=0), TargetValues("classes", NAMES, np.arange(150) // 50)
    )
    head = HEADS.get("logreg")(HeadTask(*rows.x.shape, 3, 0))
    params = {"scaling": "standard", "C": 1e-6}
    proba = fitted(head, params, rows, method, FIVE_FOLDS).predict_proba(rows.x)
    assert proba.max(1).min() > 0.6  # of itself each says a third and a little
    assert (proba.argmax(1) == rows.facts.y).all()


def test_one_decision_far_off_does_not_spoil_the_others() -> None:
    rows = rows_of(300, 2)
    outputs, fold_of = outputs_of(rows, 1.0)
    assert outputs.raw is not None
    decisions = outputs.raw[:, 1:] - outputs.raw[:, :1]
    whole = calibrate("platt", Outputs(decisions, True, None), rows.facts, rows.lessons(), fold_of)
    decisions[7] = -400 if rows.facts.y[7] == 0 else 400
    spoilt = calibrate("platt", Outputs(decisions, True, None), rows.facts, rows.lessons(), fold_of)
    assert spoilt.log_losses["platt"] == pytest.approx(whole.log_losses["platt"], abs=0.02)


def test_rows_whose_features_hardly_vary_elsewhere_do_not_choose_the_method() -> None:
    plain = rows_of(1200, 2)
    odd = np.random.default_rng(0).normal(0, 1e-6, (len(plain), 20))
    odd[np.arange(20), np.arange(20)] = 1  # each of twenty rows in a feature of its own
    rows = TrainRows(np.c_[plain.x, odd].astype(np.float32), plain.facts)
    found = []
    for one in (plain, rows):
        head = HEADS.get("ridge")(HeadTask(*one.x.shape, 2, 0))
        found.append(learnt_in_folds(head, {"scaling": "standard", "alpha": 0.1}, one, HeadSpec(name="ridge"))[1])
    assert found[1].method == found[0].method
    assert found[1].log_losses == pytest.approx(found[0].log_losses, abs=0.01)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_what_is_learnt_from_held_out_rows_is_what_scikit_learn_learns(kind: Kind) -> None:
    rows = rows_of(200, 2)
    if kind == "labels":
        rows = replace(
            rows, facts=TargetValues("labels", NAMES[:2], np.stack([rows.facts.y, 1 - rows.facts.y], axis=1))
        )
    spec, params = HeadSpec(name="svm", calibration="platt"), {"scaling": "none", "kernel": "linear", "C": 1.0}
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, 2, 0, kind))
    model, _ = learnt_in_folds(head, params, rows, spec)
    folds = rows.folds(spec.folds, spec.seed)
    bare = head.build(params)[-1]
    usual = CalibratedClassifierCV(getattr(bare, "estimator", bare), method="sigmoid", ensemble=False, cv=folds)
    usual = MultiOutputClassifier(usual) if kind == "labels" else usual
    expected = usual.fit(rows.x.astype(np.float64), rows.facts.y).predict_proba(rows.x)
    np.testing.assert_allclose(model.predict_proba(rows.x), expected, atol=1e-6)
    assert model[-1].get_params().keys() == usual.get_params().keys()


def test_probabilities_of_two_classes_that_are_too_sure_get_a_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 3000)
    y = (rng.random(3000) < expit(logits)).astype(np.int64)
    facts = TargetValues("classes", NAMES[:2], y)
    sure = expit(3 * logits)
    said = np.stack([1 - sure, sure], axis=1)
    rows = TrainRows(np.zeros((3000, 1), np.float32), facts)
    found = calibrate("auto", Outputs(said, False, said), facts, rows.lessons(), np.arange(3000) % 5)
    assert found.method == "temperature"
    assert np.abs(found.proba[:, 1] - expit(logits)).max() < 0.05


def test_platts_sigmoid_never_reverses_the_order_of_decisions() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    falling = -y[:, None] + rng.normal(0, 0.1, (60, 1))  # as of folds that differ in their intercepts alone
    facts = TargetValues("classes", ("a", "b"), y)
    lessons = TrainingData(np.arange(60), y, None)
    found = calibrate("platt", Outputs(falling, True, None), facts, lessons, np.arange(60) % 5)
    np.testing.assert_allclose(found.proba[:, 1], y.mean(), atol=0.1)
    model = with_calibration(LogisticRegression().fit(falling, 1 - y), "platt", Outputs(falling, True, None), lessons)
    answers = model.predict_proba(falling)[:, 1]
    assert (np.argsort(answers) == np.argsort(model.estimator.decision_function(falling))).all()
