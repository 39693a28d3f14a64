"""Comparison of runs with the best one, and recommendation of a run.

Modules: evaluation.cost, evaluation.equivalence, evaluation.evaluation_table, evaluation.recommendation.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.errors import AlignmentError
from featx.evaluation.comparison import BOOTSTRAP, MCNEMAR, Comparison, compare, drawable_scores
from featx.evaluation.cost import Cost, find_cheapest
from featx.evaluation.evaluation_table import Evaluation
from featx.evaluation.paired_tests import mcnemar_midp
from featx.evaluation.recommendation import choose_run, describe_evidence, recommend
from featx.metrics.definitions import available_scores
from featx.specs.head import Metric
from featx.tables.predictions import AnyPredictions, Estimates, Predictions
from featx.tables.target_values import ClassTargets
from featx.tables.truth import Numbers, Truth
from tests.evaluation.simulations import selection

CLASSES = ("a", "b", "c")


def make_truth(n: int = 200, weights: np.ndarray | None = None) -> Truth:
    rng = np.random.default_rng(0)
    ids = np.array([f"i{i}" for i in range(n)], dtype=object)
    return Truth(ids, rng.integers(0, 3, n), CLASSES, weights)


def make_run(truth: Truth, share: float, seed: int) -> Predictions:
    """Return predictions of which about a share is correct."""
    rng = np.random.default_rng(seed)
    predicted_codes = np.where(rng.random(len(truth.ids)) < share, truth.codes, (truth.codes + 1) % 3)
    return Predictions.of_part("val", truth.ids, 0.1 + np.eye(3)[predicted_codes], CLASSES)


def make_runs(truth: Truth) -> dict[str, AnyPredictions]:
    return {"best": make_run(truth, 0.9, 1), "near": make_run(truth, 0.88, 2), "far": make_run(truth, 0.6, 3)}


UNKNOWN_COST = Cost(None, None, None)


def recommendation_text(comparison: Comparison, n: int = 200) -> str:
    return recommend(comparison, dict.fromkeys(comparison.runs, UNKNOWN_COST), set(), f"{n} val rows").text


def test_a_perfect_weighted_score_has_an_interval_of_unseen_rows() -> None:
    truth = make_truth(weights=np.linspace(0.2, 1, 200))
    run = compare(truth, {"perfect": make_run(truth, 1.1, 1), "near": make_run(truth, 0.9, 2)}, "accuracy").runs
    low, high = run["perfect"].intervals["confidence_accuracy"]
    assert high == pytest.approx(1)
    assert low == pytest.approx(run["perfect"].intervals["accuracy"][0])
    assert run["near"].intervals["confidence_accuracy"][0] < run["near"].intervals["confidence_accuracy"][1] < 1


def test_a_run_is_worse_or_not_shown_to_differ_by_its_own_p() -> None:
    truth = make_truth()
    tables = make_runs(truth)
    comparison = compare(truth, tables, "accuracy")
    assert (comparison.reference, comparison.test, comparison.margin) == ("best", MCNEMAR, 0.02)
    assert [comparison.relation(name) for name in tables] == ["reference", "not shown to differ", "worse"]
    is_right = {name: table.codes == truth.codes for name, table in tables.items() if isinstance(table, Predictions)}
    far_run = comparison.runs["far"]
    expected = mcnemar_midp((is_right["far"] & ~is_right["best"]).sum(), (is_right["best"] & ~is_right["far"]).sum())
    assert far_run.p == pytest.approx(float(expected))
    assert far_run.p_holm == pytest.approx(2 * far_run.p)
    assert far_run.difference == pytest.approx(is_right["far"].mean() - is_right["best"].mean())
    assert far_run.difference_interval[0] < far_run.difference < far_run.difference_interval[1] < 0
    assert math.isnan(comparison.runs["best"].p)
    assert (
        "not shown to differ from it, which is no evidence of equivalence: near"
        in recommendation_text(comparison).lower()
    )
    assert "Recommended: best, the run with the best score" in recommendation_text(comparison)


def test_the_order_of_rows_and_of_classes_changes_nothing() -> None:
    truth = make_truth()
    tables = make_runs(truth)
    shuffled_tables = {
        name: table.take(np.random.default_rng(4).permutation(truth.ids)) for name, table in tables.items()
    }
    shuffled_tables["best"] = tables["best"]
    near_run = shuffled_tables["near"]
    assert isinstance(near_run, Predictions)
    shuffled_tables["near"] = near_run.ordered(("c", "a", "b"))
    assert asdict(compare(truth, tables, "macro_f1")) == asdict(compare(truth, shuffled_tables, "macro_f1"))


def test_a_missing_row_is_named() -> None:
    truth = make_truth()
    tables = make_runs(truth) | {"short": make_run(truth, 0.9, 5).take(truth.ids[1:])}
    with pytest.raises(AlignmentError, match="1 of 200 ids are not in the predictions, first 'i0'"):
        compare(truth, tables, "accuracy")


def test_other_scores_and_groups_use_the_bootstrap() -> None:
    truth = make_truth()
    assert compare(truth, make_runs(truth), "macro_f1").test == BOOTSTRAP
    groups = np.repeat(np.arange(50), 4)
    comparison = compare(truth, make_runs(truth), "accuracy", groups)
    assert (comparison.test, comparison.n_units, comparison.by_group) == (BOOTSTRAP, 50, True)
    assert comparison.relation("far") == "worse"


def test_weights_of_rows_count_in_the_difference() -> None:
    truth = make_truth(weights=np.where(np.arange(200) < 100, 1.0, 0.0))
    comparison = compare(truth, make_runs(truth), "accuracy")
    half = truth.take(truth.ids[:100])
    share = [
        (table.take(half.ids).codes == half.codes).mean()
        for table in (make_run(truth, 0.9, 1), make_run(truth, 0.6, 3))
    ]
    assert comparison.test == BOOTSTRAP
    assert comparison.runs["far"].difference == pytest.approx(share[1] - share[0])
    low, high = comparison.runs["best"].intervals["confidence_accuracy"]
    assert low < share[0] < high
    assert high - low > np.subtract(*comparison.runs["best"].intervals["accuracy"][::-1])  # of half the rows


def test_the_interval_of_a_weighted_selection_score_contains_it() -> None:
    truth = make_truth(weights=np.where(np.arange(200) < 100, 1.0, 0.1))
    comparison = compare(truth, make_runs(truth), "balanced_accuracy")
    for run in comparison.runs.values():
        low, high = run.intervals["confidence_balanced_accuracy"]
        assert low < run.score < high


def test_a_chosen_run_below_others_is_not_called_the_best() -> None:
    truth = make_truth()
    text = recommendation_text(compare(truth, dict(reversed(make_runs(truth).items())), "accuracy"))
    assert "Recommended: far, the chosen run;" in text
    assert "significantly better than all" not in text


def test_numbers_are_compared_by_their_error_and_less_is_better() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"i{i}" for i in range(100)], dtype=object)
    y = rng.normal(0, 1, (100, 1))
    truth = Numbers(ids, y, ("age",))
    tables: dict[str, AnyPredictions] = {
        name: Estimates.of_part("val", ids, y + rng.normal(0, spread, (100, 1)), ("age",))
        for name, spread in (("near", 0.5), ("far", 2.0))
    }
    comparison = compare(truth, tables, "mae")
    assert comparison.runs["far"].difference > 0
    assert comparison.relation("far") == "worse"
    assert comparison.margin == pytest.approx(0.05 * np.abs(tables["near"].values - y).mean())  # type: ignore[union-attr]
    reversed_comparison = compare(truth, dict(reversed(tables.items())), "mae")
    assert reversed_comparison.relation("near") == "better"


def test_runs_are_not_compared_on_few_rows() -> None:
    truth = make_truth(12)
    comparison = compare(truth, make_runs(truth) | {"far": make_run(truth, 0.0, 3)}, "accuracy")
    assert comparison.runs["far"].p_holm < 0.05
    assert comparison.related("too few rows") == ["near", "far"]
    text = "12 val rows are too few to compare runs (expected 30 or more); best "
    # The reference may be worse than an excluded run.
    assert [name for name in ("near", "far") if comparison.is_better(name)] == ["near"]
    assert recommendation_text(comparison, 12) == f"{text}is the chosen run"
    comparison = compare(truth, {"best": make_run(truth, 0.9, 1), "far": make_run(truth, 0.0, 3)}, "accuracy")
    assert recommendation_text(comparison, 12) == f"{text}has the best score"


def test_the_difference_of_equal_runs_has_an_interval() -> None:
    truth = make_truth()
    comparison = compare(truth, {"one": make_run(truth, 0.9, 1), "two": make_run(truth, 0.9, 1)}, "accuracy")
    low, high = comparison.runs["two"].difference_interval
    assert low == -high < -0.01
    assert comparison.runs["two"].p == 1


def test_intervals_are_finite_if_a_class_has_no_rows() -> None:
    truth = make_truth()
    subset = truth.take(truth.ids[truth.codes < 2])
    comparison = compare(
        subset, {name: table.take(subset.ids) for name, table in make_runs(truth).items()}, "balanced_accuracy"
    )
    assert all(
        math.isfinite(edge)
        for result in comparison.runs.values()
        for pair in result.intervals.values()
        for edge in pair
    )


def test_areas_of_very_many_classes_and_rows_are_not_drawn() -> None:
    targets = ClassTargets(tuple(map(str, range(3000))), np.zeros(1000, dtype=np.int64))
    assert set(available_scores(targets)) - set(drawable_scores(targets)) == {"auc_ovr"}
    assert drawable_scores(targets.take(np.arange(600))) == list(available_scores(targets))
    assert drawable_scores(targets.take(np.arange(600)), 10_000) == drawable_scores(targets)


def test_the_cheapest_run_has_the_highest_measured_rate() -> None:
    costs = {"a": Cost(5, 10, 100), "b": Cost(9, 20, 300), "c": Cost(1, None, 50), "d": Cost(1, None, 40)}
    assert find_cheapest(["a", "b"], costs) == "b"
    assert find_cheapest(["c", "a", "b", "d"], costs) == "b"
    assert find_cheapest(["c", "d"], costs) == "d"
    assert find_cheapest(["a"], {"a": UNKNOWN_COST}) == "a"


def test_rates_within_the_error_of_measurement_are_equal() -> None:
    costs = {"vote": Cost(9, 22, 300, 5), "large": Cost(9, 21, 300), "small": Cost(9, 19, 100), "slow": Cost(1, 12, 9)}
    assert find_cheapest(list(costs), costs) == "small"


def test_of_equal_scores_the_simpler_and_cheaper_run_is_chosen() -> None:
    costs = {
        "a vote": Cost(9, 30, 90, 3),
        "large": Cost(5, 10, 300),
        "small": Cost(5, 10, 100),
        "worse": Cost(0, 99, 1),
    }
    scores = {"a vote": 0.9, "large": 0.9, "small": 0.9 - 1e-16, "worse": 0.89}
    assert choose_run(scores, set(), costs) == "small"
    assert choose_run(scores | {"worse": 0.95}, {"worse"}, costs) == "small"
    assert choose_run(scores, set(scores), costs) == "small"


def test_only_runs_within_the_margin_are_equivalent_and_recommended() -> None:
    truth = make_truth(2000)
    best_run = make_run(truth, 0.9, 1)
    swapped_codes = best_run.codes.copy()
    swapped_codes[:4] = (truth.codes[:4] + 1) % 3
    near_run = Predictions.of_part("val", truth.ids, 0.1 + np.eye(3)[swapped_codes], CLASSES)
    comparison = compare(
        truth, {"best": best_run, "near": near_run, "same": best_run, "other": make_run(truth, 0.9, 7)}, "accuracy"
    )
    assert comparison.related("equivalent") == ["near", "same"]
    for name in ("near", "same"):
        low, high = comparison.runs[name].difference_interval
        assert -comparison.margin <= low <= high <= comparison.margin
        assert low < high
    costs = dict.fromkeys(comparison.runs, Cost(1, 10, 10)) | {"same": Cost(1, 50, 10), "other": Cost(1, 99, 10)}
    assert recommend(comparison, costs, set(), "2000 val rows").run == "same"
    advice = recommend(comparison, costs, {"same"}, "2000 val rows")
    assert (advice.run, advice.equivalent) == ("best", ["near"])
    pair_comparison = compare(truth, {"best": best_run, "same": best_run}, "accuracy")
    assert recommend(pair_comparison, costs, set(), "2000 val rows").run == "same"
    strict_comparison = compare(truth, {"best": best_run, "same": best_run}, "accuracy", margin=1e-4)
    assert strict_comparison.related("equivalent") == []


def test_a_few_rows_are_no_evidence_of_equivalence() -> None:
    truth = make_truth(60)
    comparison = compare(truth, {"one": make_run(truth, 1.0, 1), "two": make_run(truth, 1.0, 2)}, "accuracy")
    assert (comparison.runs["two"].difference, comparison.relation("two")) == (0, "not shown to differ")


def test_adding_runs_changes_no_relation() -> None:
    truth = make_truth(400)
    tables: dict[str, AnyPredictions] = {"best": make_run(truth, 0.9, 1), "worse": make_run(truth, 0.845, 2)}
    small_comparison = compare(truth, tables, "accuracy")
    with_more = compare(
        truth, tables | {f"more{seed}": make_run(truth, 0.5, seed) for seed in range(3, 30)}, "accuracy"
    )
    assert small_comparison.relation("worse") == with_more.relation("worse") == "worse"
    assert with_more.runs["worse"].p_holm >= small_comparison.runs["worse"].p_holm


def test_evidence_of_test_rows_against_the_choice_is_described() -> None:
    truth = make_truth(500)
    val = compare(
        truth,
        {"vote": make_run(truth, 0.9, 1), "svm": make_run(truth, 0.9, 2), "rf": make_run(truth, 0.9, 3)},
        "accuracy",
    )
    test = compare(
        truth,
        {"vote": make_run(truth, 0.8, 4), "svm": make_run(truth, 0.9, 5), "rf": make_run(truth, 0.8, 6)},
        "accuracy",
    )
    text = describe_evidence(test, val, "vote", "500 test rows")
    lost = test.runs["svm"].difference
    assert text.startswith(f"on 500 test rows, svm is better than the chosen run vote by {lost:.4f} (p = ")
    assert f"on the selection rows it was {val.relation('svm')}" in text
    assert "after Holm's correction for 2 comparisons" in text
    assert "rf" not in text
    equal_comparison = compare(truth, {"vote": make_run(truth, 0.9, 1), "rf": make_run(truth, 0.9, 3)}, "accuracy")
    assert "no run is shown to be better" in describe_evidence(
        equal_comparison, equal_comparison, "vote", "500 test rows"
    )
    worse_comparison = compare(truth, {"vote": make_run(truth, 0.9, 1), "rf": make_run(truth, 0.8, 3)}, "accuracy")
    assert "the recommended run rf is worse than the chosen run vote" in describe_evidence(
        worse_comparison, equal_comparison, "rf", "500 test rows"
    )


@pytest.mark.parametrize("n_runs", [3, 10])
def test_a_recommended_run_is_within_the_stated_limit_of_the_best(n_runs: int) -> None:
    studies = selection(5, n_runs, n=400)  # tests/slow has more of them
    assert studies.exceeded_bounds == 0
    assert (studies.regrets <= 0.02).all()


def test_an_evaluation_has_relations_and_costs_and_is_read_back(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.ensemble(methods=["majority"])
    (evaluation,) = featx.evaluate()
    assert (evaluation.score, evaluation.test) == ("accuracy", MCNEMAR)
    assert "too few to compare" in evaluation.recommendation
    assert (evaluation.equivalent, evaluation.recommended, evaluation.test_evidence) == ([], evaluation.chosen, "")
    assert {row.relation for row in evaluation.rows} == {"reference", "too few rows"}
    by_kind = {row.run.split("-")[0]: row for row in evaluation.rows}
    for row in evaluation.rows:
        assert row.run == evaluation.chosen or row.p_holm == 1
        assert set(row.intervals) == set(evaluation.scores)
        low, high = row.intervals["accuracy"]
        assert (low, high) == (row.accuracy_low, row.accuracy_high)
        assert row.images_per_s is None or row.images_per_s > 0
    parts = by_kind["logreg"], by_kind["rf"]
    for name in ("fit_s", "n_bytes"):
        assert getattr(by_kind["majority"], name) >= sum(getattr(row, name) for row in parts)
    assert Evaluation.from_dict(json.loads(json.dumps(asdict(evaluation)))) == evaluation


def test_the_cost_of_an_ensemble_is_the_sum_over_its_heads(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    (inner,) = featx.ensemble(methods=["soft"])
    featx.ensemble(methods=["majority"], members=[inner.run, "rf"])
    (evaluation,) = featx.evaluate()
    by_kind = {row.run.split("-")[0]: row for row in evaluation.rows}
    assert by_kind["majority"].fit_s == pytest.approx(by_kind["logreg"].fit_s + by_kind["rf"].fit_s)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_few_differing_rows_are_no_evidence(metric: Metric, grouped: bool) -> None:
    truth = make_truth(400)
    groups = np.arange(400) // 2 if grouped else None
    best = make_run(truth, 0.9, 1)
    right_rows = np.flatnonzero(best.codes == truth.codes)[::5]
    for n_differing in (1, 4, 12):
        outputs = best.values.copy()
        outputs[right_rows[:n_differing]] = np.roll(outputs[right_rows[:n_differing]], 1, axis=1)
        other = Predictions.of_part("val", truth.ids, outputs, CLASSES)
        comparison = compare(truth, {"best": best, "other": other}, metric, groups, margin=1e-6)
        run, is_evidence = comparison.runs["other"], n_differing == 12
        assert run.difference < 0
        assert (run.p < 0.05) == is_evidence
        assert (run.difference_interval[1] < 0) == is_evidence
        assert comparison.relation("other") == ("worse" if is_evidence else "not shown to differ")


def test_rows_of_weight_zero_are_no_evidence_of_a_difference() -> None:
    weights = np.r_[1.0, np.zeros(9), np.ones(30)]
    truth = make_truth(40, weights)
    good = np.eye(3)[truth.codes] * 0.8 + 0.1
    bad = np.r_[np.roll(good[:10], 1, axis=1), good[10:]]
    tables = {
        name: Predictions.of_part("val", truth.ids, proba, CLASSES) for name, proba in {"a": good, "b": bad}.items()
    }
    weighted_ids = truth.ids[weights > 0]
    comparison = compare(truth, tables, "accuracy")
    expected = compare(
        truth.take(weighted_ids), {name: table.take(weighted_ids) for name, table in tables.items()}, "accuracy"
    )
    assert (comparison.n_units, comparison.runs["b"].p) == (expected.n_units, expected.runs["b"].p) == (31, 1.0)
    assert comparison.runs["b"].difference_interval == expected.runs["b"].difference_interval


def test_a_run_with_an_undefined_score_changes_no_bound_of_others() -> None:
    rng = np.random.default_rng(0)
    ids, y = np.array([f"i{i}" for i in range(300)], dtype=object), rng.normal(size=(300, 1))
    truth, base = Numbers(ids, y, ("v",)), y + rng.normal(0, 0.5, (300, 1))
    values = {"best": base, "cheap": base + rng.normal(0, 0.13, (300, 1)), "other": y + rng.normal(0, 0.5, (300, 1))}
    tables = {name: Estimates.of_part("val", ids, numbers, ("v",)) for name, numbers in values.items()}
    constant = Estimates.of_part("val", ids, np.zeros((300, 1)), ("v",))
    expected = compare(truth, tables, "pearson", margin=0.02)
    comparison = compare(truth, {**tables, "constant": constant}, "pearson", margin=0.02)
    for name in tables:
        assert comparison.runs[name].max_gap_to_best == expected.runs[name].max_gap_to_best < math.inf
    assert comparison.runs["constant"].max_gap_to_best == math.inf
    assert not comparison.can_replace_reference("constant")


@pytest.mark.parametrize("n_val", [3, 6, 12])
def test_the_interval_of_a_difference_lies_within_possible_differences(n_val: int) -> None:
    truth = make_truth(n_val)
    runs = {"best": make_run(truth, 1.1, 1), "other": make_run(truth, 0.85, 3), "worst": make_run(truth, -0.1, 2)}
    for name, run in list(compare(truth, runs, "accuracy").runs.items())[1:]:
        low, high = run.difference_interval
        assert -1 <= low <= run.difference <= high <= 1, name
