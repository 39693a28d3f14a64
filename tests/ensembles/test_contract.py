"""Properties of every registered voting method, for every kind of target that it can predict.

Modules: ensembles.combiners, ensembles.greedy, ensembles.member_weights.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from featx.ensembles.combiners import EnsembleMethod, MemberOutputs
from featx.ensembles.cross_fitting import CrossFitting
from featx.errors import AlignmentError, UnsuitedError
from featx.metrics.definitions import find_score
from featx.metrics.scores import score
from featx.registry import ENSEMBLE_METHODS
from featx.specs.ensembling import EnsembleSpec
from featx.tables.predictions import AnyPredictions, Predictions
from featx.tables.truth import AnyTruth, Truth
from tests.ensemble_members import CLASSES, KINDS, cross_predictions, members_of, values_of

SPECS = {"": EnsembleSpec(), "ridge": EnsembleSpec(stacker="ridge"), "xgboost": EnsembleSpec(stacker="xgboost")}
CASES = [
    pytest.param(name, kind, spec, id=f"{name}-{kind}-{stacker}")
    for name in ENSEMBLE_METHODS.names()
    for kind in ENSEMBLE_METHODS.get(name).kinds
    for stacker, spec in SPECS.items()
    if name == "stacking" or not stacker
]
each_method = pytest.mark.parametrize(("name", "kind", "spec"), CASES)


def fit_and_combine(
    name: str, members: Sequence[AnyPredictions], truth: AnyTruth, spec: EnsembleSpec
) -> AnyPredictions:
    """Return an ensemble's predictions for the rows that it is fitted to."""
    return CrossFitting.of(members, truth, spec).fit(ENSEMBLE_METHODS.get(name)).combine(members, truth.names)


def assert_equal_tables(first: AnyPredictions, second: AnyPredictions, atol: float = 1e-12) -> None:
    assert first.ids.tolist() == second.ids.tolist()
    np.testing.assert_allclose(values_of(first), values_of(second), rtol=0, atol=atol)


def test_every_kind_of_target_has_methods_and_all_named_methods_exist() -> None:
    assert {param.values[0] for param in CASES} == {
        *("majority", "soft", "weighted", "confidence", "convex", "greedy", "stacking", "mean", "median")
    }
    assert {param.values[1] for param in CASES} == set(KINDS)


@each_method
def test_an_ensemble_predicts_the_same_kind_of_table_as_its_members(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind)
    result = fit_and_combine(name, members, truth, spec)
    assert type(result) is type(members[0])
    assert values_of(result).shape == values_of(members[0]).shape
    if kind == "classes":
        np.testing.assert_allclose(values_of(result).sum(axis=1), 1, atol=1e-9)
    if kind != "numbers":
        assert ((values_of(result) >= 0) & (values_of(result) <= 1)).all()


@each_method
def test_the_order_of_rows_and_columns_changes_nothing(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind)
    rng = np.random.default_rng(1)
    shuffled_members = [_with_shuffled_columns(member.take(rng.permutation(member.ids)), rng) for member in members]
    shuffled_truth = truth.take(rng.permutation(truth.ids))
    assert_equal_tables(
        fit_and_combine(name, shuffled_members, shuffled_truth, spec).take(truth.ids),
        fit_and_combine(name, members, truth, spec),
        atol=0,
    )
    method: EnsembleMethod = ENSEMBLE_METHODS.get(name)
    predictions = cross_predictions(method, shuffled_members, shuffled_truth, spec)
    assert_equal_tables(predictions.take(truth.ids), cross_predictions(method, members, truth, spec), atol=0)
    assert predictions.ids.tolist() == shuffled_members[0].ids.tolist()


def _with_shuffled_columns(member: AnyPredictions, rng: np.random.Generator) -> AnyPredictions:
    """Return the table with its columns in random order."""
    if isinstance(member, Predictions):
        return member.ordered(rng.permutation(member.classes).tolist())
    order = rng.permutation(len(member.names))
    names = tuple(member.names[column] for column in order)
    return type(member)(member.ids, member.values[:, order], names, member.part, member.fold)


@each_method
def test_a_combiner_accepts_columns_in_another_order(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind)
    combiner = CrossFitting.of(members, truth, spec).fit(ENSEMBLE_METHODS.get(name))
    member_outputs, reversed_names = MemberOutputs.of(members), truth.names[::-1]
    outputs = combiner.outputs(member_outputs.ordered(reversed_names))
    np.testing.assert_allclose(outputs[:, ::-1], combiner.outputs(member_outputs), rtol=0, atol=1e-12)


