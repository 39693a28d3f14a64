"""Fit one setting of a head, and answer for rows that it did not see."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline

from featx.artifacts.outputs import predict_outputs
from featx.heads.builtin import Head
from featx.heads.calibration import METHODS, Outputs, calibrate, with_calibration
from featx.heads.decisions import with_decision, without_class_weights
from featx.heads.folds import TrainingData, TrainRows
from featx.heads.scaling import Params, is_learnt
from featx.parallel.threads import run_side_by_side, single_threaded
from featx.specs.head import Calibration, HeadSpec
from featx.tables.target_values import TargetValues

COPIES_OF_A_FIT = 4  # A fit copies its rows once for the fold, and once scaled, which may be in double.
MAX_FIT_BYTES = 4e9  # All fits that run beside each other may copy as much.


@dataclass(frozen=True)
class OutOfFold:
    """What a head says of rows that it did not learn from.

    Attributes
    ----------
    answers
        (n, k) calibrated probabilities, each row's by a calibration that its fold took no part in; or numbers.
    fold_of
        (n,) the fold that held the row out.
    method
        How outputs became probabilities.
    log_losses
        Of each method that could have been chosen, in nats.
    """

    answers: NDArray[np.float64]
    fold_of: NDArray[np.int64]
    method: Calibration
    log_losses: dict[Calibration, float]


@single_threaded()
def fitted(head: Head, params: Params, rows: TrainRows, method: Calibration, spec: HeadSpec) -> Pipeline:
    """Fit one setting on `rows`, its outputs made into probabilities by a method; ``none``: as they are.

    Outputs to calibrate by come from folds within `rows`, as trials need that are scored by probabilities: as many as
    `spec` says, or fewer where a class or the groups do not allow so many. Scaling is learnt from all rows.
    """
    pipeline = head.build(params)
    if method != "none":
        name, clf = pipeline.steps[-1]
        pipeline.steps[-1] = (name, _calibrated(clf, METHODS[method], rows, rows.lessons(), spec))
    return _taught(pipeline, rows, in_double=method != "none" or head.calibrated)


def without_weights_of(rows: TrainRows, model: Pipeline, head: Head) -> Pipeline:
    """Return a fitted model whose own probabilities, where it has some, are without the class weights of its rows."""
    if rows.class_weights is not None and not head.calibrated:
        name, clf = model.steps[-1]
        model.steps[-1] = (name, without_class_weights(clf, rows.class_weights))
    return model


def decide_by_rule(model: Pipeline, rows: TrainRows) -> None:
    """Make a fitted model decide for a class by the class weights of its rows."""
    name, clf = model.steps[-1]
    model.steps[-1] = (name, with_decision(clf, rows.decision))


def _taught(pipeline: Pipeline, rows: TrainRows, *, in_double: bool) -> Pipeline:
    """Fit a Pipeline on rows, in double where it is calibrated: scikit-learn does so in the precision of features."""
    lessons = rows.lessons()
    weights = {} if lessons.weights is None else {f"{pipeline.steps[-1][0]}__sample_weight": lessons.weights}
    y = lessons.y[:, 0] if rows.facts.kind == "numbers" and lessons.y.shape[1] == 1 else lessons.y
    x = rows.x if rows.facts.shares is None else rows.x[lessons.at]
    if in_double:
        x = x.astype(np.float64)
    with early_stops_allowed():
        return with_one_job(pipeline.fit(x, y, **weights))


def with_one_job(model: Pipeline) -> Pipeline:
    """Make a fitted Pipeline answer in one thread: what is written is the same on any number of cores.

    A forest whose trees answer in several threads adds them in the order in which these are finished.
    """
    if isinstance(getattr(model[-1], "n_jobs", None), int):
        model[-1].set_params(n_jobs=1)
    return model


@contextmanager
def early_stops_allowed() -> Iterator[None]:
    """Say nothing of solvers that stop early: held-out scores judge that better. Python's filters are all threads'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _calibrated(clf: Any, method: str, rows: TrainRows, lessons: TrainingData, spec: HeadSpec) -> Any:
    """Return a classifier with probabilities, by folds of the lessons that it is fitted on."""
    if isinstance(clf, MultiOutputClassifier):  # each label has folds of its own, unless groups must stay whole
        rarest = int(min(lessons.y.sum(0).min(), (1 - lessons.y).sum(0).min()))
        cv = _folds_within(rows, lessons, rarest, spec)
        return MultiOutputClassifier(CalibratedClassifierCV(clf.estimator, method=method, ensemble=False, cv=cv))
    rarest = int(np.bincount(lessons.y).min())
    cv = _folds_within(rows, lessons, rarest, spec)
    return CalibratedClassifierCV(clf, method=method, ensemble=False, cv=cv)


def _folds_within(rows: TrainRows, lessons: TrainingData, rarest: int, spec: HeadSpec) -> Any:
    """Return folds for calibration, as many as the rarest class and the groups allow.

    A row whose label is soft stands in several lessons; all of them are on one side.
    """
    n_folds = min(spec.folds, rarest)
    if rows.groups is None and rows.facts.shares is None:
        return StratifiedKFold(n_folds, shuffle=True, random_state=spec.seed)
    units = lessons.at if rows.groups is None else rows.groups[lessons.at]
    facts = TargetValues(rows.facts.kind, rows.facts.names, lessons.y)
    return TrainRows(rows.x[lessons.at, :1], facts, None, units).folds(min(n_folds, len(np.unique(units))), spec.seed)


