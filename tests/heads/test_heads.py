"""The contract of every registered head: search, fit, weights and folds.

Modules: heads.fitting, heads.folds, heads.head_definition, heads.search.search, heads.solvers.gpu.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import IntDistribution
from sklearn.datasets import load_digits
from sklearn.pipeline import Pipeline

from featx.errors import DataError
from featx.heads.fitting import fit_out_of_fold, fit_pipeline
from featx.heads.folds import TrainRows, check_folds
from featx.heads.head_definition import Head, HeadTask
from featx.heads.head_settings import searched_parameters
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.regularisation_paths import ParameterPath
from featx.heads.search.search import search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import ClassWeight, HeadSpec
from featx.tables.sample_weights import class_weights, compute_row_weights, group_weights
from featx.tables.target_values import ClassTargets
from featx.tables.truth import Truth

FIVE_FOLDS = HeadSpec(name="rf")


def digits(n_classes: int, n_rows: int = 240) -> TrainRows:
    x, y = load_digits(n_class=n_classes, return_X_y=True)
    names = tuple(map(str, range(n_classes)))
    return TrainRows(x[:n_rows].astype(np.float32), ClassTargets(names, y[:n_rows].astype(np.int64)))


def head_for(name: str, rows: TrainRows, seed: int = 0) -> Head:
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, rows.targets.n_outputs, seed, rows.targets.kind))
    return head


def start_of(head: Head) -> dict[str, Any]:
    """Return a complete setting: the start, and the middle value of the path."""
    path = head.path
    return dict(head.start) | ({path.name: path.values[len(path.values) // 2]} if path and path.name else {})


@pytest.fixture(params=HEADS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_head_is_searched_and_predicts_probabilities(name: str, n_classes: int, tmp_path: Path) -> None:
    rows, spec = digits(n_classes), HeadSpec(name=name, trials=2, folds=3)
    head = head_for(name, rows)
    result = search({"": SearchSpace(head, rows)}, spec, tmp_path / "journal", no_progress)
    assert len(result.trials) + result.n_pruned == 2
    assert result.score == max(trial.score for trial in result.trials) > 0.9
    _, out_of_fold = fit_out_of_fold(head, result.params, rows, spec)
    proba, fold_numbers = out_of_fold.outputs, out_of_fold.fold_numbers
    assert proba.shape == (240, n_classes)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    assert set(fold_numbers) == {0, 1, 2}
    assert (proba.argmax(1) == rows.targets.y).mean() > 0.9
    model = fit_pipeline(head, result.params, rows, head.default_calibration, FIVE_FOLDS)
    assert isinstance(model, Pipeline)
    assert model.classes_.tolist() == list(range(n_classes))


def test_the_same_seed_gives_the_same_search(name: str, tmp_path: Path) -> None:
    rows, spec = digits(3, 120), HeadSpec(name=name, trials=3, folds=3, seed=7)
    head = head_for(name, rows, 7)
    first, second = (search({"": SearchSpace(head, rows)}, spec, tmp_path / run, no_progress) for run in "ab")
    assert first.trials == second.trials


def test_a_timeout_stops_after_the_current_trial(tmp_path: Path) -> None:
    rows, spec = digits(2), HeadSpec(name="logreg", trials=500, timeout_s=0.2, folds=3)
    result = search({"": SearchSpace(head_for("logreg", rows), rows)}, spec, tmp_path / "j", no_progress)
    assert 1 <= len(result.trials) < 500


def test_a_class_with_a_larger_weight_is_predicted_more_often(name: str) -> None:
    rng = np.random.default_rng(0)
    codes = (np.arange(300) % 5 == 0).astype(np.int64)
    x, new_x = ((rng.normal(size=(300, 4)) + 0.5 * codes[:, None]).astype(np.float32) for _ in range(2))
    n_predicted = {}
    for weight in ("none", "balanced"):
        spec = HeadSpec(name=name, class_weight=weight)
        targets = ClassTargets(("rest", "rare"), codes)
        weights = class_weights("head", spec.class_weight, truth_of(codes, "rest", "rare"), np.ones(300))
        rows = TrainRows(x, targets, class_weights=weights)
        head = head_for(name, rows)
        if not head.accepts_weights:
            pytest.skip(f"{name} takes no weights")
        params = start_of(head) | ({"min_samples_leaf": 30} if name == "rf" else {})
        n_predicted[weight] = int(
            fit_pipeline(head, params, rows, head.default_calibration, FIVE_FOLDS).predict(new_x).sum()
        )
    assert n_predicted["balanced"] > n_predicted["none"]


def truth_of(codes: np.ndarray, *classes: str, weights: np.ndarray | None = None) -> Truth:
    """Return a table of codes whose ids are row numbers."""
    return Truth(np.array([str(row) for row in range(len(codes))], dtype=object), codes, classes, weights)


def row_weights(name: str, class_weight: ClassWeight, truth: Truth) -> np.ndarray:
    """Return (n,) weights of rows times those of their classes, with which a head is fitted."""
    weights = compute_row_weights(truth)
    by_class = class_weights(name, class_weight, truth, weights)
    return weights if by_class is None else weights * by_class[truth.codes]


def test_row_weights_are_those_of_the_target_times_the_class() -> None:
    codes, weights = np.array([0, 0, 0, 1]), np.array([1.0, 0.5, 0.0, 1.0])
    plain_weights = row_weights("head", "none", truth_of(codes, "a", "b", weights=weights))
    assert plain_weights.tolist() == (weights / weights.mean()).tolist()
    heavier = row_weights("head", {"b": 3}, truth_of(codes, "a", "b", weights=weights))
    assert (heavier / heavier[0]).tolist() == [1, 0.5, 0, 3]
    with pytest.raises(DataError, match="all train rows weigh 0"):
        row_weights("head", "none", truth_of(codes, "a", "b", weights=np.zeros(4)))


def test_rows_without_a_group_have_weight_one_and_groups_equal_weight() -> None:
    groups = np.array(["f"] * 6 + ["m"] * 2 + [None] * 2, dtype=object)
    weights = group_weights(groups)
    assert weights[groups == "f"].sum() == pytest.approx(weights[groups == "m"].sum())
    assert weights[8:].tolist() == [1, 1]
    assert weights.mean() == pytest.approx(1)
    assert group_weights(np.full(3, None, dtype=object)).tolist() == [1, 1, 1]


def test_class_weights_have_mean_one_and_name_classes() -> None:
    codes = np.array([0, 0, 0, 1])
    balanced = row_weights("head", "balanced", truth_of(codes, "a", "b"))
    assert balanced[codes == 0].sum() == pytest.approx(balanced[codes == 1].sum())
    explicit = row_weights("head", {"b": 3}, truth_of(codes, "a", "b"))
    assert explicit[3] / explicit[0] == pytest.approx(3)
    assert balanced.mean() == pytest.approx(explicit.mean()) == pytest.approx(1)
    with pytest.raises(DataError, match="class_weight names 'c'; classes: a, b"):
        row_weights("head", {"c": 2}, truth_of(codes, "a", "b"))


def test_every_row_is_held_out_once() -> None:
    folds = digits(3).folds(4, seed=0)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(240))
    assert all(not set(train) & set(held_out) for train, held_out in folds)


def rows_of(codes: list[int], groups: list[int] | None = None) -> TrainRows:
    n = len(codes)
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    targets = ClassTargets(("often", "rare"), np.array(codes))
    return TrainRows(x, targets, None, None if groups is None else np.array(groups))


def test_a_class_with_too_few_rows_is_refused() -> None:
    with pytest.raises(DataError, match="class 'rare' has 4 train rows, 5 folds need at least 5"):
        check_folds(rows_of([0] * 20 + [1] * 4), HeadSpec(name="rf"))


@pytest.mark.parametrize("folds", [2, 3, 4, 5])
def test_every_head_fits_rows_that_pass_the_check(name: str, folds: int) -> None:
    spec = HeadSpec(name=name, folds=folds)
    for n_rare in range(1, 8):
        rows = rows_of([0] * 20 + [1] * n_rare)
        try:
            check_folds(rows, spec)
        except DataError:
            continue
        head = head_for(name, rows)
        proba = fit_out_of_fold(head, start_of(head), rows, spec)[1].outputs
        assert np.isfinite(proba).all()
        break
    else:
        pytest.fail("no number of rows passed")


@given(seed=st.integers(0, 1000), n_groups=st.integers(12, 30))
def test_no_group_is_divided_between_train_and_held_out_rows(seed: int, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n_groups, 200)
    rows = rows_of(rng.integers(0, 2, 200).tolist(), groups.tolist())
    for train, held_out in rows.folds(5, seed):
        assert not set(groups[train]) & set(groups[held_out])


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"split.by and copies leave 3 groups in train, 5 folds need one each"):
        check_folds(rows_of([0, 1] * 15, [0, 1, 2] * 10), HeadSpec(name="rf"))
    with pytest.raises(DataError, match="class 'rare' has 1 different train images"):
        check_folds(rows_of([0] * 50 + [1] * 10, [*range(50), *[99] * 10]), HeadSpec(name="rf"))


def test_nested_folds_are_checked_before_the_search() -> None:
    by_patient = rows_of([0, 1] * 15, [*range(6)] * 5)
    with pytest.raises(DataError, match=r"leave 6 groups in train, 10 folds need one each; set a smaller 'nested'"):
        check_folds(by_patient, HeadSpec(name="rf", folds=3, nested=10))
    with pytest.raises(DataError, match=r"train has 30 rows, 40 folds need one each; set a smaller 'nested'"):
        check_folds(rows_of([0, 1] * 15), HeadSpec(name="rf", folds=3, nested=40))
    with pytest.raises(DataError, match=r"one of 3 nested folds: split.by .* leave 4 groups in train, 5 folds need"):
        check_folds(by_patient, HeadSpec(name="rf", folds=5, nested=3))
    with pytest.raises(DataError, match=r"one of 5 nested folds: class 'rare' has 4 train rows, 5 folds need at least"):
        check_folds(rows_of([0] * 20 + [1] * 5), HeadSpec(name="rf", folds=5, nested=5))
    check_folds(by_patient, HeadSpec(name="rf", folds=3, nested=6))


@pytest.mark.parametrize("groups", [[0] * 20 + [1] * 20, [0, 2] * 10 + [1, 3] * 10])
def test_groups_that_leave_calibration_without_a_class_are_refused(groups: list[int]) -> None:
    rows, spec = rows_of([0, 1] * 20, groups), HeadSpec(name="svm", metric="log_loss", folds=2, trials=1)
    check_folds(rows, spec)
    with pytest.raises(DataError, match="'often' is in too few groups .* within each fold for metric = 'log_loss'"):
        check_folds(rows, spec, calibrates_trials=True)


def test_groups_with_all_classes_allow_calibration_within_folds(tmp_path: Path) -> None:
    rows, spec = rows_of([0, 1] * 20, [0, 0, 1, 1, 2, 2, 3, 3] * 5), HeadSpec(name="svm", metric="log_loss", folds=2)
    check_folds(rows, spec, calibrates_trials=True)
    spec = spec.model_copy(update={"trials": 1})
    assert search({"": SearchSpace.of(spec, rows)}, spec, tmp_path / "journal", no_progress).trials


def rows_with_large_group(n_large: int) -> TrainRows:
    """Return 100 rows of two classes with 200 features, so many of which are one group and the others pairs."""
    rng, groups = np.random.default_rng(0), np.maximum(np.arange(100) - n_large, -1) // 2
    codes = np.arange(100) % 2
    x = (rng.normal(size=(100, 200)) + codes[:, None]).astype(np.float32)
    return TrainRows(x, ClassTargets(("often", "rare"), codes), groups=groups)


@pytest.mark.parametrize("n_large", [60, 88])
def test_every_setting_of_a_search_fits_the_smallest_fold(name: str, n_large: int) -> None:
    rows, spec = rows_with_large_group(n_large), HeadSpec(name=name)
    head = SearchSpace.of(spec, rows).head
    searched_params = searched_parameters(head)
    largest = {}
    if isinstance(components := searched_params.get("components"), IntDistribution):
        largest = {"scaling": "pca", "components": components.high}
        assert components.high <= 100 - n_large
    if isinstance(neighbors := searched_params.get("n_neighbors"), ParameterPath):
        largest["n_neighbors"] = neighbors.values[-1]
    for train, held_out in rows.folds(spec.folds, spec.seed):
        model = fit_pipeline(head, start_of(head) | largest, rows.take(train), "none", spec)
        assert len(model.predict(rows.x[held_out])) == len(held_out)


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {"components": 35}},
        {"space": {"components": [16, 35]}},
        {"params": {"n_neighbors": 35}},
        {"space": {"n_neighbors": [3, 35]}},
    ],
)
def test_settings_that_the_smallest_fold_cannot_fit_are_refused(fields: dict[str, Any]) -> None:
    rows, spec = rows_with_large_group(60), HeadSpec(name="knn", **fields)
    with pytest.raises(DataError, match=r"'knn': (components|n_neighbors) = 35, but one fold is trained on 34 rows"):
        check_folds(rows, spec)
    rows = replace(rows, groups=None)
    check_folds(rows, spec)
    with pytest.raises(DataError, match=r"'knn': .* = 35, but one fold is trained on 25 rows"):
        check_folds(rows, spec.model_copy(update={"folds": 2, "nested": 2}))


def test_more_components_than_features_are_refused() -> None:
    with pytest.raises(DataError, match=r"'svm': components = 99, but there are 64 features; expected at most 64"):
        SearchSpace.of(HeadSpec(name="svm", params={"components": 99}), digits(2))


def test_few_components_are_fixed_where_few_exist(tmp_path: Path) -> None:
    rows, params = digits(2, 20), {"scaling": "pca", "components": 3}
    spec = HeadSpec(name="svm", trials=1, folds=2, params=params)
    result = search({"": SearchSpace.of(spec, rows)}, spec, tmp_path / "journal", no_progress)
    assert result.params.items() >= params.items()


def test_searching_by_log_loss_uses_probabilities(tmp_path: Path) -> None:
    rows, spec = digits(2, 100), HeadSpec(name="svm", metric="log_loss", trials=1, folds=3)
    result = search({"": SearchSpace(head_for("svm", rows), rows)}, spec, tmp_path / "j", no_progress)
    assert -0.5 < result.score < 0


@pytest.mark.parametrize("name", HEADS.names())
def test_a_search_compares_few_and_many_features(name: str, tmp_path: Path) -> None:
    x, y = load_digits(n_class=2, return_X_y=True)
    targets = ClassTargets(("0", "1"), y[:120])
    widths = {f"{d} features": TrainRows(x[:120, 20 : 20 + d].astype(np.float32), targets) for d in (5, 40)}
    spaces = {width: SearchSpace(head_for(name, rows), rows) for width, rows in widths.items()}
    result = search(spaces, HeadSpec(name=name, trials=6, folds=3), tmp_path / "journal", no_progress)
    assert len(result.trials) + result.n_pruned == 6
    assert result.score > 0.8
