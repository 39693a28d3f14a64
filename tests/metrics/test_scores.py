"""Scores of predictions against slow textbook versions and scikit-learn."""

import math
from itertools import product
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from featx.metrics.definitions import Scorer
from featx.metrics.scores import align, confusion, per_class, score, scores, signed_score
from featx.specs.head import Metric
from featx.specs.suitability import METRICS
from featx.tables.predictions import Predictions
from featx.tables.target_values import ClassTargets
from featx.tables.truth import Truth

quick = settings(max_examples=25)
Case = tuple[Truth, Predictions]


@st.composite
def cases(draw: st.DrawFn, most_classes: int = 4) -> Case:
    """Draw a truth and predictions in another order of rows and of classes."""
    k = draw(st.integers(2, most_classes))
    codes = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=12))
    weights = draw(
        st.lists(st.lists(st.integers(1, 5), min_size=k, max_size=k), min_size=len(codes), max_size=len(codes))
    )
    ids = [f"i{i}" for i in range(len(codes))]
    classes = [f"c{i}" for i in range(k)]
    truth = Truth(np.asarray(ids, dtype=object), np.asarray(codes, dtype=np.int64), tuple(classes))
    rows = Predictions.of_part("val", ids, np.asarray(weights), classes)
    return truth, rows.take(draw(st.permutations(ids))).ordered(draw(st.permutations(classes)))


def pairs(case: Case) -> list[tuple[str, str]]:
    """Return the (true class, predicted class) of each image, without arrays."""
    truth, rows = case
    true = {name: truth.classes[code] for name, code in zip(truth.ids, truth.codes, strict=True)}
    pairs_of_images = []
    for name, row in zip(rows.ids, rows.proba, strict=True):
        by_class = {label: row[rows.classes.index(label)] for label in truth.classes}
        pairs_of_images.append((true[name], max(truth.classes, key=lambda label: by_class[label])))
    return pairs_of_images


def slow_f1(case: Case, label: str) -> tuple[float, float, float]:
    """Return precision, recall and F1 of one class; 0/0 is 0."""
    classes = pairs(case)
    hits = sum(t == g == label for t, g in classes)
    n_predicted, n_true = sum(g == label for _, g in classes), sum(t == label for t, _ in classes)
    precision, recall = hits / n_predicted if n_predicted else 0.0, hits / n_true if n_true else 0.0
    return precision, recall, 2 * hits / (n_predicted + n_true) if n_predicted + n_true else 0.0


@quick
@given(cases())
def test_the_confusion_matrix_counts_pairs(case: Case) -> None:
    truth, rows = case
    expected = [[pairs(case).count((t, g)) for g in truth.classes] for t in truth.classes]
    assert confusion(truth, rows).tolist() == expected


@quick
@given(cases())
def test_scores_equal_their_textbook_versions(case: Case) -> None:
    truth, rows = case
    classes, actual = pairs(case), scores(truth, rows)
    true = [t for t, _ in classes]
    occurring = [label for label in truth.classes if label in true]
    of_class = {label: slow_f1(case, label) for label in truth.classes}
    assert actual["n"] == len(classes)
    assert actual["accuracy"] == pytest.approx(sum(t == g for t, g in classes) / len(classes))
    assert actual["balanced_accuracy"] == pytest.approx(sum(of_class[c][1] for c in occurring) / len(occurring))
    for index, name in enumerate(("precision", "recall", "f1")):
        macro = sum(of_class[c][index] for c in truth.classes) / len(truth.classes)
        weighted = sum(of_class[c][index] * true.count(c) for c in truth.classes) / len(true)
        assert actual[f"macro_{name}"] == pytest.approx(macro)
        assert actual[f"weighted_{name}"] == pytest.approx(weighted)


@quick
@given(cases())
def test_each_class_is_scored_in_the_order_of_the_codes(case: Case) -> None:
    truth, rows = case
    true = [t for t, _ in pairs(case)]
    for label, actual in zip(truth.classes, per_class(truth, rows), strict=True):
        precision, recall, f1 = slow_f1(case, label)
        assert actual == {
            "class": label,
            "precision": pytest.approx(precision),
            "recall": pytest.approx(recall),
            "f1": pytest.approx(f1),
            "n": true.count(label),
        }


