"""Fit one setting of a head, and answer for rows that it did not see."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline

from featx.answering import answers_of
from featx.facts import Facts
from featx.heads.models import Head
from featx.heads.rows import Lessons, TrainRows
from featx.heads.scaling import Params
from featx.specs import HeadSpec

CALIBRATION_FOLDS = 5


def fitted(head: Head, params: Params, rows: TrainRows, *, probabilities: bool, seed: int) -> Pipeline:
    """Fit one setting on `rows`; with `probabilities`, calibrated where the head needs it."""
    pipeline = head.build(params)
    lessons = rows.lessons()
    if probabilities and head.calibrated and rows.facts.kind != "numbers":
        name, clf = pipeline.steps[-1]
        pipeline.steps[-1] = (name, _calibrated(clf, rows, lessons, seed))
    weights = {} if lessons.weights is None else {f"{pipeline.steps[-1][0]}__sample_weight": lessons.weights}
    y = lessons.y[:, 0] if rows.facts.kind == "numbers" and lessons.y.shape[1] == 1 else lessons.y
    x = rows.x if rows.facts.shares is None else rows.x[lessons.at]
    with early_stops_allowed():
        return pipeline.fit(x, y, **weights)


@contextmanager
def early_stops_allowed() -> Iterator[None]:
    """Say nothing of solvers that stop early: held-out scores judge that better. Python's filters are all threads'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _calibrated(clf: Any, rows: TrainRows, lessons: Lessons, seed: int) -> Any:
    """Return a classifier with probabilities, by folds of the lessons that it is fitted on."""
    if isinstance(clf, MultiOutputClassifier):  # each label has folds of its own, unless groups must stay whole
        rarest = int(min(lessons.y.sum(0).min(), (1 - lessons.y).sum(0).min()))
        cv = _folds_within(rows, lessons, rarest, seed)
        return MultiOutputClassifier(CalibratedClassifierCV(clf.estimator, ensemble=False, cv=cv))
    rarest = int(np.bincount(lessons.y).min())
    return CalibratedClassifierCV(clf, ensemble=False, cv=_folds_within(rows, lessons, rarest, seed))


def _folds_within(rows: TrainRows, lessons: Lessons, rarest: int, seed: int) -> Any:
    """Return folds for calibration, as many as the rarest class and the groups allow.

    A row whose label is soft stands in several lessons; all of them are on one side.
    """
    n_folds = min(CALIBRATION_FOLDS, rarest)
    if rows.groups is None and rows.facts.shares is None:
        return StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    units = lessons.at if rows.groups is None else rows.groups[lessons.at]
    facts = Facts(rows.facts.kind, rows.facts.names, lessons.y)
    return TrainRows(rows.x[lessons.at, :1], facts, None, units).folds(min(n_folds, len(np.unique(units))), seed)


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
        return answers_of(model, rows.x, kind)
    scaled = model[:-1].transform(rows.x)
    each = [one.decision_function(scaled) for one in model[-1].estimators_]
    return np.asarray(expit(np.stack(each, axis=1)))


def out_of_fold(
    head: Head, params: Params, rows: TrainRows, spec: HeadSpec
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the answers for every train row by a model that did not see it, and the fold of each row."""
    found = np.empty((len(rows), rows.facts.n_outputs))
    fold_of = np.empty(len(rows), dtype=np.int64)
    for number, (train, held_out) in enumerate(rows.folds(spec.folds, spec.seed)):
        model = fitted(head, params, rows.take(train), probabilities=True, seed=spec.seed)
        found[held_out] = answers_of(model, rows.x[held_out], rows.facts.kind)
        fold_of[held_out] = number
    return found, fold_of
