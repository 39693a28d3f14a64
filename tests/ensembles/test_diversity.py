"""How members differ, by formulas and by hand; and the paragraph that says what it means."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from featx.ensembles.combiners import MemberOutputs
from featx.ensembles.cross_fitting import CrossFitting
from featx.ensembles.diversity import are_right, diversity, likeness
from featx.ensembles.explanation import Disagreements, paragraph
from featx.registry import VOTES
from featx.specs.ensembling import EnsembleSpec
from featx.tables.target_values import TargetValues
from tests.ballots import KINDS, members_of

sides = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(rows=sides)
def test_likeness_is_that_of_the_four_counts(rows: list[tuple[bool, bool]]) -> None:
    one, other = (np.array(side) for side in zip(*rows, strict=True))
    n = len(rows)
    both, first, second = (rows.count(of) for of in ((True, True), (True, False), (False, True)))
    neither = n - both - first - second
    found = likeness(one, other)
    assert found.disagreement == pytest.approx((first + second) / n)
    assert found.double_fault == pytest.approx(neither / n)
    if both * neither + first * second:
        assert found.q == pytest.approx((both * neither - first * second) / (both * neither + first * second))
    else:
        assert found.q is None
    varied = 0 < one.sum() < n and 0 < other.sum() < n
    assert (found.error_correlation is None) == (not varied)
    if varied:
        assert found.error_correlation == pytest.approx(matthews_corrcoef(one, other))
    wrong = first + second + neither
    assert found.shared_errors == (pytest.approx(neither / wrong) if wrong else None)


def test_clones_share_all_errors_and_opposites_none() -> None:
    one = np.array([True, True, True, False])
    clones, opposites = likeness(one, one), likeness(one, ~one)
    assert (clones.disagreement, clones.q, clones.error_correlation, clones.shared_errors) == (0, 1, 1, 1)
    assert (opposites.disagreement, opposites.q, opposites.double_fault, opposites.shared_errors) == (1, -1, 0, 0)


def test_independent_members_have_a_q_near_0() -> None:
    rng = np.random.default_rng(0)
    found = likeness(*(rng.random((2, 20_000)) < 0.7))
    assert found.q == pytest.approx(0, abs=0.05)
    assert found.error_correlation == pytest.approx(0, abs=0.02)
    assert found.double_fault == pytest.approx(0.09, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_each_pair_is_compared_in_all_and_part_by_part(kind: str) -> None:
    members, known = members_of(kind)
    facts, ballots = TargetValues.of(known), MemberOutputs.of(members)
    found = diversity(["a", "b", "c"], ballots, facts)
    assert [(pair.one, pair.other) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [set(pair.each) for pair in found.pairs] == [set(known.names)] * 3
    shares = [pair.all.disagreement for pair in found.pairs]
    if kind == "numbers":
        assert found.oracle == pytest.approx(np.abs(ballots.outputs - facts.y).min(axis=0).mean())
        assert shares[0] == pytest.approx(np.abs(ballots.outputs[0] - ballots.outputs[1]).mean())
        errors = (ballots.outputs - facts.y)[:, :, 0]
        correlation = found.pairs[0].each[known.names[0]].error_correlation
        assert correlation == pytest.approx(np.corrcoef(errors[0], errors[1])[0, 1])
        return
    right = are_right(facts, ballots.outputs)
    assert found.oracle == pytest.approx(right.any(axis=0).mean())
    sizes = np.bincount(facts.y) if kind == "classes" else np.full(2, len(facts))
    parts = [found.pairs[0].each[name].disagreement for name in known.names]
    assert shares[0] == pytest.approx(np.average(parts, weights=sizes))


def facts_of(codes: Sequence[int]) -> TargetValues:
    return TargetValues("classes", ("no", "yes", "dim"), np.array(codes))


def test_overruling_counts_who_was_right() -> None:
    facts = facts_of([0, 0, 1, 1, 2])
    best, vote = np.eye(3)[[0, 1, 0, 1, 1]], np.eye(3)[[1, 0, 1, 1, 0]]
    found = Disagreements.of("svm", (facts, vote), (facts, best))
    assert (found.n, found.n_overruled, found.n_vote_right, found.n_member_right) == (5, 4, 2, 1)
    assert found.p == 1
    none = Disagreements.of("svm", (facts, best), (facts, best))
    assert (none.n_overruled, none.p) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_of_labels_and_numbers_each_answer_is_counted(kind: str) -> None:
    members, known = members_of(kind, skills=(0.8, 1.6))
    facts, ballots = TargetValues.of(known), MemberOutputs.of(members)
    found = Disagreements.of("strong", *((facts, said) for said in ballots.outputs))
    assert found.n == (120 if kind == "classes" else 240)
    assert found.n_member_right > found.n_vote_right > 0
    assert found.p < 0.05
    assert found.n_vote_right + found.n_member_right <= found.n_overruled <= found.n


def said(kind: str, names: Sequence[str] = ("a", "b", "c"), method: str = "soft") -> str:
    members, known = members_of(kind, skills=(0.5, 1, 2)[: len(names)])
    evidence = CrossFitting.of(members, known, EnsembleSpec())
    vote = evidence.cross_fitted(VOTES.get(method))
    adds = dict(zip(names, evidence.contributions(VOTES.get(method), vote), strict=True))
    overruling = Disagreements.of(names[-1], *((evidence.facts, said) for said in (vote, evidence.ballots.outputs[-1])))
    return paragraph(evidence.facts, "val", overruling, diversity(names, evidence.ballots, evidence.facts), adds)


def test_the_paragraph_says_the_counts() -> None:
    text = said("classes")
    assert "The vote overrules its best member, c, in " in text
    assert "of 120 val images: it is right in " in text
    assert "(sign test p = " in text
    assert "Of the 3 pairs of members " in text
    assert "% of their errors, the least alike " in text
    assert "At least one member is right in " in text
    assert "It would miss c most (-0." in text
    assert "share" in said("labels")
    assert "240 val answers" in said("labels")
    numbers = said("numbers")
    assert "nearer to the truth than its best member, c, in " in numbers
    assert "correlate by " in numbers
    assert "The nearest of all members is off by " in numbers
    assert "Its two members share " in said("classes", ("a", "b"))


def test_a_vote_that_follows_its_best_member_says_so() -> None:
    members, known = members_of("classes", skills=(0.1, 5))
    evidence = CrossFitting.of(members, known, EnsembleSpec())
    best = evidence.ballots.outputs[1]
    found = diversity(["weak", "strong"], evidence.ballots, evidence.facts)
    same = Disagreements.of("strong", (evidence.facts, best), (evidence.facts, best))
    text = paragraph(evidence.facts, "val", same, found, {"weak": 0.0, "strong": 0.5})
    assert text.startswith("The vote says of all 120 val images what its best member says, strong.")
    assert "It would miss strong most (-0.5000 without it)." in text
    useless = paragraph(evidence.facts, "val", same, found, {"weak": -0.1, "strong": 0.0})
    assert "None of them would be missed" in useless


def test_a_members_contribution_is_what_the_vote_loses_without_it() -> None:
    members, known = members_of("classes", skills=(0.2, 0.2, 3))
    spec = EnsembleSpec()
    vote = VOTES.get("greedy")
    evidence = CrossFitting.of(members, known, spec)
    voted = evidence.cross_fitted(vote)
    adds = evidence.contributions(vote, voted)
    without = CrossFitting.of(members[:2], known, spec)
    assert adds[2] == evidence.merit(voted) - without.merit(without.cross_fitted(vote))
    assert adds[2] > 0.3
    assert abs(adds[0]) < 0.05
