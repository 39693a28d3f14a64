"""Runs beside the best of them."""

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
from featx.evaluation.verdicts import choose_run, describe_evidence, recommend
from featx.metrics.definitions import scores_of
from featx.tables.predictions import Answered, Estimates, Predictions
from featx.tables.target_values import TargetValues
from featx.tables.truth import Numbers, Truth
from tests.evaluation.simulations import selection

CLASSES = ("a", "b", "c")


def truth(n: int = 200, weights: np.ndarray | None = None) -> Truth:
    rng = np.random.default_rng(0)
    ids = np.array([f"i{at}" for at in range(n)], dtype=object)
    return Truth(ids, rng.integers(0, 3, n), CLASSES, weights)


def run(known: Truth, share: float, seed: int) -> Predictions:
    """Answer with about that share of right guesses."""
    rng = np.random.default_rng(seed)
    guessed = np.where(rng.random(len(known.ids)) < share, known.codes, (known.codes + 1) % 3)
    return Predictions.of_part("val", known.ids, 0.1 + np.eye(3)[guessed], CLASSES)


def runs(known: Truth) -> dict[str, Answered]:
    return {"best": run(known, 0.9, 1), "near": run(known, 0.88, 2), "far": run(known, 0.6, 3)}


FREE = Cost(None, None, None)


def said(found: Comparison, n: int = 200) -> str:
    return recommend(found, dict.fromkeys(found.runs, FREE), set(), f"{n} val rows").text


def test_a_run_is_worse_or_not_shown_to_differ_by_its_own_p() -> None:
    known = truth()
    tables = runs(known)
    found = compare(known, tables, "accuracy")
    assert (found.reference, found.test, found.margin) == ("best", MCNEMAR, 0.02)
    assert [found.relation(name) for name in tables] == ["reference", "not shown to differ", "worse"]
    right = {name: table.codes == known.codes for name, table in tables.items() if isinstance(table, Predictions)}
    far = found.runs["far"]
    expected = mcnemar_midp((right["far"] & ~right["best"]).sum(), (right["best"] & ~right["far"]).sum())
    assert far.p == pytest.approx(float(expected))
    assert far.p_holm == pytest.approx(2 * far.p)
    assert far.difference == pytest.approx(right["far"].mean() - right["best"].mean())
    assert far.difference_interval[0] < far.difference < far.difference_interval[1] < 0
    assert math.isnan(found.runs["best"].p)
    assert "not shown to differ from it, which is no evidence of equivalence: near" in said(found).lower()
    assert "Recommended: best, the run with the best score" in said(found)


def test_the_order_of_rows_and_of_classes_changes_nothing() -> None:
    known = truth()
    tables = runs(known)
    shuffled = {name: table.take(np.random.default_rng(4).permutation(known.ids)) for name, table in tables.items()}
    shuffled["best"] = tables["best"]
    near = shuffled["near"]
    assert isinstance(near, Predictions)
    shuffled["near"] = near.ordered(("c", "a", "b"))
    assert asdict(compare(known, tables, "macro_f1")) == asdict(compare(known, shuffled, "macro_f1"))


def test_a_missing_row_is_named() -> None:
    known = truth()
    tables = runs(known) | {"short": run(known, 0.9, 5).take(known.ids[1:])}
    with pytest.raises(AlignmentError, match="1 of 200 ids are not in the predictions, first 'i0'"):
        compare(known, tables, "accuracy")


def test_what_is_no_share_of_rows_or_has_groups_is_drawn() -> None:
    known = truth()
    assert compare(known, runs(known), "macro_f1").test == BOOTSTRAP
    groups = np.repeat(np.arange(50), 4)
    found = compare(known, runs(known), "accuracy", groups)
    assert (found.test, found.n_units, found.by_group) == (BOOTSTRAP, 50, True)
    assert found.relation("far") == "worse"


def test_weights_of_rows_count_in_the_difference() -> None:
    known = truth(weights=np.where(np.arange(200) < 100, 1.0, 0.0))
    found = compare(known, runs(known), "accuracy")
    half = known.take(known.ids[:100])
    share = [(table.take(half.ids).codes == half.codes).mean() for table in (run(known, 0.9, 1), run(known, 0.6, 3))]
    assert found.test == BOOTSTRAP
    assert found.runs["far"].difference == pytest.approx(share[1] - share[0])
    low, high = found.runs["best"].intervals["confidence_accuracy"]
    assert low < share[0] < high
    assert high - low > np.subtract(*found.runs["best"].intervals["accuracy"][::-1])  # of half the rows


