"""Heads whose rows stay in the store: what they learn in passes is what they would have learnt in memory."""

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
from featx.heads.builtin import Head, HeadTask
from featx.heads.calibration import Outputs, calibrate
from featx.heads.fitting import learnt_in_folds
from featx.heads.folds import TrainingData, TrainRows
from featx.heads.out_of_core import fit_out_of_core
from featx.heads.out_of_core.estimators import Course
from featx.heads.out_of_core.fit_out_of_core import (
    CALIBRATED_BY,
    answered_in_blocks,
    learnt_in_passes,
    standing_for_all,
)
from featx.heads.out_of_core.stored_rows import StoredRows
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.embedding import EmbeddingSpec, Preprocessing
from featx.specs.head import HeadSpec
from featx.storage.store import EmbeddingStore
from featx.tables.target_values import TargetValues

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
    """3,000 rows of three classes, those of a class together."""
    x, y = make_classification(3000, 20, n_informative=12, n_redundant=2, n_classes=3, random_state=0, shuffle=False)
    return TrainRows(x.astype(np.float32) * 3 + 5, TargetValues("classes", ("a", "b", "c"), y))


def stored(folder: Path, rows: TrainRows, *, in_order: bool = False) -> StoredRows:
    """Write rows into two stores, half of the columns in each, in several segments and by default in another order."""
    digests = [f"{number:032x}" for number in range(len(rows))]
    order = np.arange(len(rows)) if in_order else np.random.default_rng(0).permutation(len(rows))
    stores = []
    for number, columns in enumerate((slice(0, 8), slice(8, 20))):
        x = rows.x[:, columns]
        store = EmbeddingStore(folder / f"{number}.zarr", SPEC, x.shape[1])
        for some in np.array_split(order, 4):
            store.add([digests[at] for at in some], x[some], 8, {})
        stores.append(store)
    return StoredRows(stores, digests)


def head_for(name: str, rows: TrainRows) -> Head:
    solver = "sklearn" if name == "xgboost" else "minibatch"
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, 3, 0, "classes", solver))
    return head


def test_stored_rows_are_those_that_were_stored_however_they_are_read(rows: TrainRows, tmp_path: Path) -> None:
    found = stored(tmp_path, rows)
    assert (found.x(np.array([7, 3])) == rows.x[[7, 3]]).all()
    for blocks in (found.blocks(), found.shuffled(np.random.default_rng(0))):
        x = np.full_like(rows.x, np.nan)
        for at, some in blocks:
            assert np.isnan(x[at]).all()
            x[at] = some
        assert (x == rows.x).all()


@pytest.mark.parametrize("name", PARAMS)
def test_what_is_learnt_in_passes_is_as_good_as_in_memory(name: str, rows: TrainRows, tmp_path: Path) -> None:
    head, spec = head_for(name, rows), HeadSpec(name=name, folds=3)
    source = stored(tmp_path, rows)
    shadow = TrainRows(np.zeros((len(rows), 1), np.float32), rows.facts)

    model, unseen = learnt_in_passes(head, PARAMS[name], (lambda: source, shadow), spec, no_progress)

    _, inside = learnt_in_folds(head, PARAMS[name], rows, spec)
    accuracy, expected = ((one.answers.argmax(1) == rows.facts.y).mean() for one in (unseen, inside))
    assert accuracy > 0.6
    assert abs(accuracy - expected) < 0.02
    assert (unseen.fold_of == inside.fold_of).all()
    assert min(unseen.log_losses.values()) < min(inside.log_losses.values()) + 0.03
    assert isinstance(model, Pipeline)
    proba = answered_in_blocks(model, source)
    np.testing.assert_allclose(proba, model.predict_proba(rows.x), atol=1e-6)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    assert isinstance(model[-1], CalibratedClassifierCV) == (unseen.method != "none")
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", PARAMS)
def test_class_weights_of_rows_in_passes_change_decisions_and_not_probabilities(
    name: str, rows: TrainRows, tmp_path: Path
) -> None:
    head, spec = head_for(name, rows), HeadSpec(name=name, folds=3)
    source, weights = stored(tmp_path, rows), np.array([0.4, 0.6, 2.0])
    shadow = TrainRows(np.zeros((len(rows), 1), np.float32), rows.facts, class_weights=weights)

    model, unseen = learnt_in_passes(head, PARAMS[name], (lambda: source, shadow), spec, no_progress)

    shares = np.bincount(rows.facts.y) / len(rows)
    assert unseen.answers.mean(0) == pytest.approx(shares, abs=0.04)
    proba = answered_in_blocks(model, source)
    assert model.predict(rows.x).tolist() == (proba * weights).argmax(1).tolist()


@pytest.mark.parametrize("name", PARAMS)
def test_a_fit_beyond_its_memory_leaves_a_run_like_any_other(name: str, toy_home: Path) -> None:
    featx.extract()
    (run,) = featx.fit(heads=HeadSpec(name=name, trials=2, folds=3, memory_gb=1e-9))
    assert run.oof_accuracy is not None
    assert run.oof_accuracy > 0.8
    path = Path(run.path)
    load_head(path, read_header(path)[1])
    assert featx.predict([Path("images/dark/001.png")])
    (again,) = featx.fit(heads=HeadSpec(name=name, trials=2, folds=3, memory_gb=1e-9))
    assert not again.made
    (other,) = featx.fit(heads=HeadSpec(name=name, trials=2, folds=3, memory_gb=1.0))
    assert other.run != run.run


