"""Votes by a fixed rule: cases with a known answer, and what holds for every table."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featx.ensembles.combiners import Combiner, MemberOutputs
from featx.ensembles.fixed_rules import TIE_SHARE, Confidence, Majority, Mean, Median, certainty
from featx.errors import AlignmentError
from featx.tables.predictions import Estimates, LabelProba, Predictions

CLASSES = ("cat", "dog", "owl")


def table(proba: Sequence[Sequence[float]], classes: Sequence[str] = CLASSES) -> Predictions:
    return Predictions.of_part("val", [f"i{row}" for row in range(len(proba))], np.array(proba), classes)


def labels(values: Sequence[Sequence[float]]) -> LabelProba:
    return LabelProba.of_part("val", [f"i{row}" for row in range(len(values))], np.array(values), ("big", "old"))


@st.composite
def ballots(draw: st.DrawFn) -> list[Predictions]:
    """Two to five members over one to four images and three classes."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    share = st.integers(0, 20).map(float)
    rows = st.lists(st.tuples(share, share, share).filter(any), min_size=n, max_size=n)
    return [table(draw(rows)) for _ in range(m)]


def combiners(m: int) -> list[Combiner]:
    return [Mean(weights=(1,) * m), Majority(weights=(1,) * m), Confidence()]


def voted(combiner: Combiner, members: Sequence[Predictions]) -> Predictions:
    found = combiner.combine(members)
    assert isinstance(found, Predictions)
    return found


def same(one: Predictions, other: Predictions) -> None:
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_allclose(one.proba, other.ordered(one.classes).proba, rtol=0, atol=1e-12)


few = settings(max_examples=40)


@few
@given(members=ballots())
def test_a_vote_lies_between_0_and_1_and_sums_to_1(members: list[Predictions]) -> None:
    for combiner in combiners(len(members)):
        result = voted(combiner, members)
        assert result.proba.shape == members[0].proba.shape
        assert ((result.proba >= 0) & (result.proba <= 1)).all()
        np.testing.assert_allclose(result.proba.sum(axis=1), 1, atol=1e-12)


@few
@given(members=ballots(), data=st.data())
def test_the_order_of_members_rows_and_classes_does_not_matter(members: list[Predictions], data: st.DataObject) -> None:
    first, *rest = members
    moved = [
        member.take(data.draw(st.permutations(list(first.ids)))).ordered(data.draw(st.permutations(CLASSES)))
        for member in rest
    ]
    turned = data.draw(st.permutations(members))
    for combiner in combiners(len(members)):
        result = voted(combiner, members)
        same(voted(combiner, [first, *moved]), result)
        same(voted(combiner, turned).take(result.ids), result)


@pytest.mark.parametrize("kind", [Mean, Majority])
@few
@given(members=ballots(), data=st.data())
def test_weights_go_with_their_members_and_only_their_ratio_counts(
    kind: type[Mean] | type[Majority], members: list[Predictions], data: st.DataObject
) -> None:
    m = len(members)
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=m, max_size=m))
    order = data.draw(st.permutations(range(m)))

    result = voted(kind(weights=tuple(weights)), members)

    same(voted(kind(weights=tuple(weights[at] for at in order)), [members[at] for at in order]), result)
    same(voted(kind(weights=tuple(3 * weight for weight in weights)), members), result)


def test_a_mean_weighs_its_members_and_a_weight_of_0_is_no_member() -> None:
    one, other = table([[1, 0, 0]]), table([[0, 0.5, 0.5]])

    np.testing.assert_allclose(voted(Mean(weights=(1, 1)), [one, other]).proba, [[0.5, 0.25, 0.25]])
    np.testing.assert_allclose(voted(Mean(weights=(3, 1)), [one, other]).proba, [[0.75, 0.125, 0.125]])
    combiner = Mean(weights=(0, 2))
    same(voted(combiner, [one, other]), other)
    assert (combiner.idle, combiner.without_idle()) == ((0,), Mean(weights=(2,)))


