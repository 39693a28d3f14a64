"""Paths and shared arrays do not change outputs: they equal those of Pipelines fitted for each value.

Modules: heads.search.cross_validation, heads.search.fold_cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.heads.fitting import fit_pipeline
from featx.heads.folds import TrainRows
from featx.heads.head_definition import HeadTask
from featx.heads.learning_problems import PROBLEMS
from featx.heads.search.cross_validation import CrossValidation, SearchSpace, format_memory_note
from featx.heads.search.distributed_search import SingleTrialRecorder
from featx.heads.search.fold_cache import FoldCache, SharedArrays
from featx.heads.search.journal import create_study
from featx.metrics.scores import weighted_score
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.ids import Kind
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets, TargetValues

FIVE_FOLDS = HeadSpec(name="rf")

SETTINGS = {
    "logreg": [{"scaling": "standard"}, {"scaling": "pca", "components": 20}],
    "ridge": [{"scaling": "l2"}, {"scaling": "pca", "components": 20}],
    "svm": [
        {"kernel": "rbf", "scaling": "standard", "C": 2.0, "relative_gamma": 0.7},
        {"kernel": "rbf", "scaling": "standard_l2", "C": 10.0, "relative_gamma": 0.7},
        {"kernel": "rbf", "scaling": "pca_l2", "components": 20, "C": 10.0, "relative_gamma": 0.7},
        {"kernel": "linear", "scaling": "pca", "components": 20, "C": 0.02},
    ],
    "knn": [{"scaling": "none"}, {"scaling": "pca", "components": 20}],
    "lda": [{"scaling": "none"}, {"scaling": "pca", "components": 20}],
    "rf": [{"max_features": 0.2, "min_samples_leaf": 2}],
}
KINDS: dict[str, Kind] = {
    "classes": "classes",
    "two": "classes",
    "soft": "classes",
    "labels": "labels",
    "numbers": "numbers",
}


def digit_targets(target: str, x: np.ndarray, y: np.ndarray) -> TargetValues:
    """Return digits as classes, soft labels, labels (odd, large, round) or numbers."""
    if target == "labels":
        labels = np.stack([y % 2, y > 4, np.isin(y, [0, 6, 8, 9])], 1).astype(int)
        return LabelTargets(("odd", "large", "round"), labels)
    if target == "numbers":
        return NumberTargets(("value", "ink"), np.stack([y.astype(float), x.sum(1, dtype=float)], 1))
    if target == "soft":
        share = np.clip(y / 9, 0, 1)
        shares = np.stack([1 - share, share], 1)
        return ClassTargets(("small", "large"), (share > 0.5).astype(np.int64), shares=shares)
    if target == "classes":
        return ClassTargets(("0", "1", "2"), y % 3)
    return ClassTargets(("even", "odd"), y % 2)


def digit_rows(target: str, n: int = 260) -> TrainRows:
    x, y = load_digits(return_X_y=True)
    # With noise no two distances are equal.
    x = (x[:n] + np.random.default_rng(1).normal(0, 0.01, (n, x.shape[1]))).astype(np.float32)
    targets = digit_targets(target, x, y[:n].astype(np.int64))
    return TrainRows(x, targets, np.random.default_rng(0).uniform(0.5, 1.5, n))


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_path_outputs_equal_those_of_refitted_pipelines(name: str, target: str) -> None:
    rows = digit_rows(target)
    if name in {"knn", "lda"}:
        if target == "soft":
            pytest.skip(f"{name} does not support soft labels")
        rows = TrainRows(rows.x, rows.targets)
    if name in {"logreg", "lda"} and target == "numbers":
        pytest.skip(f"{name} does not support numbers")
    head = HEADS.get(name)(HeadTask(*rows.x.shape, rows.targets.n_outputs, 0, rows.targets.kind))
    assert head.path is not None
    fold = FoldCache(0, rows, rows.folds(3, 0)[0], SharedArrays(1e9))
    values = head.path.values if name != "rf" else (5, 20)
    for params in SETTINGS[name]:
        path_outputs = list(head.path.predict_path(params, fold, values))
        for value, outputs in zip(values, path_outputs, strict=True):
            setting = params | ({head.path.name: value} if head.path.name else {})
            model = fit_pipeline(head, setting, fold.train, "none", FIVE_FOLDS)
            expected = PROBLEMS[rows.targets.kind].predict_ranks(model, fold.held_out)
            if rows.targets.kind == "classes":
                # A looser solver with another start differs on rows between two classes.
                min_agreement = 0.95 if name == "logreg" else 0.98
                assert (outputs.argmax(1) == expected.argmax(1)).mean() > min_agreement
            elif name != "logreg":
                # Of rows at equal distance either may be the last neighbour.
                assert np.isclose(outputs, expected, rtol=2e-3, atol=5e-3 * expected.std()).mean() > 0.98
            else:
                assert ((outputs > 0.5) == (expected > 0.5)).mean() > 0.95


@pytest.mark.parametrize("target", KINDS)
def test_boosted_trees_on_shared_bins_score_as_refitted_ones(target: str) -> None:
    rows = digit_rows(target, 600)
    head = HEADS.get("xgboost")(HeadTask(*rows.x.shape, rows.targets.n_outputs, 0, rows.targets.kind))
    assert head.path is not None
    fold = FoldCache(0, rows, rows.folds(3, 0)[0], SharedArrays(1e9))
    (outputs,) = head.path.predict_path(dict(head.start), fold, (50,))
    model = fit_pipeline(head, dict(head.start) | {"n_estimators": 50}, fold.train, "none", FIVE_FOLDS)
    score = partial(weighted_score, "r2" if target == "numbers" else "accuracy")
    expected = score(fold.held_out.targets, PROBLEMS[rows.targets.kind].predict_ranks(model, fold.held_out))
    assert score(fold.held_out.targets, outputs) == pytest.approx(expected, abs=0.05)


def test_outputs_for_a_number_of_rounds_use_as_many_trees() -> None:
    """Labels are rare: the error is that of the majority from the first round on, whatever the later ones do."""
    x = np.random.default_rng(0).normal(size=(600, 20)).astype(np.float32)
    y = (x[:, :3].sum(1) + np.random.default_rng(1).normal(size=600) > 3.6).astype(np.int64)
    rows = TrainRows(x, ClassTargets(("no", "yes"), y))
    assert 0.01 < y.mean() < 0.06
    head = HEADS.get("xgboost")(HeadTask(*x.shape, 2, 0))
    params = dict(head.start) | {"subsample": 1.0, "colsample_bytree": 1.0}
    fold = FoldCache(0, rows, rows.folds(3, 0)[0], SharedArrays(1e9))
    values = (50, 200, 400)
    for value, outputs in zip(values, head.path.predict_path(params, fold, values), strict=True):
        model = head.build(params | {"n_estimators": value})
        model.fit(fold.train.x, fold.train.targets.y)
        assert model[-1].get_booster().num_boosted_rounds() == value
        np.testing.assert_allclose(outputs, model.predict_proba(fold.held_out.x), atol=1e-5)


def test_a_fold_stops_when_its_patience_ends() -> None:
    """Scores are made up and peak at the third value: four worse ones end the fold, the others are not tried."""
    rows = digit_rows("two", 120)
    head = HEADS.get("xgboost")(HeadTask(*rows.x.shape, 2, 0))
    accuracies = [0.5, 0.6, 0.9, 0.8, 0.7, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1]
    tried_values = []

    def predict_path(_params: object, fold: FoldCache, values: Sequence[int]) -> Iterator[np.ndarray]:
        for value in values:
            tried_values.append(value)
            true_proba = np.eye(2)[fold.held_out.targets.y]
            n_correct = round(accuracies[head.path.values.index(value)] * len(true_proba))
            yield np.vstack([true_proba[:n_correct], 1 - true_proba[n_correct:]])

    patched = replace(head, path=replace(head.path, predict_path=predict_path))
    spec = HeadSpec(name="xgboost", metric="accuracy")
    cross_validation = CrossValidation("x", SearchSpace(patched, rows), spec, SharedArrays(1e9))
    recorder = SingleTrialRecorder([])
    cross_validation.run(create_study(None, "xgboost").ask(), recorder)
    assert recorder.attributes["params"]["n_estimators"] == 100
    assert set(recorder.attributes["path"]) == {"50", "75", "100", "125", "150"}
    # The first folds try the best value and four or five after it.
    assert max(tried_values) == 225


def test_shared_arrays_are_bounded_and_drop_the_oldest() -> None:
    shared, computed = SharedArrays(100), []

    def get(name: str) -> str:
        def compute() -> tuple[str, int]:
            computed.append(name)
            return name, 60

        return shared.get_or_compute(name, compute)

    assert [get(name) for name in "aabab"] == list("aabab")
    assert computed == list("abab")


def test_large_matrices_are_reported() -> None:
    assert format_memory_note(1e6, 2e9) == ""
    assert format_memory_note(0.6e9, 2e9).startswith("the matrices of 2 folds need 0.6 GB; extraction.search_gb = 2.0")
    assert "need 3.0 GB, but extraction.search_gb = 2.0 limits" in format_memory_note(3e9, 2e9)


def test_calibration_folds_do_not_divide_soft_rows() -> None:
    rows = digit_rows("soft")
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, 2, 0))
    model = fit_pipeline(head, dict(head.start), rows, head.default_calibration, FIVE_FOLDS)
    row_numbers = rows.training_data().row_numbers
    for train, held_out in model[-1].cv:
        assert not set(row_numbers[train]) & set(row_numbers[held_out])
