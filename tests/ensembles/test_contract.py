"""What holds for every way to vote that is registered, over every kind of target that it can answer."""

from collections.abc import Sequence

import numpy as np
import pytest

from featx.ensembles.combiners import MemberOutputs, VotingMethod
from featx.ensembles.cross_fitting import CrossFitting, cross_fitted
from featx.errors import AlignmentError, UnsuitedError
from featx.metrics.scores import score
from featx.registry import VOTES
from featx.specs.ensembling import EnsembleSpec
from featx.tables.predictions import Answered, Predictions
from featx.tables.truth import Known, Truth
from tests.ballots import CLASSES, KINDS, members_of, values_of

SPECS = {"": EnsembleSpec(), "ridge": EnsembleSpec(stacker="ridge"), "xgboost": EnsembleSpec(stacker="xgboost")}
CASES = [
    pytest.param(name, kind, spec, id=f"{name}-{kind}-{stacker}")
    for name in VOTES.names()
    for kind in VOTES.get(name).kinds
    for stacker, spec in SPECS.items()
    if name == "stacking" or not stacker
]
every_vote = pytest.mark.parametrize(("name", "kind", "spec"), CASES)


def voted(name: str, members: Sequence[Answered], known: Known, spec: EnsembleSpec) -> Answered:
    """Return what a vote learns from rows and says of the same rows."""
    return CrossFitting.of(members, known, spec).learnt(VOTES.get(name)).combine(members, known.names)


def same(one: Answered, other: Answered, atol: float = 1e-12) -> None:
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_allclose(values_of(one), values_of(other), rtol=0, atol=atol)


def test_every_kind_of_target_has_votes_and_all_that_are_named_are_there() -> None:
    assert {param.values[0] for param in CASES} == {
        *("majority", "soft", "weighted", "confidence", "convex", "greedy", "stacking", "mean", "median")
    }
    assert {param.values[1] for param in CASES} == set(KINDS)


@every_vote
def test_a_vote_answers_as_its_members_do(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind)
    result = voted(name, members, known, spec)
    assert type(result) is type(members[0])
    assert values_of(result).shape == values_of(members[0]).shape
    if kind == "classes":
        np.testing.assert_allclose(values_of(result).sum(axis=1), 1, atol=1e-9)
    if kind != "numbers":
        assert ((values_of(result) >= 0) & (values_of(result) <= 1)).all()


@every_vote
def test_the_order_of_any_members_rows_and_columns_changes_nothing(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind)
    rng = np.random.default_rng(1)
    moved = [_turned(member.take(rng.permutation(member.ids)), rng) for member in members]
    shuffled = known.take(rng.permutation(known.ids))
    same(voted(name, moved, shuffled, spec).take(known.ids), voted(name, members, known, spec), atol=0)
    vote: VotingMethod = VOTES.get(name)
    scored = cross_fitted(vote, moved, shuffled, spec)
    same(scored.take(known.ids), cross_fitted(vote, members, known, spec), atol=0)
    assert scored.ids.tolist() == moved[0].ids.tolist()


def _turned(member: Answered, rng: np.random.Generator) -> Answered:
    """Return the same table with its columns in another order."""
    if isinstance(member, Predictions):
        return member.ordered(rng.permutation(member.classes).tolist())
    order = rng.permutation(len(member.names))
    names = tuple(member.names[at] for at in order)
    return type(member)(member.ids, member.values[:, order], names, member.part, member.fold)


@every_vote
def test_what_was_learnt_answers_members_whose_columns_stand_otherwise(
    name: str, kind: str, spec: EnsembleSpec
) -> None:
    members, known = members_of(kind)
    combiner = CrossFitting.of(members, known, spec).learnt(VOTES.get(name))
    ballots, turned = MemberOutputs.of(members), known.names[::-1]
    outputs = combiner.outputs(ballots.ordered(turned))
    np.testing.assert_allclose(outputs[:, ::-1], combiner.outputs(ballots), rtol=0, atol=1e-12)