def test_a_majority_counts_labels_and_not_how_sure_they_are() -> None:
    lukewarm, sure = table([[0.4, 0.3, 0.3]]), table([[0, 1, 0]])

    result = voted(Majority(weights=(1, 1, 1)), [lukewarm, lukewarm, sure])

    assert result.codes.tolist() == [0]
    np.testing.assert_allclose(result.proba, [[2 / 3, 1 / 3, 0]], atol=TIE_SHARE / 3)
    assert voted(Mean(weights=(1, 1, 1)), [lukewarm, lukewarm, sure]).codes.tolist() == [1]


def test_a_tie_goes_to_the_class_with_the_larger_mean_probability_among_all_members() -> None:
    cat, dog, owl = table([[0.5, 0.4, 0.1]]), table([[0.1, 0.6, 0.3]]), table([[0.3, 0.3, 0.4]])

    assert voted(Majority(weights=(1, 1, 1)), [cat, dog, owl]).codes.tolist() == [CLASSES.index("dog")]
    assert voted(Majority(weights=(1, 1)), [owl, cat]).codes.tolist() == [CLASSES.index("cat")]


def test_a_tie_over_a_label_goes_to_their_mean_and_each_label_is_voted_on_by_itself() -> None:
    result = Majority(weights=(1, 1)).combine([labels([[0.6, 0.9]]), labels([[0.3, 0.2]])])
    assert isinstance(result, LabelProba)
    assert (result.values >= 0.5).tolist() == [[False, True]]
    np.testing.assert_allclose(result.values, [[0.5, 0.5]], atol=TIE_SHARE / 2)


@given(sure=st.floats(0.51, 1), m=st.integers(1, 20))
def test_the_tie_break_never_outweighs_a_vote(sure: float, m: int) -> None:
    barely, other = table([[0.5001, 0.4999, 0]]), table([[0, sure, 1 - sure]])

    combiner = Majority(weights=(1,) * (2 * m + 1))
    assert voted(combiner, [barely] * (m + 1) + [other] * m).codes.tolist() == [0]


def test_a_member_is_as_sure_as_its_entropy_is_low() -> None:
    says = np.array([[[1 / 3, 1 / 3, 1 / 3], [1, 0, 0]], [[0.5, 0.5, 0], [0.6, 0.4, 0]]])
    found = certainty(MemberOutputs("classes", CLASSES, says))
    np.testing.assert_allclose(found[0, :, 0], [0, 1], atol=1e-12)
    np.testing.assert_allclose(found[1, 0, 0], 1 - np.log(2) / np.log(3))
    of_labels = certainty(MemberOutputs("labels", ("big", "old"), np.array([[[0.5, 0.0], [1.0, 0.5]]])))
    np.testing.assert_allclose(of_labels, [[[0, 1], [1, 0]]], atol=1e-12)


def test_members_none_of_which_is_sure_are_averaged() -> None:
    one = table([[1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(voted(Confidence(), [one, one]).proba, one.proba)


def test_rows_meet_by_id_and_columns_by_name() -> None:
    one = table([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    other = Predictions.of_part("val", ["i1", "i0"], np.array([[0, 0.9, 0.1], [0, 0.1, 0.9]]), CLASSES[::-1])
    for combiner in combiners(2):
        result = voted(combiner, [one, other])
        assert (result.ids.tolist(), result.classes) == (["i0", "i1"], CLASSES)
        assert result.codes.tolist() == [0, 1]


def test_parts_and_folds_are_those_of_the_first_member() -> None:
    folds: NDArray[np.int64] = np.array([2, 0])
    first = Predictions.of_part("oof", ["a", "b"], np.eye(3)[:2], CLASSES, folds)
    for combiner in combiners(2):
        result = voted(combiner, [first, first.take(["b", "a"])])
        assert (result.part.tolist(), result.fold.tolist()) == (["oof", "oof"], [2, 0])


def test_members_that_answer_other_kinds_of_targets_do_not_meet() -> None:
    numbers = Estimates.of_part("val", ["i0"], np.array([[1.0]]), ["age"])
    with pytest.raises(AlignmentError, match="members answer classes and numbers; expected one of them"):
        Mean(weights=(1, 1)).combine([table([[1, 0, 0]]), numbers])
    with pytest.raises(AlignmentError, match=r"expected the columns \['age'\], found \['mood'\]"):
        Median().combine([numbers, Estimates.of_part("val", ["i0"], np.array([[1.0]]), ["mood"])])
