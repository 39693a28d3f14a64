"""Calibration, on numbers that can be computed by hand and against textbook formulas."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.metrics import brier_score_loss

from featx.metrics.definitions import Scorer
from featx.metrics.reliability import N_BINS, accuracy_by_coverage, reliability
from featx.tables.decision_rule import DecisionRule
from featx.tables.predictions import Predictions
from featx.tables.target_values import ClassTargets, LabelTargets

TWO = ("a", "b")


def two_class_proba(*p: float) -> np.ndarray:
    return np.stack([1 - np.array(p), np.array(p)], axis=1)


def test_predictions_are_grouped_in_bins_of_their_probability() -> None:
    curve = reliability(ClassTargets(TWO, np.array([1, 1, 0, 0])), two_class_proba(0.95, 0.93, 0.97, 0.4), n_bins=10)
    assert curve.n.tolist() == [1, 3]
    np.testing.assert_allclose(curve.mean_probability, [0.4, 0.95])
    np.testing.assert_allclose(curve.observed_share, [0, 2 / 3])
    assert curve.ece == pytest.approx((0.4 + 3 * (0.95 - 2 / 3)) / 4)


def test_probability_1_falls_into_the_last_bin() -> None:
    assert reliability(ClassTargets(TWO, np.array([1, 1])), two_class_proba(1.0, 1.0)).ece == 0


def test_every_label_counts() -> None:
    y = np.array([[1, 0], [0, 0]])
    proba = np.array([[0.9, 0.1], [0.1, 0.1]])
    curve = reliability(LabelTargets(TWO, y), proba, n_bins=2)
    np.testing.assert_allclose(curve.mean_probability, [0.1, 0.9])
    np.testing.assert_allclose(curve.observed_share, [0, 1])
    assert Scorer(LabelTargets(TWO, y), proba).plain()["brier"] == pytest.approx(0.01)


def test_brier_of_two_classes_is_twice_that_of_the_second() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 50), rng.random(50)
    assert score_classes(2, two_class_proba(*p), y)["brier"] == pytest.approx(2 * brier_score_loss(y, p))


def test_overconfident_probabilities_have_a_large_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    targets = ClassTargets(TWO, (rng.random(20_000) < p).astype(int))
    assert reliability(targets, two_class_proba(*p)).ece < 0.02
    assert reliability(targets, two_class_proba(*(p > 0.5).astype(float))).ece == pytest.approx(0.25, abs=0.01)


def test_the_most_certain_rows_are_predicted_first() -> None:
    coverage, accuracy = accuracy_by_coverage(ClassTargets(TWO, np.array([1, 0, 1])), two_class_proba(0.6, 0.1, 0.3))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(accuracy, [1, 0.5, 2 / 3])


def textbook_error(proba: np.ndarray, happened: np.ndarray) -> float:
    """Return the expected calibration error in 15 bins, one prediction after the other."""
    error = 0.0
    for index in range(N_BINS):
        low, high = index / N_BINS, (index + 1) / N_BINS
        bin_rows = [i for i, p in enumerate(proba) if low <= p < high or (p == 1 and high == 1)]
        if bin_rows:
            error += len(bin_rows) / len(proba) * abs(np.mean(proba[bin_rows]) - np.mean(happened[bin_rows]))
    return error


def random_case(k: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(k)
    return rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_calibration_errors_equal_the_textbook(k: int) -> None:
    proba, y = random_case(k)
    scores = score_classes(k, proba, y)
    class_errors = [textbook_error(proba[:, code], y == code) for code in range(k)]
    if k == 2:
        assert scores["ece"] == pytest.approx(class_errors[1])
        assert "classwise_ece" not in scores
    else:
        assert scores["ece"] == pytest.approx(textbook_error(proba.max(1), proba.argmax(1) == y))
        assert scores["classwise_ece"] == pytest.approx(np.mean(class_errors))


def score_classes(k: int, proba: np.ndarray, y: np.ndarray, shares: np.ndarray | None = None) -> dict[str, float]:
    return Scorer(ClassTargets(tuple("abcde"[:k]), y, None, shares), proba).plain()


def test_errors_of_two_classes_do_not_cancel() -> None:
    """The mean probability is .36 for 8 % positives; in bins of the larger probability both errors cancel."""
    rng = np.random.default_rng(0)
    y = (rng.random(20_000) < 0.08).astype(np.int64)
    p = np.where(y == 1, 0.74, np.where(rng.random(20_000) < 0.7, 0.26, 0.74))
    assert score_classes(2, two_class_proba(*p), y)["ece"] > 0.25


def test_calibrated_probabilities_of_soft_labels_have_no_error() -> None:
    for k in (2, 4):
        shares = np.random.default_rng(k).dirichlet(np.ones(k), 500)
        scores = score_classes(k, shares, shares.argmax(1), shares)
        assert scores["ece"] == pytest.approx(0, abs=1e-12)
        assert scores["brier"] == pytest.approx(0, abs=1e-12)
        assert scores["log_loss"] == pytest.approx(-(shares * np.log(shares)).sum(1).mean())
        assert scores["accuracy"] == pytest.approx(shares.max(1).mean())


@pytest.mark.parametrize("k", [2, 3])
def test_soft_labels_score_like_weighted_repeated_rows(k: int) -> None:
    """Each row is repeated for each class, and scikit-learn weighs it by the probability of the class."""
    proba, _ = random_case(k, 200)
    shares = np.random.default_rng(9).dirichlet(np.ones(k), 200)
    scores = score_classes(k, proba, shares.argmax(1), shares)
    y, y_pred = np.tile(np.arange(k), 200), np.repeat(proba.argmax(1), k)
    weights, repeated_proba = shares.ravel(), np.repeat(proba, k, axis=0)
    weighted = {"sample_weight": weights}
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(y, y_pred, **weighted))
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, y_pred, **weighted))
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(y, y_pred, average="macro", **weighted))
    assert scores["kappa"] == pytest.approx(metrics.cohen_kappa_score(y, y_pred, **weighted))
    assert scores["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, y_pred, **weighted))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(y, repeated_proba, **weighted))
    areas = [metrics.roc_auc_score(y == code, repeated_proba[:, code], **weighted) for code in range(k)]
    assert scores["auc_ovr"] == pytest.approx(np.mean(areas))


def test_a_decision_rule_changes_decisions_and_not_probabilities() -> None:
    proba, y = random_case(3)
    rule = DecisionRule(weights=(1.0, 2.0, 6.0))
    plain_scores, targets = score_classes(3, proba, y), ClassTargets(tuple("abc"), y, decision=rule)
    scores = Scorer(targets, proba).plain()
    y_pred = (proba * [1, 2, 6]).argmax(1)
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, y_pred))
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(y, y_pred, average="macro"))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(y, y_pred)) != plain_scores["accuracy"]
    unchanged = ("log_loss", "brier", "ece", "classwise_ece", "auc_ovr")
    assert [scores[name] for name in unchanged] == [plain_scores[name] for name in unchanged]
    table = Predictions.of_part("val", np.arange(400).astype(str), proba, tuple("abc"), decision=rule)
    assert table.ordered("cab").take(table.ids[::-1]).codes.tolist() == ((y_pred + 1) % 3)[::-1].tolist()
    assert Predictions.from_frame(table.to_frame()).codes.tolist() == y_pred.tolist()
