"""Diversity of members against formulas and counts by hand, and the paragraph that explains an ensemble.

Modules: ensembles.explanation.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from featx.ensembles.combiners import MemberOutputs
from featx.ensembles.cross_fitting import CrossFitting
from featx.ensembles.diversity import diversity, pair_agreement
from featx.ensembles.explanation import count_disagreements, explain
from featx.registry import ENSEMBLE_METHODS
from featx.specs.ensembling import EnsembleSpec
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets, TargetValues
from tests.ensemble_members import KINDS, members_of

correct_pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(rows=correct_pairs)
def test_agreement_follows_from_four_counts(rows: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(side) for side in zip(*rows, strict=True))
    n = len(rows)
    both_right, only_first, only_second = (rows.count(pair) for pair in ((True, True), (True, False), (False, True)))
    both_wrong = n - both_right - only_first - only_second
    agreement = pair_agreement(first, second)
    assert agreement.disagreement == pytest.approx((only_first + only_second) / n)
    assert agreement.double_fault == pytest.approx(both_wrong / n)
    product, cross_product = both_right * both_wrong, only_first * only_second
    if product + cross_product:
        assert agreement.q == pytest.approx((product - cross_product) / (product + cross_product))
    else:
        assert agreement.q is None
    have_spread = 0 < first.sum() < n and 0 < second.sum() < n
    assert (agreement.error_correlation is None) == (not have_spread)
    if have_spread:
        assert agreement.error_correlation == pytest.approx(matthews_corrcoef(first, second))
    n_wrong = only_first + only_second + both_wrong
    assert agreement.shared_errors == (pytest.approx(both_wrong / n_wrong) if n_wrong else None)


def test_clones_share_all_errors_and_opposites_none() -> None:
    is_right = np.array([True, True, True, False])
    clones, opposites = pair_agreement(is_right, is_right), pair_agreement(is_right, ~is_right)
    assert (clones.disagreement, clones.q, clones.error_correlation, clones.shared_errors) == (0, 1, 1, 1)
    assert (opposites.disagreement, opposites.q, opposites.double_fault, opposites.shared_errors) == (1, -1, 0, 0)


def test_independent_members_have_a_q_near_0() -> None:
    rng = np.random.default_rng(0)
    agreement = pair_agreement(*(rng.random((2, 20_000)) < 0.7))
    assert agreement.q == pytest.approx(0, abs=0.05)
    assert agreement.error_correlation == pytest.approx(0, abs=0.02)
    assert agreement.double_fault == pytest.approx(0.09, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_each_pair_is_compared_overall_and_for_each_part(kind: str) -> None:
    tables, truth = members_of(kind)
    targets, members = TargetValues.of(truth), MemberOutputs.of(tables)
    result = diversity(["a", "b", "c"], members, targets)
    assert [(pair.one, pair.other) for pair in result.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [set(pair.each) for pair in result.pairs] == [set(truth.names)] * 3
    disagreements = [pair.all.disagreement for pair in result.pairs]
    if kind == "numbers":
        assert result.oracle == pytest.approx(np.abs(members.outputs - targets.y).min(axis=0).mean())
        assert disagreements[0] == pytest.approx(np.abs(members.outputs[0] - members.outputs[1]).mean())
        errors = (members.outputs - targets.y)[:, :, 0]
        correlation = result.pairs[0].each[truth.names[0]].error_correlation
        assert correlation == pytest.approx(np.corrcoef(errors[0], errors[1])[0, 1])
        return
    is_right = targets.are_right(members.outputs)
    assert result.oracle == pytest.approx(is_right.any(axis=0).mean())
    sizes = np.bincount(targets.y) if kind == "classes" else np.full(2, len(targets))
    parts = [result.pairs[0].each[name].disagreement for name in truth.names]
    assert disagreements[0] == pytest.approx(np.average(parts, weights=sizes))


def targets_of(codes: Sequence[int]) -> TargetValues:
    return ClassTargets(("no", "yes", "dim"), np.array(codes))


def test_disagreements_count_who_was_right() -> None:
    targets = targets_of([0, 0, 1, 1, 2])
    member, ensemble = np.eye(3)[[0, 1, 0, 1, 1]], np.eye(3)[[1, 0, 1, 1, 0]]
    counts = count_disagreements("svm", (targets, ensemble), (targets, member))
    assert (counts.n, counts.n_different, counts.n_ensemble_right, counts.n_member_right) == (5, 4, 2, 1)
    assert counts.p == 1
    none = count_disagreements("svm", (targets, member), (targets, member))
    assert (none.n_different, none.p) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_each_label_and_number_counts_as_a_prediction(kind: str) -> None:
    tables, truth = members_of(kind, skills=(0.8, 1.6))
    targets, members = TargetValues.of(truth), MemberOutputs.of(tables)
    counts = count_disagreements("strong", *((targets, outputs) for outputs in members.outputs))
    assert counts.n == (120 if kind == "classes" else 240)
    assert counts.n_member_right > counts.n_ensemble_right > 0
    assert counts.p < 0.05
    assert counts.n_units_member > counts.n_units_ensemble
    assert counts.n_units_ensemble + counts.n_units_member <= 120
    assert counts.n_ensemble_right + counts.n_member_right <= counts.n_different <= counts.n


def test_the_sign_test_counts_each_group_once() -> None:
    targets = ClassTargets(("no", "yes"), np.zeros(12, int))
    ensemble, member = np.eye(2)[[0] * 10 + [1] * 2], np.eye(2)[[1] * 10 + [0] * 2]
    groups = np.array([*"aaaaabbbbbcd"], dtype=object)
    counts = count_disagreements("svm", (targets, ensemble), (targets, member), groups)
    assert (counts.n_ensemble_right, counts.n_member_right) == (10, 2)
    assert (counts.n_units_ensemble, counts.n_units_member, counts.p) == (2, 2, 1)
    assert counts.units == "groups"


def test_rows_count_by_their_weights_within_a_group() -> None:
    targets = ClassTargets(("no", "yes"), np.zeros(6, int), np.array([0.1, 0.2, 0.3, 5, 1, 0]))
    ensemble, member = np.eye(2)[[0, 0, 1, 1, 0, 0]], np.eye(2)[[1, 1, 0, 0, 1, 1]]
    groups = np.array([*"aaabbc"], dtype=object)
    # Sums of weights: a .1 + .2 - .3 = 0, b 1 - 5, c 0.
    counts = count_disagreements("svm", (targets, ensemble), (targets, member), groups)
    assert (counts.n_units_ensemble, counts.n_units_member) == (0, 1)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_equal_predictors_are_rarely_significant(kind: str) -> None:
    """Eight labels or numbers of an image depend on each other, so that they must not count as independent."""
    rng, n_significant = np.random.default_rng(0), 0
    for _ in range(200):
        errors = rng.normal(size=(2, 60, 1)) + 0.1 * rng.normal(size=(2, 60, 8))
        truth = np.ones((60, 8), int) if kind == "labels" else np.zeros((60, 8))
        target_kind = LabelTargets if kind == "labels" else NumberTargets
        targets = target_kind(tuple("abcdefgh"), truth)
        outputs = 1 / (1 + np.exp(-errors)) if kind == "labels" else errors
        n_significant += count_disagreements("svm", (targets, outputs[0]), (targets, outputs[1])).p <= 0.05
    assert n_significant / 200 < 0.08


def test_the_paragraph_has_the_counts_of_groups() -> None:
    tables, truth = members_of("labels", skills=(0.5, 1))
    selection = CrossFitting.of(tables, truth, EnsembleSpec())
    targets, members = selection.targets, selection.members
    groups = np.repeat(np.arange(12), 10).astype(object)
    counts = count_disagreements("b", *((targets, outputs) for outputs in members.outputs), groups)
    text = explain(targets, "val", counts, diversity(["a", "b"], members, targets), {"a": 0.0, "b": 0.1})
    assert f"The ensemble is better on {counts.n_units_ensemble} groups, the member on {counts.n_units_member}." in text
    assert "(sign test over groups, p = " in text


def explanation(kind: str, names: Sequence[str] = ("a", "b", "c"), method: str = "soft") -> str:
    tables, truth = members_of(kind, skills=(0.5, 1, 2)[: len(names)])
    selection = CrossFitting.of(tables, truth, EnsembleSpec())
    targets, members = selection.targets, selection.members
    outputs = selection.cross_predict(ENSEMBLE_METHODS.get(method))
    contributions = dict(zip(names, selection.contributions(ENSEMBLE_METHODS.get(method), outputs), strict=True))
    counts = count_disagreements(names[-1], (targets, outputs), (targets, members.outputs[-1]))
    return explain(targets, "val", counts, diversity(names, members, targets), contributions)


def test_the_paragraph_has_the_counts() -> None:
    text = explanation("classes")
    assert "The ensemble and its best member, c, differ on " in text
    assert "of 120 val images: the ensemble is right on " in text
    assert "(sign test over images, p = " in text
    assert "Its most similar members are " in text
    assert "% of their errors. The least similar of the 3 pairs share " in text
    assert "At least one member is right on " in text
    assert "Without c the ensemble's score becomes worse by 0." in text
    assert "share" in explanation("labels")
    assert "240 val predictions" in explanation("labels")
    numbers = explanation("numbers")
    assert "closer to the truth than its best member, c, on " in numbers
    assert "have a correlation of " in numbers
    assert "The closest member to the truth is off by " in numbers
    assert "Its two members share " in explanation("classes", ("a", "b"))


def test_the_paragraph_of_an_ensemble_equal_to_its_best_member() -> None:
    tables, truth = members_of("classes", skills=(0.1, 5))
    selection = CrossFitting.of(tables, truth, EnsembleSpec())
    targets, best_outputs = selection.targets, selection.members.outputs[1]
    measures = diversity(["weak", "strong"], selection.members, targets)
    counts = count_disagreements("strong", (targets, best_outputs), (targets, best_outputs))
    text = explain(targets, "val", counts, measures, {"weak": 0.0, "strong": 0.5})
    assert text.startswith("The ensemble and its best member, strong, predict the same on all 120 val images.")
    assert "Without strong the ensemble's score becomes worse by 0.5000, the most." in text
    useless = explain(targets, "val", counts, measures, {"weak": -0.1, "strong": 0.0})
    assert "No single member is needed" in useless


def test_a_contribution_is_what_the_ensemble_loses_without_the_member() -> None:
    tables, truth = members_of("classes", skills=(0.2, 0.2, 3))
    spec = EnsembleSpec()
    method = ENSEMBLE_METHODS.get("greedy")
    selection = CrossFitting.of(tables, truth, spec)
    outputs = selection.cross_predict(method)
    contributions = selection.contributions(method, outputs)
    smaller_selection = CrossFitting.of(tables[:2], truth, spec)
    assert contributions[2] == selection.signed_score(outputs) - smaller_selection.signed_score(
        smaller_selection.cross_predict(method)
    )
    assert contributions[2] > 0.3
    assert abs(contributions[0]) < 0.05