def test_numbers_are_compared_by_their_error_and_less_is_better() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"i{at}" for at in range(100)], dtype=object)
    y = rng.normal(0, 1, (100, 1))
    known = Numbers(ids, y, ("age",))
    tables: dict[str, Answered] = {
        name: Estimates.of_part("val", ids, y + rng.normal(0, spread, (100, 1)), ("age",))
        for name, spread in (("near", 0.5), ("far", 2.0))
    }
    found = compare(known, tables, "mae")
    assert found.runs["far"].difference > 0
    assert found.relation("far") == "worse"
    assert found.margin == pytest.approx(0.05 * np.abs(tables["near"].values - y).mean())  # type: ignore[union-attr]
    other = compare(known, dict(reversed(tables.items())), "mae")
    assert other.relation("near") == "better"


def test_a_few_rows_tell_nothing() -> None:
    known = truth(12)
    found = compare(known, runs(known) | {"far": run(known, 0.0, 3)}, "accuracy")
    assert found.runs["far"].p_holm < 0.05
    assert found.related("too few rows") == ["near", "far"]
    expected = "12 val rows are too few to compare runs (expected 30 or more); best has the best score"
    assert said(found, 12) == expected


def test_runs_with_the_same_mistakes_are_not_certain_to_be_equal() -> None:
    known = truth()
    found = compare(known, {"one": run(known, 0.9, 1), "two": run(known, 0.9, 1)}, "accuracy")
    low, high = found.runs["two"].difference_interval
    assert low == -high < -0.01
    assert found.runs["two"].p == 1


def test_a_class_that_no_row_has_is_no_hindrance() -> None:
    known = truth()
    some = known.take(known.ids[known.codes < 2])
    found = compare(some, {name: table.take(some.ids) for name, table in runs(known).items()}, "balanced_accuracy")
    assert all(math.isfinite(edge) for one in found.runs.values() for pair in one.intervals.values() for edge in pair)


def test_areas_of_very_many_classes_and_rows_are_not_drawn() -> None:
    many = TargetValues("classes", tuple(map(str, range(3000))), np.zeros(1000, dtype=np.int64))
    assert set(scores_of(many)) - set(drawable_scores(many)) == {"auc_ovr"}
    assert drawable_scores(many.take(np.arange(600))) == list(scores_of(many))


def test_the_cheapest_predicts_most_images_and_an_unmeasured_rate_never_wins() -> None:
    costs = {"a": Cost(5, 10, 100), "b": Cost(9, 20, 300), "c": Cost(1, None, 50), "d": Cost(1, None, 40)}
    assert find_cheapest(["a", "b"], costs) == "b"
    assert find_cheapest(["c", "a", "b", "d"], costs) == "b"
    assert find_cheapest(["c", "d"], costs) == "d"
    assert find_cheapest(["a"], {"a": FREE}) == "a"


def test_rates_that_two_measurements_may_give_are_equal() -> None:
    costs = {"vote": Cost(9, 22, 300, 5), "large": Cost(9, 21, 300), "small": Cost(9, 19, 100), "slow": Cost(1, 12, 9)}
    assert find_cheapest(list(costs), costs) == "small"


def test_of_equal_scores_the_simpler_and_cheaper_run_is_chosen() -> None:
    costs = {
        "a vote": Cost(9, 30, 90, 3),
        "large": Cost(5, 10, 300),
        "small": Cost(5, 10, 100),
        "worse": Cost(0, 99, 1),
    }
    merits = {"a vote": 0.9, "large": 0.9, "small": 0.9 - 1e-16, "worse": 0.89}
    assert choose_run(merits, set(), costs) == "small"
    assert choose_run(merits | {"worse": 0.95}, {"worse"}, costs) == "small"
    assert choose_run(merits, set(merits), costs) == "small"


def test_only_runs_shown_to_be_within_the_margin_are_equivalent_and_recommended() -> None:
    known = truth(2000)
    best = run(known, 0.9, 1)
    swapped = best.codes.copy()
    swapped[:4] = (known.codes[:4] + 1) % 3
    near = Predictions.of_part("val", known.ids, 0.1 + np.eye(3)[swapped], CLASSES)
    found = compare(known, {"best": best, "near": near, "same": best, "other": run(known, 0.9, 7)}, "accuracy")
    assert found.related("equivalent") == ["near", "same"]
    for name in ("near", "same"):
        low, high = found.runs[name].difference_interval
        assert -found.margin <= low <= high <= found.margin
        assert low < high
    costs = dict.fromkeys(found.runs, Cost(1, 10, 10)) | {"same": Cost(1, 50, 10), "other": Cost(1, 99, 10)}
    assert recommend(found, costs, set(), "2000 val rows").run == "same"
    failed = recommend(found, costs, {"same"}, "2000 val rows")
    assert (failed.run, failed.equivalent) == ("best", ["near"])
    alone = compare(known, {"best": best, "same": best}, "accuracy")
    assert recommend(alone, costs, set(), "2000 val rows").run == "same"
    strict = compare(known, {"best": best, "same": best}, "accuracy", margin=1e-4)
    assert strict.related("equivalent") == []


