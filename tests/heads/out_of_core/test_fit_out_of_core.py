"""Heads fitted on rows that stay in the store predict as well as heads fitted in memory.

Modules: heads.out_of_core.estimators, heads.out_of_core.stored_rows.
"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import featx
from featx.artifacts.artifact import load_head
from featx.artifacts.header import read_header
from featx.errors import UnsuitedError
from featx.heads.calibration import ClassifierOutputs, choose_calibration
from featx.heads.fitting import fit_out_of_fold
from featx.heads.folds import TrainingData, TrainRows
from featx.heads.head_definition import Head, HeadTask
from featx.heads.out_of_core import fit_out_of_core
from featx.heads.out_of_core.estimators import OutOfCoreData
from featx.heads.out_of_core.fit_out_of_core import (
    MAX_CALIBRATION_ROWS_PER_CLASS,
    fit_stored_rows,
    predict_in_blocks,
    sample_for_calibration,
)
from featx.heads.out_of_core.stored_rows import StoredRows
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.embedding import EmbeddingSpec, Preprocessing
from featx.specs.head import HeadSpec
from featx.storage.store import EmbeddingStore
from featx.tables.target_values import ClassTargets

HALF = (0.5, 0.5, 0.5)
SPEC = EmbeddingSpec(
    backbone="toy", weights_sha256="", tap="0", pool="avg", preprocessing=Preprocessing(size_px=8, mean=HALF, std=HALF)
)
PARAMS = {
    "logreg": {"scaling": "standard", "alpha": 1e-4},
    "svm": {"scaling": "standard", "alpha": 1e-4},
    "xgboost": {"max_depth": 4, "learning_rate": 0.2, "subsample": 1.0, "colsample_bytree": 1.0, "n_estimators": 40},
}


@pytest.fixture(scope="module")
def rows() -> TrainRows:
    """3,000 rows of three classes, sorted by class."""
    x, y = make_classification(3000, 20, n_informative=12, n_redundant=2, n_classes=3, random_state=0, shuffle=False)
    return TrainRows(x.astype(np.float32) * 3 + 5, ClassTargets(("a", "b", "c"), y))


def store_rows(folder: Path, rows: TrainRows, *, in_order: bool = False) -> StoredRows:
    """Write rows into two stores, with some of the columns in each, in segments and by default in random order."""
    digests = [f"{number:032x}" for number in range(len(rows))]
    order = np.arange(len(rows)) if in_order else np.random.default_rng(0).permutation(len(rows))
    stores = []
    for number, columns in enumerate((slice(0, 8), slice(8, 20))):
        x = rows.x[:, columns]
        store = EmbeddingStore(folder / f"{number}.zarr", SPEC, x.shape[1])
        for segment_rows in np.array_split(order, 4):
            store.add([digests[row] for row in segment_rows], x[segment_rows], 8, {})
        stores.append(store)
    return StoredRows(stores, digests)


def head_for(name: str, rows: TrainRows) -> Head:
    solver = "sklearn" if name == "xgboost" else "minibatch"
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, 3, 0, "classes", solver))
    return head


def test_blocks_hold_every_row_once(rows: TrainRows, tmp_path: Path) -> None:
    stored_rows = store_rows(tmp_path, rows)
    assert (stored_rows.read(np.array([7, 3])) == rows.x[[7, 3]]).all()
    for blocks in (stored_rows.blocks(), stored_rows.shuffled(np.random.default_rng(0))):
        x = np.full_like(rows.x, np.nan)
        for row_numbers, block in blocks:
            assert np.isnan(x[row_numbers]).all()
            x[row_numbers] = block
        assert (x == rows.x).all()


@pytest.mark.parametrize("name", PARAMS)
def test_a_fit_out_of_core_is_as_accurate_as_in_memory(name: str, rows: TrainRows, tmp_path: Path) -> None:
    head, spec = head_for(name, rows), HeadSpec(name=name, folds=3)
    stored_rows = store_rows(tmp_path, rows)
    without_features = TrainRows(np.zeros((len(rows), 1), np.float32), rows.targets)

    model, out_of_core = fit_stored_rows(head, PARAMS[name], (lambda: stored_rows, without_features), spec, no_progress)

    _, in_memory = fit_out_of_fold(head, PARAMS[name], rows, spec)
    accuracy, expected = ((result.outputs.argmax(1) == rows.targets.y).mean() for result in (out_of_core, in_memory))
    assert accuracy > 0.6
    assert abs(accuracy - expected) < 0.02
    assert (out_of_core.fold_numbers == in_memory.fold_numbers).all()
    assert min(out_of_core.log_losses.values()) < min(in_memory.log_losses.values()) + 0.03
    assert isinstance(model, Pipeline)
    proba = predict_in_blocks(model, stored_rows)
    np.testing.assert_allclose(proba, model.predict_proba(rows.x), atol=1e-6)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    assert isinstance(model[-1], CalibratedClassifierCV) == (out_of_core.method != "none")
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", PARAMS)
def test_class_weights_change_decisions_and_not_probabilities(name: str, rows: TrainRows, tmp_path: Path) -> None:
    head, spec = head_for(name, rows), HeadSpec(name=name, folds=3)
    stored_rows, weights = store_rows(tmp_path, rows), np.array([0.4, 0.6, 2.0])
    without_features = TrainRows(np.zeros((len(rows), 1), np.float32), rows.targets, class_weights=weights)

    model, out_of_core = fit_stored_rows(head, PARAMS[name], (lambda: stored_rows, without_features), spec, no_progress)

    shares = np.bincount(rows.targets.y) / len(rows)
    assert out_of_core.outputs.mean(0) == pytest.approx(shares, abs=0.04)
    proba = predict_in_blocks(model, stored_rows)
    assert model.predict(rows.x).tolist() == (proba * weights).argmax(1).tolist()


@pytest.mark.parametrize("name", PARAMS)
def test_a_fit_out_of_core_writes_an_ordinary_run(name: str, toy_home: Path) -> None:
    featx.extract()
    (run,) = featx.fit(heads=HeadSpec(name=name, trials=2, folds=3, memory_gb=1e-9))
    assert run.oof_accuracy is not None
    assert run.oof_accuracy > 0.8
    path = Path(run.path)
    load_head(path, read_header(path)[1])
    assert featx.predict([Path("images/dark/001.png")])
    (repeated_run,) = featx.fit(heads=HeadSpec(name=name, trials=2, folds=3, memory_gb=1e-9))
    assert not repeated_run.is_new
    (in_memory,) = featx.fit(heads=HeadSpec(name=name, trials=2, folds=3, memory_gb=1.0))
    assert in_memory.run != run.run


def test_a_calibration_sample_keeps_the_weight_of_each_class() -> None:
    y = np.repeat([0, 1, 2], [MAX_CALIBRATION_ROWS_PER_CLASS * 3, 4, MAX_CALIBRATION_ROWS_PER_CLASS + 1])
    weights = np.linspace(0.5, 1.5, len(y))
    sample = sample_for_calibration(TrainingData(np.arange(len(y)), y, weights), 0)
    assert (y[sample.row_numbers] == sample.y).all()
    assert len(np.unique(sample.row_numbers)) == 2 * MAX_CALIBRATION_ROWS_PER_CLASS + 4
    assert sample.weights is not None
    (rare,) = np.nonzero(sample.y == 1)
    np.testing.assert_array_equal(sample.weights[rare], weights[sample.row_numbers[rare]])
    np.testing.assert_allclose(np.bincount(y, weights), np.bincount(sample.y, sample.weights), rtol=0.01)


def test_calibration_by_a_sample_equals_that_by_all_rows(rows: TrainRows, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, head = HeadSpec(name="xgboost", folds=3), head_for("xgboost", rows)
    _, out_of_fold = fit_out_of_fold(head, PARAMS["xgboost"], rows, spec)
    outputs = ClassifierOutputs(out_of_fold.outputs, False, out_of_fold.outputs)
    data, fold_numbers = rows.training_data(), out_of_fold.fold_numbers
    by_all_rows = choose_calibration("platt", outputs, rows.targets, data, fold_numbers)
    monkeypatch.setattr(fit_out_of_core, "MAX_CALIBRATION_ROWS_PER_CLASS", 500)
    by_sample = choose_calibration("platt", outputs, rows.targets, sample_for_calibration(data, 0), fold_numbers)
    np.testing.assert_allclose(by_sample.proba, by_all_rows.proba, atol=0.1)
    assert by_sample.log_losses["platt"] == pytest.approx(by_all_rows.log_losses["platt"], abs=0.01)
    assert (by_sample.proba != by_all_rows.proba).any()


def test_a_head_without_out_of_core_fit_is_refused(toy_home: Path) -> None:
    featx.extract()
    with pytest.raises(
        UnsuitedError, match="head 'rf' has more rows than memory_gb = 1e-09, and cannot be fitted out of core"
    ):
        featx.fit(heads=HeadSpec(name="rf", trials=2, folds=3, memory_gb=1e-9))


@pytest.mark.parametrize("scaling", ["none", "standard", "l2", "standard_l2"])
def test_blocks_may_be_held_out_completely_and_hold_one_class(
    scaling: str, rows: TrainRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 32 rows, the last one of a single row, sets without some complete blocks, rows of weight 0."""
    monkeypatch.setattr(StoredRows, "_rows_per_block", lambda _rows, _n_bytes: 32)
    # 737 rows, sorted by class.
    subset = rows.take(np.arange(0, 2 * 32 * 23 + 2, 2))
    stored_rows, n = store_rows(tmp_path, subset, in_order=True), len(subset)
    sizes = [len(row_numbers) for row_numbers, _ in stored_rows.blocks()]
    assert sizes[-1] == 1
    assert any(len(np.unique(subset.targets.y[row_numbers])) == 1 for row_numbers, _ in stored_rows.blocks())
    order = np.concatenate([row_numbers for row_numbers, _ in stored_rows.blocks()])
    sets = np.ones((3, n), dtype=bool)
    # The first set lacks the first three blocks, the second one the last two.
    sets[0, order[:96]] = False
    sets[1, order[-33:]] = False
    weights = np.where(np.arange(n) % 5 == 0, 0.0, 1.0)
    data = OutOfCoreData(stored_rows, subset.targets.y, weights, sets, 3)
    head = HEADS.get("logreg")(HeadTask(n, 20, 3, 0, "classes", "minibatch"))

    models = head.fit_out_of_core({"scaling": scaling, "alpha": 1e-4}, data)

    for model, in_set in zip(models, sets, strict=True):
        if scaling in ("standard", "standard_l2"):
            expected = StandardScaler().fit(subset.x[in_set])
            scaler = model[0] if scaling == "standard" else model[0][0]
            np.testing.assert_allclose(scaler.mean_, expected.mean_, rtol=1e-5)
            np.testing.assert_allclose(scaler.scale_, expected.scale_, rtol=1e-5)
        assert model.n_features_in_ == 20
        in_memory = head.build({"scaling": scaling, "alpha": 1e-4}).fit(
            subset.x[in_set], subset.targets.y[in_set], clf__sample_weight=weights[in_set]
        )
        accuracy, expected_accuracy = (
            (pipeline.predict(subset.x) == subset.targets.y).mean() for pipeline in (model, in_memory)
        )
        # Eight passes over few rows in the order of their classes are not enough to converge.
        assert accuracy > expected_accuracy - (0.2 if scaling in ("l2", "standard_l2") else 0.1)


def test_constant_features_give_a_finite_model(rows: TrainRows, tmp_path: Path) -> None:
    constant = TrainRows(np.zeros_like(rows.x[::10]), rows.targets.take(np.arange(0, 3000, 10)))
    stored_rows, n = store_rows(tmp_path, constant), len(constant)
    data = OutOfCoreData(stored_rows, constant.targets.y, None, np.ones((1, n), dtype=bool), 3)
    for scaling in ("none", "standard", "l2", "standard_l2"):
        (model,) = head_for("logreg", constant).fit_out_of_core({"scaling": scaling, "alpha": 1e-4}, data)
        assert np.isfinite(model.predict_proba(constant.x)).all()
