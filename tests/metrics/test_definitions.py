"""Every score against scikit-learn: plain, weighted, and on rows drawn with replacement.

Modules: metrics.class_scores, metrics.number_scores, metrics.ranking_scores, metrics.row_scores, metrics.score_kinds.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as sk

from featx.metrics.definitions import SCORES, Scorer, available_scores, find_score
from featx.tables.ids import Floats
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets, TargetValues

Weights = Floats | None
THREE = ("a", "b", "c")


def of_classes(n: int = 60, k: int = 3, seed: int = 0, *, ordered: bool = False) -> tuple[TargetValues, Floats]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    proba = rng.dirichlet(np.ones(k), n).round(2) + 0.2 * np.eye(k)[y]  # rounded: some are equal
    return ClassTargets(tuple(f"c{i}" for i in range(k)), y, ordered=ordered), proba / proba.sum(1, keepdims=True)


def of_labels(n: int = 60, seed: int = 0) -> tuple[TargetValues, Floats]:
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 3)) < [0.5, 0.2, 0.7]).astype(np.int64)
    return LabelTargets(THREE, y), np.clip((rng.random((n, 3)) + 0.3 * y) / 1.3, 0, 1).round(2)


def of_numbers(n: int = 60, seed: int = 0, away: float = 0.5) -> tuple[TargetValues, Floats]:
    rng = np.random.default_rng(seed)
    y = rng.normal(away, 1, (n, 2))
    return NumberTargets(("x", "z"), y), y + rng.normal(0.2, 0.7, (n, 2))


def expected_of_classes(targets: TargetValues, proba: Floats, weights: Weights) -> dict[str, float]:
    y, y_pred, k = targets.y, proba.argmax(1), targets.n_outputs
    expected = {
        "accuracy": sk.accuracy_score(y, y_pred, sample_weight=weights),
        "balanced_accuracy": sk.balanced_accuracy_score(y, y_pred, sample_weight=weights),
        "kappa": sk.cohen_kappa_score(y, y_pred, sample_weight=weights),
        "mcc": sk.matthews_corrcoef(y, y_pred, sample_weight=weights),
        "log_loss": sk.log_loss(y, proba, labels=range(k), sample_weight=weights),
        "brier": np.average(((proba - np.eye(k)[y]) ** 2).sum(1), weights=weights),
        "quadratic_kappa": sk.cohen_kappa_score(y, y_pred, labels=range(k), weights="quadratic", sample_weight=weights),
        "mae_steps": sk.mean_absolute_error(y, y_pred, sample_weight=weights),
        "auc_ovr": np.mean([sk.roc_auc_score(y == c, proba[:, c], sample_weight=weights) for c in range(k)]),
    }
    for average in ("macro", "weighted"):
        values = sk.precision_recall_fscore_support(
            y, y_pred, labels=range(k), average=average, zero_division=0, sample_weight=weights
        )
        expected |= {f"{average}_{name}": v for name, v in zip(("precision", "recall", "f1"), values[:3], strict=True)}
    return expected


def expected_of_labels(targets: TargetValues, proba: Floats, weights: Weights) -> dict[str, float]:
    y, has_label = targets.y, (proba >= 0.5).astype(int)
    columns = list(zip(y.T, proba.T, strict=True))
    return {
        "accuracy": np.average((y == has_label).mean(1), weights=weights),
        "exact_match": sk.accuracy_score(y, has_label, sample_weight=weights),
        "macro_f1": sk.f1_score(y, has_label, average="macro", sample_weight=weights),
        "average_precision": np.mean([sk.average_precision_score(a, b, sample_weight=weights) for a, b in columns]),
        "auc": np.mean([sk.roc_auc_score(a, b, sample_weight=weights) for a, b in columns]),
        "log_loss": np.mean([sk.log_loss(a, np.clip(b, 1e-15, 1 - 1e-15), sample_weight=weights) for a, b in columns]),
        "brier": np.mean([sk.brier_score_loss(a, b, sample_weight=weights) for a, b in columns]),
    }


def expected_of_numbers(targets: TargetValues, y_pred: Floats, weights: Weights) -> dict[str, float]:
    y = targets.y
    columns = list(zip(y.T, y_pred.T, strict=True))
    covariances = [np.cov(a, b, aweights=weights, ddof=0) for a, b in columns]
    differences = [np.average(a - b, weights=weights) for a, b in columns]
    pairs = list(zip(covariances, differences, strict=True))
    return {
        "mae": sk.mean_absolute_error(y, y_pred, sample_weight=weights),
        "rmse": sk.root_mean_squared_error(y, y_pred, sample_weight=weights),
        "r2": sk.r2_score(y, y_pred, sample_weight=weights),
        "pearson": np.mean([c[0, 1] / math.sqrt(c[0, 0] * c[1, 1]) for c in covariances]),
        "ccc": np.mean([2 * c[0, 1] / (c[0, 0] + c[1, 1] + d * d) for c, d in pairs]),
        "sagr": np.mean([np.average((a > 0) == (b > 0), weights=weights) for a, b in columns]),
        "mape": sk.mean_absolute_percentage_error(y, y_pred, sample_weight=weights),
    } | {
        f"{name}.{column}": value
        for column, (a, b), (c, d) in zip("xz", columns, pairs, strict=True)
        for name, value in {
            "mae": sk.mean_absolute_error(a, b, sample_weight=weights),
            "rmse": sk.root_mean_squared_error(a, b, sample_weight=weights),
            "r2": sk.r2_score(a, b, sample_weight=weights),
            "pearson": c[0, 1] / math.sqrt(c[0, 0] * c[1, 1]),
            "ccc": 2 * c[0, 1] / (c[0, 0] + c[1, 1] + d * d),
            "sagr": np.average((a > 0) == (b > 0), weights=weights),
            "mape": sk.mean_absolute_percentage_error(a, b, sample_weight=weights),
        }.items()
    }


Expected = Callable[[TargetValues, Floats, Weights], dict[str, float]]
CASES: list[tuple[tuple[TargetValues, Floats], Expected]] = [
    (of_classes(ordered=True), expected_of_classes),
    (of_classes(k=2, ordered=True), expected_of_classes),
    (of_labels(), expected_of_labels),
    (of_numbers(), expected_of_numbers),
    (of_numbers(away=1e4), expected_of_numbers),
]


def expected_errors(targets: TargetValues) -> list[str]:
    """Return the names of the calibration errors; with two classes, that of the second class is enough."""
    if targets.kind == "numbers":
        return []
    return ["ece"] if targets.kind == "classes" and targets.n_outputs == 2 else ["ece", "classwise_ece"]


@pytest.mark.parametrize(("case", "expected"), CASES)
def test_every_score_equals_scikit_learns_plain_and_weighted(
    case: tuple[TargetValues, Floats], expected: Expected
) -> None:
    targets, outputs = case
    weights = np.random.default_rng(1).uniform(0.1, 3, len(targets))
    scorer = Scorer(targets, outputs)
    plain_scores = expected(targets, outputs, None)
    assert set(scorer.names) == {*plain_scores, *expected_errors(targets)}
    for row_weights in (None, weights):
        scores = scorer.plain(row_weights)
        for name, value in expected(targets, outputs, row_weights).items():
            assert scores[name] == pytest.approx(value, rel=1e-10, abs=1e-12), name


@pytest.mark.parametrize("case", [case for case, _ in CASES], ids=lambda case: case[0].kind)
def test_a_row_of_weight_two_counts_like_two_rows(case: tuple[TargetValues, Floats]) -> None:
    targets, outputs = case
    drawn_rows = np.random.default_rng(2).integers(0, len(targets), (7, len(targets)))
    counts = np.stack([np.bincount(draw, minlength=len(targets)) for draw in drawn_rows], axis=1).astype(float)
    scorer = Scorer(targets, outputs)
    scores = scorer.at(counts)
    for number, draw in enumerate(drawn_rows):
        repeated_scores = Scorer(targets.take(draw), outputs[draw]).plain()
        for name, value in repeated_scores.items():
            assert scores[name][number] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_pearson_of_numbers_far_from_0_loses_no_digits() -> None:
    targets, y_pred = of_numbers(away=1e7)
    expected = np.mean([pearsonr(a, b).statistic for a, b in zip(targets.y.T, y_pred.T, strict=True)])
    assert Scorer(targets, y_pred, ["pearson"]).plain()["pearson"] == pytest.approx(expected, rel=1e-9)


def test_a_constant_has_no_correlation_and_concordance_0() -> None:
    targets, y_pred = of_numbers()
    flat = np.full_like(y_pred, 0.3)
    assert math.isnan(Scorer(targets, flat).plain()["pearson"])
    assert Scorer(targets, flat).plain()["ccc"] == 0
    assert math.isnan(Scorer(NumberTargets(("x", "z"), flat), y_pred).plain()["r2"])
    draws = np.random.default_rng(0).multinomial(60, [1 / 60] * 60, 50).T.astype(float)
    assert np.isnan(Scorer(targets, flat).at(draws)["pearson"]).all()


def test_rows_with_one_value_have_no_spread_for_any_weights() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0, 1, (60, 1))
    y[:20] = 0.3
    weights = np.where(np.arange(60)[:, None] < 20, rng.random((60, 50)), 0)
    scores = Scorer(NumberTargets(("x",), y), rng.normal(0, 1, (60, 1))).at(weights)
    assert np.isnan(scores["r2"]).all()
    assert np.isnan(scores["pearson"]).all()


def test_mape_needs_true_values_other_than_0() -> None:
    assert "mape" not in Scorer(NumberTargets(("x",), np.array([[0.0], [1.0]])), np.ones((2, 1))).names


def test_quadratic_kappa_counts_classes_that_do_not_occur() -> None:
    y, y_pred = np.array([0, 0, 1, 3, 3, 3]), np.array([0, 1, 1, 3, 3, 0])
    targets = ClassTargets(tuple("abcd"), y, ordered=True)
    kappa = Scorer(targets, np.eye(4)[y_pred]).plain()["quadratic_kappa"]
    assert kappa == pytest.approx(sk.cohen_kappa_score(y, y_pred, labels=range(4), weights="quadratic"))
    assert kappa != pytest.approx(sk.cohen_kappa_score(y, y_pred, weights="quadratic"))


def test_with_a_single_class_areas_are_nan_and_agreement_is_0() -> None:
    targets, proba = of_classes(k=3)
    scores = Scorer(targets, proba).plain((targets.y == 0).astype(float))
    assert math.isnan(scores["auc_ovr"])
    assert scores["balanced_accuracy"] == pytest.approx(scores["accuracy"])
    assert scores["mcc"] == 0


def test_many_classes_need_no_dense_table_of_pairs() -> None:
    targets, proba = of_classes(n=2000, k=1000, seed=1)
    scorer = Scorer(targets, proba, ["macro_f1", "kappa"])
    y_pred = proba.argmax(1)
    assert scorer.plain()["macro_f1"] == pytest.approx(
        sk.f1_score(targets.y, y_pred, labels=range(1000), average="macro", zero_division=0)
    )
    assert scorer._columns.nnz <= 3 * len(targets)


def test_each_kind_of_target_has_its_scores() -> None:
    assert {kind: len(scores) for kind, scores in SCORES.items()} == {"classes": 17, "labels": 9, "numbers": 7}


@pytest.mark.parametrize("case", [case for case, _ in CASES], ids=lambda case: case[0].kind)
def test_scores_are_within_limits_and_best_for_the_truth(case: tuple[TargetValues, Floats]) -> None:
    targets, outputs = case
    best_outputs, worst_outputs = targets.extreme_outputs(outputs)
    at_best, at_worst, plain_scores = (Scorer(targets, rows).plain() for rows in (best_outputs, worst_outputs, outputs))
    for name, value in plain_scores.items():
        score, (low, high) = find_score(name), available_scores(targets)[name].limits
        for score_value in (at_best[name], value, at_worst[name]):
            assert math.isnan(score_value) or low - 1e-12 <= score_value <= high + 1e-12, name
        assert score.signed(at_best[name]) >= score.signed(value), name
        # Numbers far from 0 have the right sign in any case.
        assert at_best[name] == value or (at_best[name] > value) == score.greater_is_better, name


def test_names_of_scores_are_those_of_the_tables() -> None:
    for scores in SCORES.values():
        assert all(score.name == name for name, score in scores.items())
    assert find_score("mae.weight in kg. or so").name == "mae"