def test_a_few_rows_are_no_evidence_of_equivalence() -> None:
    known = truth(60)
    found = compare(known, {"one": run(known, 1.0, 1), "two": run(known, 1.0, 2)}, "accuracy")
    assert (found.runs["two"].difference, found.relation("two")) == (0, "not shown to differ")


def test_adding_runs_changes_no_relation() -> None:
    known = truth(400)
    tables: dict[str, Answered] = {"best": run(known, 0.9, 1), "worse": run(known, 0.845, 2)}
    alone = compare(known, tables, "accuracy")
    many = compare(known, tables | {f"more{seed}": run(known, 0.5, seed) for seed in range(3, 30)}, "accuracy")
    assert alone.relation("worse") == many.relation("worse") == "worse"
    assert many.runs["worse"].p_holm >= alone.runs["worse"].p_holm


def test_what_the_test_rows_say_against_the_choice_is_named() -> None:
    known = truth(500)
    val = compare(known, {"vote": run(known, 0.9, 1), "svm": run(known, 0.9, 2), "rf": run(known, 0.9, 3)}, "accuracy")
    test = compare(known, {"vote": run(known, 0.8, 4), "svm": run(known, 0.9, 5), "rf": run(known, 0.8, 6)}, "accuracy")
    text = describe_evidence(test, val, "vote", "500 test rows")
    lost = test.runs["svm"].difference
    assert text.startswith(f"on 500 test rows, svm is better than the chosen run vote by {lost:.4f} (p = ")
    assert f"on the selection rows it was {val.relation('svm')}" in text
    assert "after Holm's correction for 2 comparisons" in text
    assert "rf" not in text
    same = compare(known, {"vote": run(known, 0.9, 1), "rf": run(known, 0.9, 3)}, "accuracy")
    assert "no run is shown to be better" in describe_evidence(same, same, "vote", "500 test rows")
    worse = compare(known, {"vote": run(known, 0.9, 1), "rf": run(known, 0.8, 3)}, "accuracy")
    assert "the recommended run rf is worse than the chosen run vote" in describe_evidence(
        worse, same, "rf", "500 test rows"
    )


@pytest.mark.parametrize("n_runs", [3, 10])
def test_a_recommended_run_is_within_the_stated_limit_of_the_best(n_runs: int) -> None:
    found = selection(5, n_runs, n=400)  # tests/slow has more of them
    assert found.exceeded_bounds == 0
    assert (found.regrets <= 0.02).all()


def test_the_table_says_what_is_tied_what_it_costs_and_reads_back(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.ensemble(methods=["majority"])
    (found,) = featx.evaluate()
    assert (found.score, found.test) == ("accuracy", MCNEMAR)
    assert "too few to compare" in found.verdict
    assert (found.equivalent, found.recommended, found.test_evidence) == ([], found.chosen, "")
    assert {row.relation for row in found.rows} == {"reference", "too few rows"}
    by_kind = {row.run.split("-")[0]: row for row in found.rows}
    for row in found.rows:
        assert row.run == found.chosen or row.p_holm == 1
        assert set(row.intervals) == set(found.scores)
        low, high = row.intervals["accuracy"]
        assert (low, high) == (row.accuracy_low, row.accuracy_high)
        assert row.images_per_s is None or row.images_per_s > 0
    parts = by_kind["logreg"], by_kind["rf"]
    for name in ("fit_s", "n_bytes"):
        assert getattr(by_kind["majority"], name) >= sum(getattr(one, name) for one in parts)
    assert Evaluation.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_an_ensemble_of_ensembles_costs_what_the_heads_beneath_it_do(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    (inner,) = featx.ensemble(methods=["soft"])
    featx.ensemble(methods=["majority"], members=[inner.run, "rf"])
    (found,) = featx.evaluate()
    by_kind = {row.run.split("-")[0]: row for row in found.rows}
    assert by_kind["majority"].fit_s == pytest.approx(by_kind["logreg"].fit_s + by_kind["rf"].fit_s)


def test_a_final_table_of_an_older_featx_is_read() -> None:
    row = {"run": "r", "is_ensemble": False, "scores": {"n": 3, "accuracy": 1.0}, "accuracy_low": 0.4}
    row |= {"accuracy_high": 1.0, "per_class": [], "confusion": [[1]], "marks": []}
    old = {
        "target": "t",
        "classes": ["a"],
        "part": "test",
        "rows": [row],
        "chosen": "r",
        "chosen_by": "accuracy on val",
    }
    found = Evaluation.from_dict(old | {"n_looks": 1, "kind": "classes"})
    assert (found.verdict, found.rows[0].p_holm, found.rows[0].intervals) == ("", None, {})