@every_vote
def test_the_order_of_members_changes_nothing(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind)
    searched = {"convex", "stacking"}  # ends near the same place; trees take the first of equal cuts
    tolerance = 0.05 if spec.stacker == "xgboost" else 1e-3 if name in searched else 1e-12
    same(voted(name, members[::-1], known, spec), voted(name, members, known, spec), tolerance)


@every_vote
def test_what_is_written_is_read_back_and_answers_the_same(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind)
    combiner = CrossFitting.of(members, known, spec).learnt(VOTES.get(name))
    again = VOTES.get(name).read(type(combiner).model_validate_json(combiner.model_dump_json()).model_dump(mode="json"))
    ballots = MemberOutputs.of(members)
    assert again.outputs(ballots).tobytes() == combiner.outputs(ballots).tobytes()


@every_vote
def test_members_that_weigh_nothing_need_not_be_asked(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind)
    combiner = CrossFitting.of(members, known, spec).learnt(VOTES.get(name))
    kept = [member for at, member in enumerate(members) if at not in combiner.idle]
    same(combiner.without_idle().combine(kept), combiner.combine(members))


@every_vote
def test_members_that_agree_are_agreed_with(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind, n=300)
    result = voted(name, [members[-1]] * 3, known, spec)
    if name != "stacking":
        said = values_of(members[-1])
        expected = said if name != "majority" else np.round(said) if kind == "labels" else np.eye(3)[said.argmax(1)]
        np.testing.assert_allclose(values_of(result), expected, atol=1e-3)
    metric = "mae" if kind == "numbers" else "accuracy"
    assert score(metric, known, result) >= score(metric, known, members[-1]) - 0.05


@every_vote
def test_a_missing_id_and_other_columns_are_named(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind)
    fewer = [members[0], members[1].take(members[1].ids[:-1])]
    with pytest.raises(AlignmentError, match="1 of 120 ids are not in the predictions, first 'i00119'"):
        voted(name, fewer, known, spec)
    other = _renamed(members[1])
    with pytest.raises(AlignmentError, match=f"expected the (classes|columns) .*{CLASSES[kind][0]}.* found .*'fox'"):
        voted(name, [members[0], other], known, spec)


def _renamed(member: Answered) -> Answered:
    if isinstance(member, Predictions):
        return Predictions.of_part("val", member.ids, member.proba, ("fox", *member.classes[1:]))
    return type(member)(member.ids, member.values, ("fox", *member.names[1:]), member.part, member.fold)


@every_vote
def test_a_rows_own_truth_does_not_change_its_vote(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, known = members_of(kind, n=40, skills=(0.9, 1, 1.1))
    vote: VotingMethod = VOTES.get(name)
    alone = np.arange(40) // 2  # folds of groups do not follow the truth
    before = cross_fitted(vote, members, known, spec, alone)
    changed = 0
    for row in (0, 17):
        after = cross_fitted(vote, members, _flipped(known, row), spec, alone)
        same(after.take(known.ids[[row]]), before.take(known.ids[[row]]), atol=0)
        changed += not np.array_equal(values_of(before), values_of(after))
    assert (changed > 0) == vote.learns  # of other rows it does change the votes


def _flipped(known: Known, row: int) -> Known:
    if isinstance(known, Truth):
        codes = known.codes.copy()
        codes[row] = (codes[row] + 1) % 3
        return Truth(known.ids, codes, known.names)
    values = known.values.copy()
    values[row] = 1 - values[row]
    return type(known)(known.ids, values, known.names)


@pytest.mark.parametrize("name", VOTES.names())
def test_one_member_alone_can_be_voted_on_so_that_others_can_be_left_out(name: str) -> None:
    kind = VOTES.get(name).kinds[-1]
    members, known = members_of(kind)
    evidence = CrossFitting.of(members[:2], known, EnsembleSpec())
    vote = VOTES.get(name)
    assert len(evidence.contributions(vote, evidence.cross_fitted(vote))) == 2


def test_logistic_stacking_refuses_numbers() -> None:
    members, known = members_of("numbers")
    with pytest.raises(
        UnsuitedError, match="stacker 'logistic' answers classes and labels, found numbers; say 'ridge'"
    ):
        voted("stacking", members, known, EnsembleSpec(stacker="logistic"))
