"""Voting methods with a fixed rule: cases with a known result, and properties for all tables."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featx.ensembles.combiners import Combiner, MemberOutputs
from featx.ensembles.fixed_rules import TIE_BREAK_WEIGHT, CertaintyWeightedMean, Majority, Mean, Median, certainty
from featx.errors import AlignmentError
from featx.tables.predictions import Estimates, LabelProba, Predictions

CLASSES = ("cat", "dog", "owl")


def table(proba: Sequence[Sequence[float]], classes: Sequence[str] = CLASSES) -> Predictions:
    return Predictions.of_part("val", [f"i{row}" for row in range(len(proba))], np.array(proba), classes)


def labels(values: Sequence[Sequence[float]]) -> LabelProba:
    return LabelProba.of_part("val", [f"i{row}" for row in range(len(values))], np.array(values), ("big", "old"))


@st.composite
def member_tables(draw: st.DrawFn) -> list[Predictions]:
    """Two to five members over one to four images and three classes."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    share = st.integers(0, 20).map(float)
    rows = st.lists(st.tuples(share, share, share).filter(any), min_size=n, max_size=n)
    return [table(draw(rows)) for _ in range(m)]


def combiners(m: int) -> list[Combiner]:
    return [Mean(weights=(1,) * m), Majority(weights=(1,) * m), CertaintyWeightedMean()]


def combine(combiner: Combiner, members: Sequence[Predictions]) -> Predictions:
    predictions = combiner.combine(members)
    assert isinstance(predictions, Predictions)
    return predictions


def assert_equal_tables(first: Predictions, second: Predictions) -> None:
    assert first.ids.tolist() == second.ids.tolist()
    np.testing.assert_allclose(first.proba, second.ordered(first.classes).proba, rtol=0, atol=1e-12)


quick = settings(max_examples=40)


@quick
@given(members=member_tables())
def test_probabilities_are_between_0_and_1_and_sum_to_1(members: list[Predictions]) -> None:
    for combiner in combiners(len(members)):
        result = combine(combiner, members)
        assert result.proba.shape == members[0].proba.shape
        assert ((result.proba >= 0) & (result.proba <= 1)).all()
        np.testing.assert_allclose(result.proba.sum(axis=1), 1, atol=1e-12)


@quick
@given(members=member_tables(), data=st.data())
def test_the_order_of_members_rows_and_classes_does_not_matter(members: list[Predictions], data: st.DataObject) -> None:
    first, *later_members = members
    moved_members = [
        member.take(data.draw(st.permutations(list(first.ids)))).ordered(data.draw(st.permutations(CLASSES)))
        for member in later_members
    ]
    turned = data.draw(st.permutations(members))
    for combiner in combiners(len(members)):
        result = combine(combiner, members)
        assert_equal_tables(combine(combiner, [first, *moved_members]), result)
        assert_equal_tables(combine(combiner, turned).take(result.ids), result)


@pytest.mark.parametrize("kind", [Mean, Majority])
@quick
@given(members=member_tables(), data=st.data())
def test_weights_follow_their_members_and_only_their_ratios_matter(
    kind: type[Mean] | type[Majority], members: list[Predictions], data: st.DataObject
) -> None:
    m = len(members)
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=m, max_size=m))
    order = data.draw(st.permutations(range(m)))

    result = combine(kind(weights=tuple(weights)), members)

    assert_equal_tables(combine(kind(weights=tuple(weights[i] for i in order)), [members[i] for i in order]), result)
    assert_equal_tables(combine(kind(weights=tuple(3 * weight for weight in weights)), members), result)


def test_a_mean_weighs_its_members_and_a_member_of_weight_0_is_unused() -> None:
    first, second = table([[1, 0, 0]]), table([[0, 0.5, 0.5]])

    np.testing.assert_allclose(combine(Mean(weights=(1, 1)), [first, second]).proba, [[0.5, 0.25, 0.25]])
    np.testing.assert_allclose(combine(Mean(weights=(3, 1)), [first, second]).proba, [[0.75, 0.125, 0.125]])
    combiner = Mean(weights=(0, 2))
    assert_equal_tables(combine(combiner, [first, second]), second)
    assert (combiner.unused, combiner.without_unused()) == ((0,), Mean(weights=(2,)))