def decisions(model: Pipeline, rows: TrainRows) -> NDArray[np.float64]:
    """Return answers that rank as probabilities do, from an estimator that may have none.

    Returns
    -------
    array
        (n, k) with a 1 for the class that is guessed; (n, t) numbers in [0, 1], a half where a label is undecided;
        or (n, t) numbers.
    """
    kind = rows.facts.kind
    if kind == "classes":
        return np.asarray(np.eye(rows.facts.n_outputs)[model.predict(rows.x)])
    if kind == "numbers" or hasattr(model, "predict_proba"):
        return predict_outputs(model, rows.x, kind)
    return np.asarray(expit(_of_labels(model, rows)))


@single_threaded()
def learnt_in_folds(
    head: Head,
    params: Params,
    rows: TrainRows,
    spec: HeadSpec,
    after: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[Pipeline, OutOfFold]:
    """Return the model of all rows, calibrated, and what models of the other folds say of each row.

    Parameters
    ----------
    after
        Told how many fits are done, and of how many.
    """
    fold_of, facts = rows.fold_of(spec.folds, spec.seed).astype(np.int64), rows.facts
    lessons = rows.calibration_lessons()
    by = facts, lessons, fold_of

    def learnt(learn: TrainRows) -> Pipeline:
        return without_weights_of(rows, fitted(head, params, learn, "none", spec), head)

    outputs = _of_others(head, learnt, rows, fold_of, lambda done: after(done, spec.folds + 1))
    model = learnt(rows)
    after(spec.folds + 1, spec.folds + 1)
    if facts.kind == "numbers":
        assert outputs.proba is not None
        return model, OutOfFold(outputs.proba, fold_of, "none", {})
    choice, alike = calibrate(spec.calibration, outputs, *by), outputs
    if choice.method != "none" and outputs.are_decisions and is_learnt(params):
        more = spec.folds + 1
        alike = _scaled_alike(head, model, rows, fold_of, lambda done: after(more + done, more + spec.folds))
        if head.calibrated:
            better = calibrate(spec.calibration, alike, *by)
            choice = replace(better, proba=calibrate(better.method, outputs, *by).proba)
    if choice.method != "none":
        name, clf = model.steps[-1]
        model.steps[-1] = (name, with_calibration(clf, choice.method, alike, lessons))
    decide_by_rule(model, rows)
    return model, OutOfFold(choice.proba, fold_of, choice.method, choice.log_losses)


def _fits_at_once(head: Head, rows: TrainRows) -> int:
    """Return how many fits may run beside each other: one where a fit uses all cores, fewer where rows are large."""
    return max(1, int(MAX_FIT_BYTES / (COPIES_OF_A_FIT * rows.x.nbytes))) if head.one_thread else 1


def _of_others(
    head: Head,
    learnt: Callable[[TrainRows], Pipeline],
    rows: TrainRows,
    fold_of: NDArray[np.int64],
    after: Callable[[int], None],
) -> Outputs:
    """Return what is said of each row by a model of the other folds' rows."""

    def of_fold(number: int) -> Outputs:
        model = learnt(rows.take(np.flatnonzero(fold_of != number)))
        return _outputs(model, rows.take(np.flatnonzero(fold_of == number)), head.calibrated)

    each = []
    with early_stops_allowed():
        for outputs in run_side_by_side(of_fold, range(int(fold_of.max()) + 1), at_once=_fits_at_once(head, rows)):
            each.append(outputs)
            after(len(each))
    order = np.argsort(np.argsort(fold_of, kind="stable"))  # where each row is among the folds' one after another

    def joined(parts: list[Any]) -> Any:
        return None if parts[0] is None else np.concatenate(parts)[order]

    return Outputs(joined([one.raw for one in each]), each[0].are_decisions, joined([one.proba for one in each]))


def _scaled_alike(
    head: Head, model: Pipeline, rows: TrainRows, fold_of: NDArray[np.int64], after: Callable[[int], None]
) -> Outputs:
    """Return what models of the other folds say of each row, all behind the scaling of the final model.

    They are what that one's calibration is learnt from. A fold that learns its own scaling may give a row, one of whose
    features hardly varies elsewhere, a decision hundreds of times as large.
    """
    name, clf = model.steps[-1]

    def learnt(learn: TrainRows) -> Pipeline:
        return _taught(Pipeline([("scale", "passthrough"), (name, clone(clf))]), learn, in_double=head.calibrated)

    return _of_others(head, learnt, replace(rows, x=model[:-1].transform(rows.x)), fold_of, after)


def _outputs(model: Pipeline, rows: TrainRows, lacks_probabilities: bool) -> Outputs:
    """Return what a fitted head says of rows: of numbers, these in the place of probabilities."""
    kind, decides = rows.facts.kind, hasattr(model, "decision_function")
    if kind == "numbers":
        return Outputs(None, False, predict_outputs(model, rows.x, kind))
    proba = None if lacks_probabilities else predict_outputs(model, rows.x, kind)
    if kind == "classes":
        raw = model.decision_function(rows.x).reshape(len(rows), -1).astype(np.float64) if decides else proba
        return Outputs(raw, decides, proba)
    if not isinstance(model[-1], MultiOutputClassifier):
        return Outputs(None, False, proba)
    return Outputs(_of_labels(model, rows), True, proba)


def _of_labels(model: Pipeline, rows: TrainRows) -> NDArray[np.float64]:
    """Return (n, t) decision values of the labels' estimators."""
    scaled = model[:-1].transform(rows.x)
    return np.stack([one.decision_function(scaled) for one in model[-1].estimators_], axis=1).astype(np.float64)
