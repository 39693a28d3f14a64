"""What was said against what happened, on numbers that can be worked out by hand."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.metrics import brier_score_loss

from featx.metrics.definitions import Scorer
from featx.metrics.reliability import N_BINS, kept, reliability
from featx.tables.decision_rule import DecisionRule
from featx.tables.predictions import Predictions
from featx.tables.target_values import TargetValues

TWO = ("a", "b")


def of_b(*p: float) -> np.ndarray:
    return np.array([(1 - one, one) for one in p])


def test_answers_are_gathered_in_bins_of_what_was_said() -> None:
    found = reliability(TargetValues("classes", TWO, np.array([1, 1, 0, 0])), of_b(0.95, 0.93, 0.97, 0.4), n_bins=10)
    assert found.n.tolist() == [1, 3]
    np.testing.assert_allclose(found.said, [0.4, 0.95])
    np.testing.assert_allclose(found.happened, [0, 2 / 3])
    assert found.ece == pytest.approx((0.4 + 3 * (0.95 - 2 / 3)) / 4)


def test_a_certain_answer_falls_into_the_last_bin() -> None:
    assert reliability(TargetValues("classes", TWO, np.array([1, 1])), of_b(1.0, 1.0)).ece == 0


def test_every_label_counts() -> None:
    y = np.array([[1, 0], [0, 0]])
    proba = np.array([[0.9, 0.1], [0.1, 0.1]])
    found = reliability(TargetValues("labels", TWO, y), proba, n_bins=2)
    np.testing.assert_allclose(found.said, [0.1, 0.9])
    np.testing.assert_allclose(found.happened, [0, 1])
    assert Scorer(TargetValues("labels", TWO, y), proba).plain()["brier"] == pytest.approx(0.01)


def test_brier_of_two_classes_is_twice_that_of_the_second() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 50), rng.random(50)
    assert scored(2, of_b(*p), y)["brier"] == pytest.approx(2 * brier_score_loss(y, p))


def test_honest_probabilities_have_a_small_error_and_boastful_ones_a_large_one() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    facts = TargetValues("classes", TWO, (rng.random(20_000) < p).astype(int))
    assert reliability(facts, of_b(*p)).ece < 0.02
    assert reliability(facts, of_b(*(p > 0.5).astype(float))).ece == pytest.approx(0.25, abs=0.01)


def test_the_surest_rows_are_kept_first() -> None:
    coverage, accuracy = kept(TargetValues("classes", TWO, np.array([1, 0, 1])), of_b(0.6, 0.1, 0.3))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(accuracy, [1, 0.5, 2 / 3])


def textbook_error(given: np.ndarray, came_true: np.ndarray) -> float:
    """Return the expected calibration error in 15 bins, one answer after the other."""
    error = 0.0
    for at in range(N_BINS):
        low, high = at / N_BINS, (at + 1) / N_BINS
        inside = [i for i, p in enumerate(given) if low <= p < high or (p == 1 and high == 1)]
        if inside:
            error += len(inside) / len(given) * abs(np.mean(given[inside]) - np.mean(came_true[inside]))
    return error


def random_case(k: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(k)
    return rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_errors_are_the_textbooks(k: int) -> None:
    proba, y = random_case(k)
    found = scored(k, proba, y)
    each = [textbook_error(proba[:, code], y == code) for code in range(k)]
    if k == 2:
        assert found["ece"] == pytest.approx(each[1])
        assert "classwise_ece" not in found
    else:
        assert found["ece"] == pytest.approx(textbook_error(proba.max(1), proba.argmax(1) == y))
        assert found["classwise_ece"] == pytest.approx(np.mean(each))


def scored(k: int, proba: np.ndarray, y: np.ndarray, shares: np.ndarray | None = None) -> dict[str, float]:
    return Scorer(TargetValues("classes", tuple("abcde"[:k]), y, None, shares), proba).plain()


def test_errors_of_two_classes_do_not_cancel() -> None:
    """Of 8 % positives .36 are promised; in bins of the larger probability the errors of both classes cancel."""
    rng = np.random.default_rng(0)
    y = (rng.random(20_000) < 0.08).astype(np.int64)
    p = np.where(y == 1, 0.74, np.where(rng.random(20_000) < 0.7, 0.26, 0.74))
    assert scored(2, of_b(*p), y)["ece"] > 0.25


def test_perfectly_calibrated_answers_to_soft_labels_have_no_error() -> None:
    for k in (2, 4):
        shares = np.random.default_rng(k).dirichlet(np.ones(k), 500)
        found = scored(k, shares, shares.argmax(1), shares)
        assert found["ece"] == pytest.approx(0, abs=1e-12)
        assert found["brier"] == pytest.approx(0, abs=1e-12)
        assert found["log_loss"] == pytest.approx(-(shares * np.log(shares)).sum(1).mean())
        assert found["accuracy"] == pytest.approx(shares.max(1).mean())


@pytest.mark.parametrize("k", [2, 3])
def test_scores_of_soft_labels_are_those_of_rows_weighted_by_shares(k: int) -> None:
    """Each row stands once for each class, and scikit-learn weighs it by the share."""
    proba, _ = random_case(k, 200)
    shares = np.random.default_rng(9).dirichlet(np.ones(k), 200)
    found = scored(k, proba, shares.argmax(1), shares)
    y, guessed = np.tile(np.arange(k), 200), np.repeat(proba.argmax(1), k)
    weights, given = shares.ravel(), np.repeat(proba, k, axis=0)
    weighted = {"sample_weight": weights}
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, guessed, **weighted))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, guessed, **weighted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(y, guessed, average="macro", **weighted))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(y, guessed, **weighted))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, guessed, **weighted))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, given, **weighted))
    areas = [metrics.roc_auc_score(y == code, given[:, code], **weighted) for code in range(k)]
    assert found["auc_ovr"] == pytest.approx(np.mean(areas))


def test_decisions_by_weights_are_scored_and_probabilities_are_not_changed() -> None:
    proba, y = random_case(3)
    rule = DecisionRule(weights=(1.0, 2.0, 6.0))
    plain, facts = scored(3, proba, y), TargetValues("classes", tuple("abc"), y, decision=rule)
    found = Scorer(facts, proba).plain()
    guessed = (proba * [1, 2, 6]).argmax(1)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, guessed))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(y, guessed, average="macro"))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, guessed)) != plain["accuracy"]
    same = ("log_loss", "brier", "ece", "classwise_ece", "auc_ovr")
    assert [found[name] for name in same] == [plain[name] for name in same]
    table = Predictions.of_part("val", np.arange(400).astype(str), proba, tuple("abc"), decision=rule)
    assert table.ordered("cab").take(table.ids[::-1]).codes.tolist() == ((guessed + 1) % 3)[::-1].tolist()
    assert Predictions.from_frame(table.to_frame()).codes.tolist() == guessed.tolist()
