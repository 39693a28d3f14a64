"""Every score against scikit-learn, plain, weighted and on rows drawn with replacement."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn import metrics as sk

from featx.metrics.definitions import SCORES, Floats, Scorer
from featx.tables.target_values import TargetValues

Weights = Floats | None
THREE = ("a", "b", "c")


def of_classes(n: int = 60, k: int = 3, seed: int = 0, *, ordered: bool = False) -> tuple[TargetValues, Floats]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    proba = rng.dirichlet(np.ones(k), n).round(2) + 0.2 * np.eye(k)[y]  # rounded: some are equal
    return TargetValues("classes", tuple(f"c{i}" for i in range(k)), y, ordered=ordered), proba / proba.sum(
        1, keepdims=True
    )


def of_labels(n: int = 60, seed: int = 0) -> tuple[TargetValues, Floats]:
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 3)) < [0.5, 0.2, 0.7]).astype(np.int64)
    return TargetValues("labels", THREE, y), np.clip((rng.random((n, 3)) + 0.3 * y) / 1.3, 0, 1).round(2)


def of_numbers(n: int = 60, seed: int = 0, away: float = 0.5) -> tuple[TargetValues, Floats]:
    rng = np.random.default_rng(seed)
    y = rng.normal(away, 1, (n, 2))
    return TargetValues("numbers", ("x", "z"), y), y + rng.normal(0.2, 0.7, (n, 2))


def expected_of_classes(facts: TargetValues, proba: Floats, weights: Weights) -> dict[str, float]:
    y, guessed, k = facts.y, proba.argmax(1), facts.n_outputs
    found = {
        "accuracy": sk.accuracy_score(y, guessed, sample_weight=weights),
        "balanced_accuracy": sk.balanced_accuracy_score(y, guessed, sample_weight=weights),
        "kappa": sk.cohen_kappa_score(y, guessed, sample_weight=weights),
        "mcc": sk.matthews_corrcoef(y, guessed, sample_weight=weights),
        "log_loss": sk.log_loss(y, proba, labels=range(k), sample_weight=weights),
        "brier": np.average(((proba - np.eye(k)[y]) ** 2).sum(1), weights=weights),
        "quadratic_kappa": sk.cohen_kappa_score(
            y, guessed, labels=range(k), weights="quadratic", sample_weight=weights
        ),
        "mae_steps": sk.mean_absolute_error(y, guessed, sample_weight=weights),
        "auc_ovr": np.mean([sk.roc_auc_score(y == c, proba[:, c], sample_weight=weights) for c in range(k)]),
    }
    for average in ("macro", "weighted"):
        values = sk.precision_recall_fscore_support(
            y, guessed, labels=range(k), average=average, zero_division=0, sample_weight=weights
        )
        found |= {f"{average}_{name}": v for name, v in zip(("precision", "recall", "f1"), values[:3], strict=True)}
    return found


def expected_of_labels(facts: TargetValues, proba: Floats, weights: Weights) -> dict[str, float]:
    y, said = facts.y, (proba >= 0.5).astype(int)
    columns = list(zip(y.T, proba.T, strict=True))
    return {
        "accuracy": np.average((y == said).mean(1), weights=weights),
        "exact_match": sk.accuracy_score(y, said, sample_weight=weights),
        "macro_f1": sk.f1_score(y, said, average="macro", sample_weight=weights),
        "average_precision": np.mean([sk.average_precision_score(a, b, sample_weight=weights) for a, b in columns]),
        "auc": np.mean([sk.roc_auc_score(a, b, sample_weight=weights) for a, b in columns]),
        "log_loss": np.mean([sk.log_loss(a, np.clip(b, 1e-15, 1 - 1e-15), sample_weight=weights) for a, b in columns]),
        "brier": np.mean([sk.brier_score_loss(a, b, sample_weight=weights) for a, b in columns]),
    }


def expected_of_numbers(facts: TargetValues, found: Floats, weights: Weights) -> dict[str, float]:
    y = facts.y
    both = list(zip(y.T, found.T, strict=True))
    covariances = [np.cov(a, b, aweights=weights, ddof=0) for a, b in both]
    apart = [np.average(a - b, weights=weights) for a, b in both]
    pairs = list(zip(covariances, apart, strict=True))
    return {
        "mae": sk.mean_absolute_error(y, found, sample_weight=weights),
        "rmse": sk.root_mean_squared_error(y, found, sample_weight=weights),
        "r2": sk.r2_score(y, found, sample_weight=weights),
        "pearson": np.mean([c[0, 1] / math.sqrt(c[0, 0] * c[1, 1]) for c in covariances]),
        "ccc": np.mean([2 * c[0, 1] / (c[0, 0] + c[1, 1] + d * d) for c, d in pairs]),
        "sagr": np.mean([np.average((a > 0) == (b > 0), weights=weights) for a, b in both]),
        "mape": sk.mean_absolute_percentage_error(y, found, sample_weight=weights),
        "mae.x": sk.mean_absolute_error(*both[0], sample_weight=weights),
        "mae.z": sk.mean_absolute_error(*both[1], sample_weight=weights),
    }


Expected = Callable[[TargetValues, Floats, Weights], dict[str, float]]
CASES: list[tuple[tuple[TargetValues, Floats], Expected]] = [
    (of_classes(ordered=True), expected_of_classes),
    (of_classes(k=2, ordered=True), expected_of_classes),
    (of_labels(), expected_of_labels),
    (of_numbers(), expected_of_numbers),
    (of_numbers(away=1e4), expected_of_numbers),
]


def expected_errors(facts: TargetValues) -> list[str]:
    """Return the calibration errors that are reported; of two classes the one of the second class is enough."""
    if facts.kind == "numbers":
        return []
    return ["ece"] if facts.kind == "classes" and facts.n_outputs == 2 else ["ece", "classwise_ece"]


@pytest.mark.parametrize(("case", "expected"), CASES)
def test_every_score_is_scikit_learns_plain_and_weighted(case: tuple[TargetValues, Floats], expected: Expected) -> None:
    facts, outputs = case
    weights = np.random.default_rng(1).uniform(0.1, 3, len(facts))
    scorer = Scorer(facts, outputs)
    asked = expected(facts, outputs, None)
    assert set(scorer.names) == {*asked, *expected_errors(facts)}
    for given in (None, weights):
        found = scorer.plain(given)
        for name, value in expected(facts, outputs, given).items():
            assert found[name] == pytest.approx(value, rel=1e-10, abs=1e-12), name


@pytest.mark.parametrize("case", [case for case, _ in CASES], ids=lambda case: case[0].kind)
def test_a_row_that_counts_twice_is_a_row_that_stands_there_twice(case: tuple[TargetValues, Floats]) -> None:
    facts, outputs = case
    drawn = np.random.default_rng(2).integers(0, len(facts), (7, len(facts)))
    counts = np.stack([np.bincount(draw, minlength=len(facts)) for draw in drawn], axis=1).astype(float)
    scorer = Scorer(facts, outputs)
    found = scorer.at(counts)
    for number, draw in enumerate(drawn):
        again = Scorer(facts.take(draw), outputs[draw]).plain()
        for name, value in again.items():
            assert found[name][number] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_pearson_of_far_away_numbers_loses_no_digits() -> None:
    facts, found = of_numbers(away=1e7)
    expected = np.mean([pearsonr(a, b).statistic for a, b in zip(facts.y.T, found.T, strict=True)])
    assert Scorer(facts, found, ["pearson"]).plain()["pearson"] == pytest.approx(expected, rel=1e-9)


def test_a_constant_has_no_correlation_and_no_concordance_beyond_chance() -> None:
    facts, found = of_numbers()
    flat = np.full_like(found, 0.3)
    assert math.isnan(Scorer(facts, flat).plain()["pearson"])
    assert Scorer(facts, flat).plain()["ccc"] == 0
    assert math.isnan(Scorer(TargetValues("numbers", ("x", "z"), flat), found).plain()["r2"])
    draws = np.random.default_rng(0).multinomial(60, [1 / 60] * 60, 50).T.astype(float)
    assert np.isnan(Scorer(facts, flat).at(draws)["pearson"]).all()


def test_rows_with_one_value_have_no_spread_whatever_they_weigh() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0, 1, (60, 1))
    y[:20] = 0.3
    weights = np.where(np.arange(60)[:, None] < 20, rng.random((60, 50)), 0)
    found = Scorer(TargetValues("numbers", ("x",), y), rng.normal(0, 1, (60, 1))).at(weights)
    assert np.isnan(found["r2"]).all()
    assert np.isnan(found["pearson"]).all()


def test_a_share_of_the_truth_needs_a_truth_that_is_not_0() -> None:
    assert "mape" not in Scorer(TargetValues("numbers", ("x",), np.array([[0.0], [1.0]])), np.ones((2, 1))).names


def test_steps_of_classes_that_do_not_occur_count() -> None:
    y, guessed = np.array([0, 0, 1, 3, 3, 3]), np.array([0, 1, 1, 3, 3, 0])
    found = Scorer(TargetValues("classes", tuple("abcd"), y, ordered=True), np.eye(4)[guessed]).plain()[
        "quadratic_kappa"
    ]
    assert found == pytest.approx(sk.cohen_kappa_score(y, guessed, labels=range(4), weights="quadratic"))
    assert found != pytest.approx(sk.cohen_kappa_score(y, guessed, weights="quadratic"))


def test_a_single_class_leaves_areas_out_and_agreement_at_0() -> None:
    facts, proba = of_classes(k=3)
    one = facts.y == 0
    found = Scorer(facts, proba).plain(one.astype(float))
    assert math.isnan(found["auc_ovr"])
    assert found["balanced_accuracy"] == pytest.approx(found["accuracy"])
    assert found["mcc"] == 0


def test_many_classes_take_no_table_of_all_pairs() -> None:
    facts, proba = of_classes(n=2000, k=1000, seed=1)
    scorer = Scorer(facts, proba, ["macro_f1", "kappa"])
    guessed = proba.argmax(1)
    assert scorer.plain()["macro_f1"] == pytest.approx(
        sk.f1_score(facts.y, guessed, labels=range(1000), average="macro", zero_division=0)
    )
    assert scorer._columns.nnz <= 3 * len(facts)


def test_every_score_of_a_kind_has_a_name_once() -> None:
    assert {kind: len(of) for kind, of in SCORES.items()} == {"classes": 17, "labels": 9, "numbers": 7}
