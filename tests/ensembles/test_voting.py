"""Votes: cases with a known answer, and what holds for every vote over every table."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featx.ensembles.voting import TIE_SHARE, Vote, majority_vote, soft_vote
from featx.errors import AlignmentError
from featx.registry import VOTES
from featx.tables import Predictions

CLASSES = ("cat", "dog", "owl")


def table(proba: Sequence[Sequence[float]], classes: Sequence[str] = CLASSES) -> Predictions:
    return Predictions.of_part("val", [f"i{row}" for row in range(len(proba))], np.array(proba), classes)


@st.composite
def ballots(draw: st.DrawFn) -> list[Predictions]:
    """Two to five members over one to four images and three classes."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    share = st.integers(0, 20).map(float)
    rows = st.lists(st.tuples(share, share, share).filter(any), min_size=n, max_size=n)
    return [table(draw(rows)) for _ in range(m)]


def voted(name: str, members: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    vote: Vote = VOTES.get(name)
    return vote.combine(members, weights)


def same(one: Predictions, other: Predictions) -> None:
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_allclose(one.proba, other.ordered(one.classes).proba, rtol=0, atol=1e-12)


few = settings(max_examples=40, deadline=None)
every_vote = pytest.mark.parametrize("name", VOTES.names())


def test_some_votes_are_registered() -> None:
    assert {"majority", "soft", "weighted"} <= set(VOTES.names())
    assert [VOTES.get(name).weighs for name in ("majority", "soft", "weighted")] == [False, False, True]


@every_vote
@few
@given(members=ballots())
def test_a_vote_lies_between_0_and_1_and_sums_to_1(name: str, members: list[Predictions]) -> None:
    result = voted(name, members)

    assert result.proba.shape == members[0].proba.shape
    assert ((result.proba >= 0) & (result.proba <= 1)).all()
    np.testing.assert_allclose(result.proba.sum(axis=1), 1, atol=1e-12)


@every_vote
@few
@given(members=ballots(), data=st.data())
def test_the_order_of_members_rows_and_classes_does_not_matter(
    name: str, members: list[Predictions], data: st.DataObject
) -> None:
    result = voted(name, members)

    first, *rest = members
    moved = [
        member.take(data.draw(st.permutations(list(first.ids)))).ordered(data.draw(st.permutations(CLASSES)))
        for member in rest
    ]
    same(voted(name, [first, *moved]), result)
    turned = data.draw(st.permutations(members))
    same(voted(name, turned).take(result.ids), result)


@every_vote
@few
@given(members=ballots(), data=st.data())
def test_weights_go_with_their_members_and_only_their_ratio_counts(
    name: str, members: list[Predictions], data: st.DataObject
) -> None:
    m = len(members)
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=m, max_size=m))
    order = data.draw(st.permutations(range(m)))

    result = voted(name, members, weights)

    same(voted(name, [members[at] for at in order], [weights[at] for at in order]), result)
    same(voted(name, members, [3 * weight for weight in weights]), result)


@every_vote
@few
@given(members=ballots())
def test_members_that_agree_are_agreed_with(name: str, members: list[Predictions]) -> None:
    result = voted(name, [members[0]] * 3)

    assert result.codes.tolist() == members[0].codes.tolist()


@every_vote
@few
@given(members=ballots(), weight=st.floats(0.1, 10))
def test_equal_weights_are_no_weights(name: str, members: list[Predictions], weight: float) -> None:
    same(voted(name, members, [weight] * len(members)), voted(name, members))


def test_a_soft_vote_is_the_mean() -> None:
    result = soft_vote([table([[0.2, 0.3, 0.5]]), table([[0.6, 0.3, 0.1]])])

    np.testing.assert_allclose(result.proba, [[0.4, 0.3, 0.3]])


def test_a_weighted_vote_is_the_weighted_mean_and_a_weight_of_0_is_no_member() -> None:
    one, other = table([[1, 0, 0]]), table([[0, 0.5, 0.5]])

    np.testing.assert_allclose(soft_vote([one, other], [3, 1]).proba, [[0.75, 0.125, 0.125]])
    same(soft_vote([one, other], [0, 2]), other)


def test_a_majority_counts_labels_and_not_how_sure_they_are() -> None:
    lukewarm, sure = table([[0.4, 0.3, 0.3]]), table([[0, 1, 0]])

    result = majority_vote([lukewarm, lukewarm, sure])

    assert result.codes.tolist() == [0]
    np.testing.assert_allclose(result.proba, [[2 / 3, 1 / 3, 0]], atol=TIE_SHARE / 3)
    assert soft_vote([lukewarm, lukewarm, sure]).codes.tolist() == [1]


def test_a_tie_goes_to_the_class_with_the_larger_mean_probability_among_all_members() -> None:
    cat, dog, owl = table([[0.5, 0.4, 0.1]]), table([[0.1, 0.6, 0.3]]), table([[0.3, 0.3, 0.4]])

    assert majority_vote([cat, dog, owl]).codes.tolist() == [CLASSES.index("dog")]
    assert majority_vote([owl, cat]).codes.tolist() == [CLASSES.index("cat")]


@given(sure=st.floats(0.51, 1), m=st.integers(1, 20))
def test_the_tie_break_never_outweighs_a_vote(sure: float, m: int) -> None:
    barely, other = table([[0.5001, 0.4999, 0]]), table([[0, sure, 1 - sure]])

    assert majority_vote([barely] * (m + 1) + [other] * m).codes.tolist() == [0]


@every_vote
def test_rows_meet_by_id_and_columns_by_class(name: str) -> None:
    one = table([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    other = Predictions.of_part("val", ["i1", "i0"], np.array([[0, 0.9, 0.1], [0, 0.1, 0.9]]), CLASSES[::-1])

    result = voted(name, [one, other])

    assert (result.ids.tolist(), result.classes) == (["i0", "i1"], CLASSES)
    assert result.codes.tolist() == [0, 1]


@every_vote
def test_parts_and_folds_are_those_of_the_first_member(name: str) -> None:
    folds: NDArray[np.int64] = np.array([2, 0])
    first = Predictions.of_part("oof", ["a", "b"], np.eye(3)[:2], CLASSES, folds)

    result = voted(name, [first, first.take(["b", "a"])])

    assert (result.part.tolist(), result.fold.tolist()) == (["oof", "oof"], [2, 0])


@every_vote
def test_a_missing_id_is_named(name: str) -> None:
    with pytest.raises(AlignmentError, match="1 of 2 ids are not in the predictions, first 'i1'"):
        voted(name, [table([[1, 0, 0], [0, 1, 0]]), table([[1, 0, 0]])])


@every_vote
def test_other_classes_are_an_error(name: str) -> None:
    with pytest.raises(AlignmentError, match=r"expected the classes \['cat', 'dog', 'owl'\], found \['cat', 'dog'\]"):
        voted(name, [table([[1, 0, 0]]), table([[1, 0]], CLASSES[:2])])