@each_method
def test_the_order_of_members_changes_nothing(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind)
    # Optimisers end near the same weights; trees take the first of equal cuts.
    optimised = {"convex", "stacking"}
    tolerance = 0.05 if spec.stacker == "xgboost" else 1e-3 if name in optimised else 1e-12
    assert_equal_tables(
        fit_and_combine(name, members[::-1], truth, spec), fit_and_combine(name, members, truth, spec), tolerance
    )


@each_method
def test_a_combiner_read_from_json_predicts_the_same(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind)
    combiner = CrossFitting.of(members, truth, spec).fit(ENSEMBLE_METHODS.get(name))
    restored = ENSEMBLE_METHODS.get(name).read(
        type(combiner).model_validate_json(combiner.model_dump_json()).model_dump(mode="json")
    )
    member_outputs = MemberOutputs.of(members)
    assert restored.outputs(member_outputs).tobytes() == combiner.outputs(member_outputs).tobytes()


@each_method
def test_unused_members_can_be_left_out(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind)
    combiner = CrossFitting.of(members, truth, spec).fit(ENSEMBLE_METHODS.get(name))
    used_members = [member for index, member in enumerate(members) if index not in combiner.unused]
    assert_equal_tables(combiner.without_unused().combine(used_members), combiner.combine(members))


@each_method
def test_an_ensemble_of_equal_members_predicts_what_they_predict(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind, n=300)
    result = fit_and_combine(name, [members[-1]] * 3, truth, spec)
    if name != "stacking":
        expected = values_of(members[-1])
        if name == "majority":
            expected = np.round(expected) if kind == "labels" else np.eye(3)[expected.argmax(1)]
        np.testing.assert_allclose(values_of(result), expected, atol=1e-3)
    metric = "mae" if kind == "numbers" else "accuracy"
    gain = score(metric, truth, result) - score(metric, truth, members[-1])
    assert find_score(metric).signed(gain) >= -0.05


@each_method
def test_errors_name_missing_ids_and_other_columns(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind)
    shortened_members = [members[0], members[1].take(members[1].ids[:-1])]
    with pytest.raises(AlignmentError, match="1 of 120 ids are not in the predictions, first 'i00119'"):
        fit_and_combine(name, shortened_members, truth, spec)
    renamed_member = _with_renamed_column(members[1])
    with pytest.raises(AlignmentError, match=f"expected the {kind} .*{CLASSES[kind][0]}.* found .*'fox'"):
        fit_and_combine(name, [members[0], renamed_member], truth, spec)


def _with_renamed_column(member: AnyPredictions) -> AnyPredictions:
    if isinstance(member, Predictions):
        return Predictions.of_part("val", member.ids, member.proba, ("fox", *member.classes[1:]))
    return type(member)(member.ids, member.values, ("fox", *member.names[1:]), member.part, member.fold)


@each_method
def test_the_truth_of_a_row_does_not_change_its_own_prediction(name: str, kind: str, spec: EnsembleSpec) -> None:
    members, truth = members_of(kind, n=40, skills=(0.9, 1, 1.1))
    method: EnsembleMethod = ENSEMBLE_METHODS.get(name)
    groups = np.arange(40) // 2  # folds of groups are not stratified by the truth
    predictions_before = cross_predictions(method, members, truth, spec, groups)
    n_changed = 0
    for row in (0, 17):
        predictions_after = cross_predictions(method, members, _flipped(truth, row), spec, groups)
        assert_equal_tables(predictions_after.take(truth.ids[[row]]), predictions_before.take(truth.ids[[row]]), atol=0)
        n_changed += not np.array_equal(values_of(predictions_before), values_of(predictions_after))
    assert (n_changed > 0) == method.is_trained  # the truth of other rows does change its prediction


def _flipped(truth: AnyTruth, row: int) -> AnyTruth:
    if isinstance(truth, Truth):
        codes = truth.codes.copy()
        codes[row] = (codes[row] + 1) % 3
        return Truth(truth.ids, codes, truth.names)
    values = truth.values.copy()
    values[row] = 1 - values[row]
    return type(truth)(truth.ids, values, truth.names)


@pytest.mark.parametrize("name", ENSEMBLE_METHODS.names())
def test_an_ensemble_may_have_a_single_member(name: str) -> None:
    kind = ENSEMBLE_METHODS.get(name).kinds[-1]
    members, truth = members_of(kind)
    selection = CrossFitting.of(members[:2], truth, EnsembleSpec())
    method = ENSEMBLE_METHODS.get(name)
    assert len(selection.contributions(method, selection.cross_predict(method))) == 2


def test_logistic_stacking_refuses_numbers() -> None:
    members, truth = members_of("numbers")
    with pytest.raises(
        UnsuitedError, match="stacker 'logistic' predicts classes and labels, found numbers; use 'ridge'"
    ):
        fit_and_combine("stacking", members, truth, EnsembleSpec(stacker="logistic"))
