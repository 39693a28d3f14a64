import math
from itertools import product
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from featx.metrics.definitions import Scorer
from featx.metrics.scores import GREATER_IS_BETTER, confusion, per_class, score, scores
from featx.specs.head import Metric
from featx.tables.predictions import Predictions
from featx.tables.target_values import TargetValues
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
    """Return (true class, guessed class) of each image, without any array trick."""
    truth, rows = case
    true = {name: truth.classes[code] for name, code in zip(truth.ids, truth.codes, strict=True)}
    guessed = []
    for name, row in zip(rows.ids, rows.proba, strict=True):
        by_class = {label: row[rows.classes.index(label)] for label in truth.classes}
        guessed.append((true[name], max(truth.classes, key=lambda label: by_class[label])))
    return guessed


def slow_f1(case: Case, label: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of one class; 0/0 is 0."""
    both = pairs(case)
    hits = sum(t == g == label for t, g in both)
    n_guessed, n_true = sum(g == label for _, g in both), sum(t == label for t, _ in both)
    precision, recall = hits / n_guessed if n_guessed else 0.0, hits / n_true if n_true else 0.0
    return precision, recall, 2 * hits / (n_guessed + n_true) if n_guessed + n_true else 0.0


@quick
@given(cases())
def test_the_confusion_table_counts_pairs(case: Case) -> None:
    truth, rows = case
    expected = [[pairs(case).count((t, g)) for g in truth.classes] for t in truth.classes]
    assert confusion(truth, rows).tolist() == expected


@quick
@given(cases())
def test_scores_equal_their_textbook_versions(case: Case) -> None:
    truth, rows = case
    both, found = pairs(case), scores(truth, rows)
    true = [t for t, _ in both]
    occurring = [label for label in truth.classes if label in true]
    of_class = {label: slow_f1(case, label) for label in truth.classes}
    assert found["n"] == len(both)
    assert found["accuracy"] == pytest.approx(sum(t == g for t, g in both) / len(both))
    assert found["balanced_accuracy"] == pytest.approx(sum(of_class[c][1] for c in occurring) / len(occurring))
    for at, name in enumerate(("precision", "recall", "f1")):
        macro = sum(of_class[c][at] for c in truth.classes) / len(truth.classes)
        weighted = sum(of_class[c][at] * true.count(c) for c in truth.classes) / len(true)
        assert found[f"macro_{name}"] == pytest.approx(macro)
        assert found[f"weighted_{name}"] == pytest.approx(weighted)


@quick
@given(cases())
def test_each_class_is_scored_in_the_order_of_the_codes(case: Case) -> None:
    truth, rows = case
    true = [t for t, _ in pairs(case)]
    for label, found in zip(truth.classes, per_class(truth, rows), strict=True):
        precision, recall, f1 = slow_f1(case, label)
        assert found == {
            "class": label,
            "precision": pytest.approx(precision),
            "recall": pytest.approx(recall),
            "f1": pytest.approx(f1),
            "n": true.count(label),
        }


@quick
@given(cases())
def test_log_loss_is_the_mean_of_minus_log_of_the_true_classes_probability(case: Case) -> None:
    truth, rows = case
    true = {name: truth.classes[code] for name, code in zip(truth.ids, truth.codes, strict=True)}
    each = [-math.log(row[rows.classes.index(true[name])]) for name, row in zip(rows.ids, rows.proba, strict=True)]
    assert scores(truth, rows)["log_loss"] == pytest.approx(sum(each) / len(each))


@quick
@given(cases())
def test_kappa_is_agreement_beyond_chance(case: Case) -> None:
    truth, rows = case
    both = pairs(case)
    true, guessed = [t for t, _ in both], [g for _, g in both]
    seen = sum(t == g for t, g in both) / len(both)
    chance = sum(true.count(c) * guessed.count(c) for c in truth.classes) / len(both) ** 2
    expected = 0.0 if chance == 1 else (seen - chance) / (1 - chance)
    assert scores(truth, rows)["kappa"] == pytest.approx(expected)
    if chance < 1:
        assert scores(truth, rows)["kappa"] == pytest.approx(cohen_kappa_score(true, guessed))


@quick
@given(cases())
def test_auc_is_the_share_of_pairs_in_the_right_order(case: Case) -> None:
    truth, rows = case
    codes = truth.take(rows.ids).codes
    proba = rows.ordered(truth.classes).proba
    areas = []
    for code in range(len(truth.classes)):
        inside, outside = proba[codes == code, code], proba[codes != code, code]
        if len(inside) and len(outside):
            wins = sum((a > b) + 0.5 * (a == b) for a, b in product(inside, outside))
            areas.append(wins / (len(inside) * len(outside)))
    expected = sum(areas) / len(areas) if areas else math.nan
    assert scores(truth, rows)["auc_ovr"] == pytest.approx(expected, nan_ok=True)


def test_auc_of_two_classes_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    codes, share = rng.integers(0, 2, 50), rng.random(50).round(1)
    facts = TargetValues("classes", ("a", "b"), codes)
    area = Scorer(facts, np.stack([1 - share, share], axis=1)).plain()["auc_ovr"]
    assert area == pytest.approx(roc_auc_score(codes, share))


@quick
@given(cases())
def test_search_and_evaluation_score_alike(case: Case) -> None:
    found = scores(*case)
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        sign = -1 if metric == "log_loss" else 1
        assert score(metric, *case) == pytest.approx(sign * found[metric])


def test_every_metric_that_a_recipe_can_name_has_a_score() -> None:
    assert {name for of in GREATER_IS_BETTER.values() for name in of} == set(get_args(Metric))


def test_a_sure_and_wrong_prediction_costs_much_but_not_infinity() -> None:
    truth = Truth(np.asarray(["i"], dtype=object), np.asarray([0]), ("a", "b"))
    wrong = Predictions.of_part("val", ["i"], np.asarray([[0.0, 1.0]]), "ab")
    assert score("log_loss", truth, wrong) == pytest.approx(math.log(1e-15))


def test_soft_labels_count_by_their_shares_as_weighted_rows_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"i{at}" for at in range(60)], dtype=object)
    shares, outputs = rng.dirichlet(np.ones(3), 60), rng.dirichlet(np.ones(3), 60)
    truth = Truth(ids, shares.argmax(1), ("a", "b", "c"), shares=shares)
    rows = Predictions.of_part("val", ids, outputs, truth.classes)
    guessed, each, weights = np.repeat(rows.codes, 3), np.tile(np.arange(3), 60), shares.ravel()
    expected = confusion_matrix(each, guessed, sample_weight=weights)
    np.testing.assert_allclose(confusion(truth, rows), expected, atol=6e-4)
    precision, recall, f1, n = precision_recall_fscore_support(each, guessed, sample_weight=weights)
    found = per_class(truth, rows)
    for name, values in {"precision": precision, "recall": recall, "f1": f1}.items():
        np.testing.assert_allclose([one[name] for one in found], values)
    np.testing.assert_allclose([one["n"] for one in found], n, atol=6e-4)
