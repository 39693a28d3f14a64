"""Fitting one setting of a head, and its outputs for rows that it was not fitted on."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline

from featx.heads.calibration import METHODS, ClassifierOutputs, add_calibration, choose_calibration
from featx.heads.decisions import add_decision_rule, divide_by_class_weights
from featx.heads.folds import TrainingData, TrainRows, n_calibration_folds
from featx.heads.head_definition import Head
from featx.heads.learning_problems import PROBLEMS
from featx.heads.pair_margins import PairMachine, add_class_probabilities, is_pair_machine
from featx.heads.scaling import Params, is_scaling_learnt
from featx.parallel.threads import run_side_by_side, single_threaded
from featx.specs.head import Calibration, HeadSpec
from featx.tables.ids import Floats

# A fit copies its rows once for the fold, and once scaled, which may be in double precision.
COPIES_PER_FIT = 4
# Bytes that all fits that run in parallel may copy.
MAX_FIT_BYTES = 4e9


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of a head for rows that it was not fitted on.

    Attributes
    ----------
    outputs
        (n, k) calibrated probabilities, each row's by a calibration fitted without its fold; or (n, t) numbers.
    fold_numbers
        (n,) the fold that held the row out.
    method
        Calibration method of the outputs.
    log_losses
        Cross-fitted log loss of each method that was tried, in nats.
    """

    outputs: Floats
    fold_numbers: NDArray[np.int64]
    method: Calibration
    log_losses: dict[Calibration, float]


@single_threaded()
def fit_pipeline(head: Head, params: Params, rows: TrainRows, method: Calibration, spec: HeadSpec) -> Pipeline:
    """Return a Pipeline of one setting fitted on `rows` and calibrated by a method; ``none`` leaves its outputs as are.

    The outputs that calibration is fitted on come from folds within `rows`: as many as `spec` names, or fewer if a
    class or the groups do not allow so many. Trials scored by probabilities need this. Scaling is fitted on all rows.
    """
    pipeline = head.build(params)
    if method != "none":
        replace_estimator(pipeline, lambda clf: _unfitted_calibrated(clf, METHODS[method], rows, spec))
    x, y, weights = _fit_arguments(pipeline, rows, in_double=method != "none" or head.is_fitted_in_double)
    with ignore_convergence_warnings():
        return _finish_model(pipeline.fit(x, y, **weights))


def remove_class_weights(rows: TrainRows, model: Pipeline, head: Head) -> Pipeline:
    """Return a fitted model whose own probabilities, if it has some, are divided by the class weights of its rows."""
    weights = rows.class_weights
    if weights is not None and not head.needs_calibration:
        replace_estimator(model, lambda clf: divide_by_class_weights(clf, weights))
    return model


def replace_estimator(model: Pipeline, function: Callable[[Any], Any]) -> None:
    """Replace the last step of a Pipeline by a function of it."""
    name, estimator = model.steps[-1]
    model.steps[-1] = (name, function(estimator))


def calibrate(
    model: Pipeline, method: Calibration, outputs: ClassifierOutputs, data: TrainingData, rows: TrainRows
) -> None:
    """Calibrate a fitted model by held-out outputs, and make it predict classes by the class weights of its rows."""
    if method != "none":
        replace_estimator(model, lambda clf: add_calibration(clf, method, outputs, data))
    replace_estimator(model, lambda clf: add_decision_rule(clf, rows.decision_rule))


def _fit_arguments(
    pipeline: Pipeline, rows: TrainRows, *, in_double: bool
) -> tuple[NDArray[np.floating], NDArray[Any], dict[str, NDArray[np.float64]]]:
    """Return features, target values and weights of rows as a Pipeline is fitted to them.

    Features are in double precision for calibration, because scikit-learn calibrates in the precision of the features.
    """
    data = rows.training_data()
    weights = {} if data.weights is None else {f"{pipeline.steps[-1][0]}__sample_weight": data.weights}
    x = rows.x if rows.targets.shares is None else rows.x[data.row_numbers]
    y = PROBLEMS[rows.targets.kind].fit_values(data.y)
    return x.astype(np.float64) if in_double else x, y, weights


