"""Runs beside the best of them."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.errors import AlignmentError
from featx.evaluation.comparison import BOOTSTRAP, MCNEMAR, Comparison, cheapest, compare, drawable, statement
from featx.evaluation.cost import Cost
from featx.evaluation.evaluate import Evaluation
from featx.evaluation.paired import mcnemar_midp
from featx.facts import Facts
from featx.scoring import scores_of
from featx.tables import Answered, Estimates, Numbers, Predictions, Truth

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


def said(found: Comparison) -> str:
    return statement(found, dict.fromkeys(found.runs, FREE), "200 val rows")


def test_runs_that_chance_may_set_apart_are_tied_and_others_are_not() -> None:
    known = truth()
    tables = runs(known)
    found = compare(known, tables, "accuracy")
    assert (found.reference, found.test, found.tied) == ("best", MCNEMAR, ["best", "near"])
    right = {name: table.codes == known.codes for name, table in tables.items() if isinstance(table, Predictions)}
    far = found.runs["far"]
    expected = mcnemar_midp((right["far"] & ~right["best"]).sum(), (right["best"] & ~right["far"]).sum())
    assert far.p == pytest.approx(float(expected))
    assert far.p_holm == pytest.approx(2 * far.p)
    assert far.difference == pytest.approx(right["far"].mean() - right["best"].mean())
    assert far.difference_interval[0] < far.difference < far.difference_interval[1] < 0
    assert math.isnan(found.runs["best"].p)
    assert "best, near are tied for best" in said(found)


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
    assert "far" not in found.tied


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
    assert (found.apart("far"), found.tied) == (-1, ["near"])
    other = compare(known, dict(reversed(tables.items())), "mae")
    assert other.apart("near") == 1
    assert said(other) == "better than far on 200 val rows, beyond chance: near"


def test_a_few_rows_tell_nothing() -> None:
    known = truth(12)
    found = compare(known, runs(known) | {"far": run(known, 0.0, 3)}, "accuracy")
    assert found.runs["far"].p_holm < 0.05
    assert found.tied == ["best", "near", "far"]
    few = statement(found, dict.fromkeys(found.runs, FREE), "12 val rows")
    assert few == "12 val rows are too few to tell any two runs apart (expected 30 or more): all are tied for best"


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
    many = Facts("classes", tuple(map(str, range(3000))), np.zeros(1000, dtype=np.int64))
    assert set(scores_of(many)) - set(drawable(many)) == {"auc_ovr"}
    assert drawable(many.take(np.arange(600))) == list(scores_of(many))


def test_the_cheapest_answers_most_images_or_where_that_is_unknown_takes_the_least_room() -> None:
    costs = {"a": Cost(5, 10, 100), "b": Cost(9, 20, 300), "c": Cost(1, None, 50), "d": Cost(0.5, None, 50)}
    assert cheapest(["a", "b"], costs) == "b"
    assert cheapest(["a", "b", "c", "d"], costs) == "d"
    assert cheapest(["a"], {"a": FREE}) == "a"


def test_the_table_says_what_is_tied_what_it_costs_and_reads_back(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.ensemble(methods=["majority"])
    (found,) = featx.evaluate()
    assert (found.score, found.test) == ("accuracy", MCNEMAR)
    assert "too few to tell" in found.verdict
    assert found.tied == [row.run for row in found.rows]
    assert found.cheapest in found.tied
    by_kind = {row.run.split("-")[0]: row for row in found.rows}
    for row in found.rows:
        assert row.run == found.chosen or row.p_holm == 1
        assert set(row.intervals) == set(found.scores)
        low, high = row.intervals["accuracy"]
        assert (low, high) == (row.accuracy_low, row.accuracy_high)
        assert row.images_per_s is not None
        assert row.images_per_s > 0
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