def test_a_majority_counts_predicted_classes_and_not_probabilities() -> None:
    lukewarm_member, sure_member = table([[0.4, 0.3, 0.3]]), table([[0, 1, 0]])

    result = combine(Majority(weights=(1, 1, 1)), [lukewarm_member, lukewarm_member, sure_member])

    assert result.codes.tolist() == [0]
    np.testing.assert_allclose(result.proba, [[2 / 3, 1 / 3, 0]], atol=TIE_BREAK_WEIGHT / 3)
    assert combine(Mean(weights=(1, 1, 1)), [lukewarm_member, lukewarm_member, sure_member]).codes.tolist() == [1]


def test_a_tie_goes_to_the_class_with_the_larger_mean_probability() -> None:
    cat, dog, owl = table([[0.5, 0.4, 0.1]]), table([[0.1, 0.6, 0.3]]), table([[0.3, 0.3, 0.4]])

    assert combine(Majority(weights=(1, 1, 1)), [cat, dog, owl]).codes.tolist() == [CLASSES.index("dog")]
    assert combine(Majority(weights=(1, 1)), [owl, cat]).codes.tolist() == [CLASSES.index("cat")]


def test_each_label_is_voted_on_by_itself_and_a_tie_goes_to_the_mean() -> None:
    result = Majority(weights=(1, 1)).combine([labels([[0.6, 0.9]]), labels([[0.3, 0.2]])])
    assert isinstance(result, LabelProba)
    assert (result.values >= 0.5).tolist() == [[False, True]]
    np.testing.assert_allclose(result.values, [[0.5, 0.5]], atol=TIE_BREAK_WEIGHT / 2)


@given(max_proba=st.floats(0.51, 1), m=st.integers(1, 20))
def test_the_tie_break_never_outweighs_a_vote(max_proba: float, m: int) -> None:
    unsure_member, certain_member = table([[0.5001, 0.4999, 0]]), table([[0, max_proba, 1 - max_proba]])

    combiner = Majority(weights=(1,) * (2 * m + 1))
    assert combine(combiner, [unsure_member] * (m + 1) + [certain_member] * m).codes.tolist() == [0]


def test_certainty_is_one_minus_relative_entropy() -> None:
    outputs = np.array([[[1 / 3, 1 / 3, 1 / 3], [1, 0, 0]], [[0.5, 0.5, 0], [0.6, 0.4, 0]]])
    values = certainty(MemberOutputs("classes", CLASSES, outputs))
    np.testing.assert_allclose(values[0, :, 0], [0, 1], atol=1e-12)
    np.testing.assert_allclose(values[1, 0, 0], 1 - np.log(2) / np.log(3))
    of_labels = certainty(MemberOutputs("labels", ("big", "old"), np.array([[[0.5, 0.0], [1.0, 0.5]]])))
    np.testing.assert_allclose(of_labels, [[[0, 1], [1, 0]]], atol=1e-12)


def test_members_without_certainty_are_averaged() -> None:
    uncertain = table([[1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(combine(CertaintyWeightedMean(), [uncertain, uncertain]).proba, uncertain.proba)


def test_rows_are_matched_by_id_and_columns_by_name() -> None:
    first = table([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    second = Predictions.of_part("val", ["i1", "i0"], np.array([[0, 0.9, 0.1], [0, 0.1, 0.9]]), CLASSES[::-1])
    for combiner in combiners(2):
        result = combine(combiner, [first, second])
        assert (result.ids.tolist(), result.classes) == (["i0", "i1"], CLASSES)
        assert result.codes.tolist() == [0, 1]


def test_parts_and_folds_are_those_of_the_first_member() -> None:
    folds: NDArray[np.int64] = np.array([2, 0])
    first = Predictions.of_part("oof", ["a", "b"], np.eye(3)[:2], CLASSES, folds)
    for combiner in combiners(2):
        result = combine(combiner, [first, first.take(["b", "a"])])
        assert (result.part.tolist(), result.fold.tolist()) == (["oof", "oof"], [2, 0])


def test_members_of_different_targets_are_refused() -> None:
    numbers = Estimates.of_part("val", ["i0"], np.array([[1.0]]), ["age"])
    with pytest.raises(AlignmentError, match="members predict classes and numbers; expected one kind"):
        Mean(weights=(1, 1)).combine([table([[1, 0, 0]]), numbers])
    with pytest.raises(AlignmentError, match=r"expected the numbers \['age'\], found \['mood'\]"):
        Median().combine([numbers, Estimates.of_part("val", ["i0"], np.array([[1.0]]), ["mood"])])