def _finish_model(model: Pipeline) -> Pipeline:
    """Return a fitted Pipeline, changed to predict in one thread, and with probabilities if it is a machine of pairs.

    A forest whose trees predict in several threads sums them in the order in which these finish, and written results
    must not depend on the number of cores.
    """
    if isinstance(getattr(model[-1], "n_jobs", None), int):
        model[-1].set_params(n_jobs=1)
    replace_estimator(model, add_class_probabilities)
    return model


@contextmanager
def ignore_convergence_warnings() -> Iterator[None]:
    """Ignore warnings of solvers that stop early: held-out scores judge that better.

    Python's warning filters apply to all threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _unfitted_calibrated(clf: Any, method: str, rows: TrainRows, spec: HeadSpec) -> Any:
    """Return an unfitted classifier that calibrates by folds of its own train rows."""
    data = rows.training_data()
    # Each label has folds of its own, unless groups must stay whole.
    if isinstance(clf, MultiOutputClassifier):
        min_class_rows = int(min(data.y.sum(0).min(), (1 - data.y).sum(0).min()))
        cv = _calibration_folds(rows, data, min_class_rows, spec)
        return MultiOutputClassifier(CalibratedClassifierCV(clf.estimator, method=method, ensemble=False, cv=cv))
    cv = _calibration_folds(rows, data, int(np.bincount(data.y).min()), spec)
    if is_pair_machine(clf, rows.targets.n_outputs):
        clf = PairMachine(clf)
    return CalibratedClassifierCV(clf, method=method, ensemble=False, cv=cv)


def _calibration_folds(rows: TrainRows, data: TrainingData, min_class_rows: int, spec: HeadSpec) -> Any:
    """Return folds for calibration, as many as the rarest class and the groups allow.

    A row whose label is soft occurs in several samples, which are all in the same fold.
    """
    n_folds = n_calibration_folds(rows, min_class_rows, spec)
    if rows.groups is None and rows.targets.shares is None:
        return StratifiedKFold(n_folds, shuffle=True, random_state=spec.seed)
    units = data.row_numbers if rows.groups is None else rows.groups[data.row_numbers]
    targets = replace(rows.targets, y=data.y, weights=None, shares=None)
    samples = TrainRows(rows.x[data.row_numbers, :1], targets, None, units)
    return samples.folds(n_folds, spec.seed)


@single_threaded()
def fit_out_of_fold(
    head: Head,
    params: Params,
    rows: TrainRows,
    spec: HeadSpec,
    report_progress: Callable[[int, int], None] = lambda _n_done, _n_fits: None,
) -> tuple[Pipeline, OutOfFold]:
    """Return a calibrated model fitted on all rows, and the prediction for each row by a model of the other folds.

    Parameters
    ----------
    report_progress
        Function called after each fit with the number of finished fits and of all fits.
    """
    fold_numbers, targets = rows.fold_numbers(spec.folds, spec.seed).astype(np.int64), rows.targets
    data = rows.calibration_data()

    def fit_uncalibrated(train_rows: TrainRows) -> Pipeline:
        return remove_class_weights(rows, fit_pipeline(head, params, train_rows, "none", spec), head)

    n_fits = spec.folds + 1
    outputs = _cross_fit(head, fit_uncalibrated, rows, fold_numbers, lambda n_done: report_progress(n_done, n_fits))
    model = remove_class_weights(rows, fit_pipeline(head, params, rows, "none", spec), head)
    report_progress(n_fits, n_fits)
    if targets.kind == "numbers":
        assert outputs.proba is not None
        return model, OutOfFold(outputs.proba, fold_numbers, "none", {})
    choice = choose_calibration(spec.calibration, outputs, targets, data, fold_numbers)
    calibration_outputs = outputs
    are_uncalibrated = outputs.are_decisions or head.needs_calibration
    if choice.method != "none" and are_uncalibrated and is_scaling_learnt(params):
        scaled_rows = replace(rows, x=model[:-1].transform(rows.x))
        calibration_outputs = _cross_fit_scaled(
            head,
            params,
            scaled_rows,
            fold_numbers,
            lambda n_done: report_progress(n_fits + n_done, n_fits + spec.folds),
        )
        if head.needs_calibration:
            choice = choose_calibration(spec.calibration, calibration_outputs, targets, data, fold_numbers)
            proba = choose_calibration(choice.method, outputs, targets, data, fold_numbers).proba
            choice = replace(choice, proba=proba)
    calibrate(model, choice.method, calibration_outputs, data, rows)
    return model, OutOfFold(choice.proba, fold_numbers, choice.method, choice.log_losses)


@single_threaded()
def fit_once(head: Head, params: Params, rows: TrainRows, spec: HeadSpec) -> Pipeline:
    """Return a model fitted on all rows with the head's own probabilities."""
    model = remove_class_weights(rows, fit_pipeline(head, params, rows, "none", spec), head)
    replace_estimator(model, lambda clf: add_decision_rule(clf, rows.decision_rule))
    return model