def test_rows_that_stand_for_all_weigh_as_much_as_all_and_rare_classes_are_whole() -> None:
    y = np.repeat([0, 1, 2], [CALIBRATED_BY * 3, 4, CALIBRATED_BY + 1])
    weights = np.linspace(0.5, 1.5, len(y))
    chosen = standing_for_all(TrainingData(np.arange(len(y)), y, weights), 0)
    assert (y[chosen.at] == chosen.y).all()
    assert len(np.unique(chosen.at)) == 2 * CALIBRATED_BY + 4
    assert chosen.weights is not None
    (rare,) = np.nonzero(chosen.y == 1)
    np.testing.assert_array_equal(chosen.weights[rare], weights[chosen.at[rare]])
    sums = [np.bincount(one, by) for one, by in ((y, weights), (chosen.y, chosen.weights))]
    np.testing.assert_allclose(sums[0], sums[1], rtol=0.01)


def test_calibration_by_some_rows_is_what_all_rows_say(rows: TrainRows, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, head = HeadSpec(name="xgboost", folds=3), head_for("xgboost", rows)
    _, outputs = learnt_in_folds(head, PARAMS["xgboost"], rows, spec)
    said = Outputs(outputs.answers, False, outputs.answers)
    whole = calibrate("platt", said, rows.facts, rows.lessons(), outputs.fold_of)
    monkeypatch.setattr(fit_out_of_core, "CALIBRATED_BY", 500)
    some = calibrate("platt", said, rows.facts, standing_for_all(rows.lessons(), 0), outputs.fold_of)
    np.testing.assert_allclose(some.proba, whole.proba, atol=0.1)
    assert some.log_losses["platt"] == pytest.approx(whole.log_losses["platt"], abs=0.01)
    assert (some.proba != whole.proba).any()


def test_a_head_that_cannot_learn_in_passes_says_so(toy_home: Path) -> None:
    featx.extract()
    with pytest.raises(
        UnsuitedError, match="head 'rf' has more rows than memory_gb = 1e-09, and cannot learn in passes"
    ):
        featx.fit(heads=HeadSpec(name="rf", trials=2, folds=3, memory_gb=1e-9))


@pytest.mark.parametrize("scaling", ["none", "standard", "l2"])
def test_blocks_may_be_held_out_whole_and_hold_one_class(
    scaling: str, rows: TrainRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 32 rows, the last one of a single row, a set that leaves out whole blocks, rows of weight 0."""
    monkeypatch.setattr(StoredRows, "_rows_in", lambda _rows, _n_bytes: 32)
    few = rows.take(np.arange(0, 2 * 32 * 23 + 2, 2))  # 737 rows, those of a class together
    source, n = stored(tmp_path, few, in_order=True), len(few)
    sizes = [len(at) for at, _ in source.blocks()]
    assert sizes[-1] == 1
    assert any(len(np.unique(few.facts.y[at])) == 1 for at, _ in source.blocks())
    order = np.concatenate([at for at, _ in source.blocks()])
    sets = np.ones((3, n), dtype=bool)
    sets[0, order[:96]] = False  # three whole blocks, the first one among them
    sets[1, order[-33:]] = False  # the last two
    weights = np.where(np.arange(n) % 5 == 0, 0.0, 1.0)
    course = Course(source, few.facts.y, weights, sets, 3)
    head = HEADS.get("logreg")(HeadTask(n, 20, 3, 0, "classes", "minibatch"))

    models = head.in_passes({"scaling": scaling, "alpha": 1e-4}, course)

    for model, mine in zip(models, sets, strict=True):
        if scaling == "standard":
            expected = StandardScaler().fit(few.x[mine])
            np.testing.assert_allclose(model[0].mean_, expected.mean_, rtol=1e-5)
            np.testing.assert_allclose(model[0].scale_, expected.scale_, rtol=1e-5)
        assert model.n_features_in_ == 20
        in_memory = head.build({"scaling": scaling, "alpha": 1e-4}).fit(
            few.x[mine], few.facts.y[mine], clf__sample_weight=weights[mine]
        )
        ours, theirs = ((one.predict(few.x) == few.facts.y).mean() for one in (model, in_memory))
        assert ours > theirs - (0.2 if scaling == "l2" else 0.1)  # eight passes over few rows, class by class


def test_features_that_do_not_vary_leave_a_finite_model(rows: TrainRows, tmp_path: Path) -> None:
    constant = TrainRows(np.zeros_like(rows.x[::10]), rows.facts.take(np.arange(0, 3000, 10)))
    source, n = stored(tmp_path, constant), len(constant)
    course = Course(source, constant.facts.y, None, np.ones((1, n), dtype=bool), 3)
    for scaling in ("none", "standard", "l2"):
        (model,) = head_for("logreg", constant).in_passes({"scaling": scaling, "alpha": 1e-4}, course)
        assert np.isfinite(model.predict_proba(constant.x)).all()
