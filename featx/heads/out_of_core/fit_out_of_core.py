"""Fitting of a head whose train rows do not fit in memory, after its setting was searched on a sample of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from featx.artifacts.outputs import predict_outputs
from featx.heads.calibration import ClassifierOutputs, choose_calibration
from featx.heads.fitting import OutOfFold, calibrate, remove_class_weights
from featx.heads.folds import TrainingData, TrainRows
from featx.heads.head_definition import Head
from featx.heads.out_of_core.estimators import OutOfCoreData, release_memory
from featx.heads.out_of_core.stored_rows import StoredRows
from featx.heads.scaling import Params
from featx.parallel.threads import single_threaded
from featx.progress import ProgressCallback
from featx.specs.head import HeadSpec
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

# A calibration has two parameters or a few steps; more rows of a class would not change it.
MAX_CALIBRATION_ROWS_PER_CLASS = 50_000


@single_threaded()
def fit_stored_rows(
    head: Head,
    params: Params,
    rows: tuple[Callable[[], StoredRows], TrainRows],
    spec: HeadSpec,
    progress: ProgressCallback,
) -> tuple[Pipeline, OutOfFold]:
    """Return a calibrated model fitted on all rows, and the prediction for each row by a model of the other folds.

    Parameters
    ----------
    rows
        Function that opens the vectors in the store, whose index is freed before calibration needs memory; and the
        target values, weights and groups of the same rows, whose features are not used.
    """
    open_rows, train_rows = rows
    stored_rows = open_rows()
    assert head.fit_out_of_core is not None
    fold_numbers = train_rows.fold_numbers(spec.folds, spec.seed)
    sets = fold_numbers != np.arange(spec.folds + 1)[:, None]
    progress(f"fit {spec.name}", 0, 2)
    targets = train_rows.targets
    data = OutOfCoreData(stored_rows, targets.y, train_rows.training_data().weights, sets, targets.n_outputs)
    models = head.fit_out_of_core(params, data)
    *fold_models, model = (remove_class_weights(train_rows, fitted_model, head) for fitted_model in models)
    progress(f"fit {spec.name}", 1, 2)
    outputs = _predict_held_out(fold_models, stored_rows, targets, fold_numbers, head.needs_calibration)
    outputs = replace(outputs, has_weighted_training=head.needs_calibration and train_rows.class_weights is not None)
    del stored_rows, data, sets
    release_memory()
    sample = sample_for_calibration(train_rows.calibration_data(), spec.seed)
    choice = choose_calibration(spec.calibration, outputs, targets, sample, fold_numbers)
    calibrate(model, choice.method, outputs, sample, train_rows)
    progress(f"fit {spec.name}", 2, 2)
    return model, OutOfFold(choice.proba, fold_numbers.astype(np.int64), choice.method, choice.log_losses)


def sample_for_calibration(data: TrainingData, seed: int) -> TrainingData:
    """Return a sample of each class, weighted so that it represents all rows of the class."""
    rng, counts = np.random.default_rng(seed), np.bincount(data.y)
    limit = MAX_CALIBRATION_ROWS_PER_CLASS
    if counts.max() <= limit:
        return data
    class_samples = [rng.permutation(np.flatnonzero(data.y == code))[:limit] for code in range(len(counts))]
    sample = np.sort(np.concatenate(class_samples))
    weights = (counts / np.minimum(counts, limit))[data.y[sample]]
    if data.weights is not None:
        weights = weights * data.weights[sample]
    return TrainingData(data.row_numbers[sample], data.y[sample], weights)


def _predict_held_out(
    models: Sequence[Pipeline],
    stored_rows: StoredRows,
    targets: TargetValues,
    fold_numbers: NDArray[np.integer],
    lacks_probabilities: bool,
) -> ClassifierOutputs:
    """Return the outputs for each row of the model that was fitted without it, in one pass."""
    k = targets.n_outputs
    has_decisions = hasattr(models[0], "decision_function")
    raw_outputs = np.empty((len(stored_rows), 1 if k == 2 else k)) if has_decisions else None
    proba = None if lacks_probabilities else np.empty((len(stored_rows), k))
    for row_numbers, x in stored_rows.blocks():
        for fold, model in enumerate(models):
            fold_mask = fold_numbers[row_numbers] == fold
            if fold_mask.any():
                rows = row_numbers[fold_mask]
                if raw_outputs is not None:
                    raw_outputs[rows] = model.decision_function(x[fold_mask]).reshape(len(rows), -1)
                if proba is not None:
                    proba[rows] = predict_outputs(model, x[fold_mask], "classes")
    return ClassifierOutputs(proba if raw_outputs is None else raw_outputs, has_decisions, proba)


def predict_in_blocks(model: Pipeline, stored_rows: StoredRows) -> Floats:
    """Return (n, k) probabilities of all rows, computed block by block."""
    proba = np.empty((len(stored_rows), len(model.classes_)))
    for row_numbers, x in stored_rows.blocks():
        proba[row_numbers] = predict_outputs(model, x, "classes")
    return proba