@quick
@given(cases())
def test_log_loss_is_the_mean_of_minus_log_probabilities(case: Case) -> None:
    truth, rows = case
    true = {name: truth.classes[code] for name, code in zip(truth.ids, truth.codes, strict=True)}
    losses = [-math.log(row[rows.classes.index(true[name])]) for name, row in zip(rows.ids, rows.proba, strict=True)]
    assert scores(truth, rows)["log_loss"] == pytest.approx(sum(losses) / len(losses))


@quick
@given(cases())
def test_kappa_is_agreement_beyond_chance(case: Case) -> None:
    truth, rows = case
    classes = pairs(case)
    true, y_pred = [t for t, _ in classes], [g for _, g in classes]
    observed = sum(t == g for t, g in classes) / len(classes)
    chance = sum(true.count(c) * y_pred.count(c) for c in truth.classes) / len(classes) ** 2
    expected = 0.0 if chance == 1 else (observed - chance) / (1 - chance)
    assert scores(truth, rows)["kappa"] == pytest.approx(expected)
    if chance < 1:
        assert scores(truth, rows)["kappa"] == pytest.approx(cohen_kappa_score(true, y_pred))


@quick
@given(cases())
def test_auc_is_the_share_of_pairs_in_the_right_order(case: Case) -> None:
    truth, rows = case
    codes = truth.take(rows.ids).codes
    proba = rows.ordered(truth.classes).proba
    areas = []
    for code in range(len(truth.classes)):
        class_proba, other_proba = proba[codes == code, code], proba[codes != code, code]
        if len(class_proba) and len(other_proba):
            wins = sum((a > b) + 0.5 * (a == b) for a, b in product(class_proba, other_proba))
            areas.append(wins / (len(class_proba) * len(other_proba)))
    expected = sum(areas) / len(areas) if areas else math.nan
    assert scores(truth, rows)["auc_ovr"] == pytest.approx(expected, nan_ok=True)


def test_auc_of_two_classes_equals_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    codes, share = rng.integers(0, 2, 50), rng.random(50).round(1)
    targets = ClassTargets(("a", "b"), codes)
    area = Scorer(targets, np.stack([1 - share, share], axis=1)).plain()["auc_ovr"]
    assert area == pytest.approx(roc_auc_score(codes, share))


@quick
@given(cases())
def test_searches_and_evaluation_use_the_same_scores(case: Case) -> None:
    actual = scores(*case)
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        assert score(metric, *case) == pytest.approx(actual[metric])
        signed = signed_score(metric, *align(*case))
        assert signed == pytest.approx(-actual[metric] if metric == "log_loss" else actual[metric])


def test_every_metric_of_recipes_has_a_score() -> None:
    assert {name for metrics in METRICS.values() for name in metrics} == set(get_args(Metric))


def test_a_certain_wrong_prediction_has_a_finite_loss() -> None:
    truth = Truth(np.asarray(["i"], dtype=object), np.asarray([0]), ("a", "b"))
    wrong_prediction = Predictions.of_part("val", ["i"], np.asarray([[0.0, 1.0]]), "ab")
    assert score("log_loss", truth, wrong_prediction) == pytest.approx(-math.log(1e-15))


def test_soft_labels_count_like_weighted_rows_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"i{row}" for row in range(60)], dtype=object)
    shares, outputs = rng.dirichlet(np.ones(3), 60), rng.dirichlet(np.ones(3), 60)
    truth = Truth(ids, shares.argmax(1), ("a", "b", "c"), shares=shares)
    rows = Predictions.of_part("val", ids, outputs, truth.classes)
    y_pred, true, weights = np.repeat(rows.codes, 3), np.tile(np.arange(3), 60), shares.ravel()
    expected = confusion_matrix(true, y_pred, sample_weight=weights)
    np.testing.assert_allclose(confusion(truth, rows), expected, atol=6e-4)
    precision, recall, f1, n = precision_recall_fscore_support(true, y_pred, sample_weight=weights)
    classes = per_class(truth, rows)
    for name, values in {"precision": precision, "recall": recall, "f1": f1}.items():
        np.testing.assert_allclose([row[name] for row in classes], values)
    np.testing.assert_allclose([row["n"] for row in classes], n, atol=6e-4)
