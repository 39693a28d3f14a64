"""How a classifier's outputs become probabilities: chosen by cross-fitting over the folds of the search.

What is chosen from are Platt's sigmoid [1]_, isotonic regression [2]_ and temperature scaling [3]_, all scikit-learn's,
and the classifier's own probabilities where it has some.

References
----------
.. [1] J. Platt, Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers 1999.
.. [2] B. Zadrozny, C. Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
.. [3] C. Guo et al., On calibration of modern neural networks, ICML 2017.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.multioutput import MultiOutputClassifier

from featx.heads.folds import TrainingData
from featx.metrics.row_scores import log_losses
from featx.parallel.threads import single_threaded
from featx.specs.head import Calibration
from featx.tables.target_values import TargetValues

METHODS: dict[Calibration, str] = {"platt": "sigmoid", "isotonic": "isotonic", "temperature": "temperature"}
ENOUGH_FOR_STEPS = 1000  # rows; isotonic regression follows the noise of fewer
FAR = 3  # times the spread of the inner 98 % of decisions: beyond it all are equally sure
LEAST_SLOPE = 1e-6  # of a sigmoid, in log-odds over the range of the decisions: enough to keep their order
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outputs:
    """What a classifier says of n rows that it did not learn from.

    Attributes
    ----------
    raw
        What calibration starts from: (n, k) or (n, 1) decision values of classes, (n, t) of labels; or probabilities.
        None where labels are answered all at once: they cannot be calibrated one by one.
    are_decisions
        Whether `raw` are decision values.
    proba
        (n, k) or (n, t) its own probabilities; None where it has none.
    """

    raw: Floats | None
    are_decisions: bool
    proba: Floats | None


@dataclass(frozen=True)
class Calibrated:
    """A choice, and what it gives.

    Attributes
    ----------
    method
        That was chosen.
    log_losses
        Of each method, cross-fitted, in nats.
    proba
        (n, k) or (n, t) by the chosen one, each row's by a calibration that its fold took no part in.
    """

    method: Calibration
    log_losses: dict[Calibration, float]
    proba: Floats


class _Said(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose input is what another one answered."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)

    def fit(self, _x: Floats, _y: NDArray[np.int64], sample_weight: Floats | None = None) -> "_Said":
        return self

    def predict(self, x: Floats) -> NDArray[np.int64]:
        return np.asarray(x.argmax(1) if x.shape[1] > 1 else x[:, 0] > 0, dtype=np.int64)


class _Decided(_Said):
    def decision_function(self, x: Floats) -> Floats:
        return x[:, 0] if x.shape[1] == 1 else x


class _Estimated(_Said):
    def predict_proba(self, x: Floats) -> Floats:
        return x


@single_threaded()
def calibrate(
    asked: Calibration, outputs: Outputs, facts: TargetValues, lessons: TrainingData, fold_of: NDArray[np.integer]
) -> Calibrated:
    """Choose a method, or take the one that is asked for.

    Parameters
    ----------
    outputs
        Of each row, by a model that its fold took no part in.
    fold_of
        (n,) the fold that held each row out.

    Notes
    -----
    The method with the least log loss is chosen; isotonic regression, which follows noise more closely than the others,
    only where it is better by more than a standard error of the difference. It has to be asked for with fewer than 1000
    rows, and temperature scaling for decisions between two: Platt's sigmoid has the same slope, and an offset. Where
    there are probabilities only, the sigmoid is one of these, but temperatures divide their log-odds.
    """
    found: dict[Calibration, Floats] = {} if outputs.proba is None else {"none": outputs.proba}
    if outputs.raw is not None:
        wanted = _worth_trying(facts, outputs) if asked == "auto" else [asked] if asked in METHODS else []
        found |= {method: _cross_fitted(method, outputs, facts, lessons, fold_of) for method in wanted}
    losses = {method: log_losses(facts, proba) for method, proba in found.items()}
    means = {method: float(np.average(each, weights=facts.weights)) for method, each in losses.items()}
    method = min(means.keys() - {"isotonic"}, key=lambda name: means[name]) if asked == "auto" else asked
    if asked == "auto" and "isotonic" in losses:
        gain = losses[method] - losses["isotonic"]
        if np.average(gain, weights=facts.weights) > gain.std() / np.sqrt(len(gain)):
            method = "isotonic"
    return Calibrated(method, means, found[method])


@single_threaded()
def with_calibration(estimator: Any, method: Calibration, outputs: Outputs, lessons: TrainingData) -> Any:
    """Return a fitted classifier with what makes its outputs probabilities, learnt from others' held-out ones.

    The object is the one that scikit-learn would make (``ensemble=False``), without fitting anything again. Of several
    labels each has its own.
    """
    learnt = [
        _learnt(method, said, raw[lessons.at], codes, lessons.weights) for said, raw, codes in _apart(outputs, lessons)
    ]
    if not isinstance(estimator, MultiOutputClassifier):
        return _in_its_place(estimator, learnt[0])
    estimator.estimators_ = [_in_its_place(*both) for both in zip(estimator.estimators_, learnt, strict=True)]
    return estimator.set_params(estimator=_unlearnt(method, estimator.estimator))


def _apart(outputs: Outputs, lessons: TrainingData) -> list[tuple["_Said", Floats, NDArray[np.int64]]]:
    """Return what answered, what it said of the n rows and the m codes: of classes together, of each label."""
    assert outputs.raw is not None
    raw = _without_outliers(outputs.raw) if outputs.are_decisions else outputs.raw
    kind = _Decided if outputs.are_decisions else _Estimated
    if lessons.y.ndim > 1:
        return [(kind(2), one[:, None], codes) for one, codes in zip(raw.T, lessons.y.T, strict=True)]
    return [(kind(max(2, raw.shape[1])), raw, lessons.y)]


def _learnt(
    method: Calibration, said: "_Said", raw: Floats, codes: NDArray[np.int64], weights: Floats | None
) -> CalibratedClassifierCV:
    every = np.arange(len(raw))
    model = _unlearnt(method, said).set_params(cv=[(every, every)]).fit(raw, codes, weights)
    if method == "platt":
        _keep_the_order(model, raw, codes, weights)
    return model


def _keep_the_order(
    model: CalibratedClassifierCV, raw: Floats, codes: NDArray[np.int64], weights: Floats | None
) -> None:
    """Flatten each sigmoid that falls: a higher decision never makes a class less probable.

    Where a classifier knows next to nothing, the models of the folds differ in little more than their intercepts, each
    of which is low where its held-out rows have many of the class. A falling sigmoid would then reverse the order of
    the final model's decisions. What is left is the class's share among the rows.
    """
    sigmoids = model.calibrated_classifiers_[0].calibrators
    for code, sigmoid in zip(model.classes_[-len(sigmoids) :], sigmoids, strict=True):
        if sigmoid.a_ > 0:
            share = float(np.average(codes == code, weights=weights))
            spread = float(np.ptp(raw)) or 1.0
            sigmoid.a_, sigmoid.b_ = -LEAST_SLOPE / spread, float(np.log((1 - share) / share))


def _unlearnt(method: Calibration, estimator: Any) -> CalibratedClassifierCV:
    return CalibratedClassifierCV(estimator, method=METHODS[method], ensemble=False)


def _in_its_place(estimator: Any, model: CalibratedClassifierCV) -> CalibratedClassifierCV:
    """Return a calibration with the estimator whose outputs it is for, instead of what stood for it."""
    model.calibrated_classifiers_[0].estimator = model.estimator = estimator
    model.cv = None  # else the numbers of all rows would travel with it
    model.n_features_in_ = estimator.n_features_in_
    return model


def _worth_trying(facts: TargetValues, outputs: Outputs) -> list[Calibration]:
    found: list[Calibration] = ["platt"]
    if len(facts) >= ENOUGH_FOR_STEPS:
        found.append("isotonic")
    if facts.kind == "classes" and (facts.n_outputs > 2 or not outputs.are_decisions):
        found.append("temperature")
    return found


def _without_outliers(raw: Floats) -> Floats:
    """Bring decisions that lie far outside the others nearer: one of them spoils the search for Platt's slope.

    A feature that hardly varies in a fold's train rows can make such a decision for a row that was held out.
    """
    low, high = np.quantile(raw, [0.01, 0.99], axis=0)
    return np.clip(raw, low - FAR * (high - low), high + FAR * (high - low))


def _cross_fitted(
    method: Calibration, outputs: Outputs, facts: TargetValues, lessons: TrainingData, fold_of: NDArray[np.integer]
) -> Floats:
    """Return (n, k) of classes or (n, t) of labels, each label calibrated by itself."""
    found = []
    for said, raw, codes in _apart(outputs, lessons):
        proba = np.empty((len(facts), said.n_classes))
        for number in range(int(fold_of.max()) + 1):
            held, at = fold_of == number, np.flatnonzero(fold_of[lessons.at] != number)
            weights = None if lessons.weights is None else lessons.weights[at]
            proba[held] = _learnt(method, said, raw[lessons.at[at]], codes[at], weights).predict_proba(raw[held])
        found.append(proba)
    return found[0] if facts.kind == "classes" else np.stack([proba[:, 1] for proba in found], axis=1)