def _max_parallel_fits(head: Head, rows: TrainRows) -> int:
    """Return how many fits may run in parallel: one if a fit uses all cores, fewer if rows are large."""
    return max(1, int(MAX_FIT_BYTES / (COPIES_PER_FIT * rows.x.nbytes))) if head.is_single_threaded else 1


def _cross_fit(
    head: Head,
    fit: Callable[[TrainRows], Pipeline],
    rows: TrainRows,
    fold_numbers: NDArray[np.int64],
    report_progress: Callable[[int], None],
) -> ClassifierOutputs:
    """Return the outputs for each row of a model that is fitted on the other folds."""

    def fit_and_predict(fold: int) -> ClassifierOutputs:
        model = fit(rows.take(np.flatnonzero(fold_numbers != fold)))
        held_out = rows.take(np.flatnonzero(fold_numbers == fold))
        return PROBLEMS[rows.targets.kind].predict(model, held_out, head.needs_calibration)

    fold_outputs: list[ClassifierOutputs] = []
    folds = range(int(fold_numbers.max()) + 1)
    with ignore_convergence_warnings():
        for outputs in run_side_by_side(fit_and_predict, folds, at_once=_max_parallel_fits(head, rows)):
            fold_outputs.append(outputs)
            report_progress(len(fold_outputs))
    # Position of each row in the concatenation of the folds.
    order = np.argsort(np.argsort(fold_numbers, kind="stable"))

    def concatenate(arrays: list[Any]) -> Any:
        return None if arrays[0] is None else np.concatenate(arrays)[order]

    return ClassifierOutputs(
        concatenate([outputs.raw for outputs in fold_outputs]),
        fold_outputs[0].are_decisions,
        concatenate([outputs.proba for outputs in fold_outputs]),
        has_weighted_training=head.needs_calibration and rows.class_weights is not None,
    )


def _cross_fit_scaled(
    head: Head,
    params: Params,
    rows: TrainRows,
    fold_numbers: NDArray[np.int64],
    report_progress: Callable[[int], None],
) -> ClassifierOutputs:
    """Return the outputs for each row of models of the other folds, for rows that have the scaling of the final model.

    The calibration of the final model is fitted on them. A fold that fits its own scaling may give a row, one of whose
    features hardly varies elsewhere, a decision hundreds of times as large.
    """

    def fit(train_rows: TrainRows) -> Pipeline:
        pipeline = Pipeline([("scale", "passthrough"), head.build(params).steps[-1]])
        x, y, weights = _fit_arguments(pipeline, train_rows, in_double=head.is_fitted_in_double)
        with ignore_convergence_warnings():
            return _finish_model(pipeline.fit(x, y, **weights))

    return _cross_fit(head, fit, rows, fold_numbers, report_progress)
