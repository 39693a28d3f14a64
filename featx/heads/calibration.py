"""Calibration of classifier outputs to probabilities; the method is chosen by cross-fitting over the search's folds.

The methods are Platt's sigmoid [1]_, isotonic regression [2]_ and temperature scaling [3]_, all scikit-learn's, and the
classifier's own probabilities if it has some.

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
from featx.parallel.threads import single_threaded
from featx.specs.head import Calibration
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

METHODS: dict[Calibration, str] = {"platt": "sigmoid", "isotonic": "isotonic", "temperature": "temperature"}
# Isotonic regression overfits the noise of fewer rows.
MIN_ROWS_FOR_ISOTONIC = 1000
# Decisions are clipped at so many times the spread of the inner 98 % of them.
MAX_DECISION_SPREADS = 3
# Slope of a sigmoid, in log-odds over the range of the decisions; enough to preserve their order.
MIN_SIGMOID_SLOPE = 1e-6


@dataclass(frozen=True)
class ClassifierOutputs:
    """Outputs of a classifier for n rows that it was not fitted on.

    Attributes
    ----------
    raw
        Input of the calibration: (n, k) or (n, 1) decision values of classes, (n, t) of labels; or probabilities. None
        if one estimator predicts all labels, which then cannot be calibrated separately.
    are_decisions
        Whether `raw` holds decision values.
    proba
        (n, k) or (n, t) probabilities of the classifier itself; None if it has none.
    has_weighted_training
        Whether the classifier was trained with class weights that the calibration has to remove, which a temperature
        cannot do; by default False.
    """

    raw: Floats | None
    are_decisions: bool
    proba: Floats | None
    has_weighted_training: bool = False


@dataclass(frozen=True)
class CalibrationChoice:
    """A chosen calibration method and its probabilities.

    Attributes
    ----------
    method
        The chosen method.
    log_losses
        Cross-fitted log loss of each method that was tried, in nats.
    proba
        (n, k) or (n, t) probabilities by the chosen method, each row's by a calibration fitted without its fold.
    """

    method: Calibration
    log_losses: dict[Calibration, float]
    proba: Floats


class _Precomputed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose input is the output of another one."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)

    def fit(self, _x: Floats, _y: NDArray[np.int64], sample_weight: Floats | None = None) -> "_Precomputed":
        return self

    def predict(self, x: Floats) -> NDArray[np.int64]:
        return np.asarray(x.argmax(1) if x.shape[1] > 1 else x[:, 0] > 0, dtype=np.int64)


class _PrecomputedDecisions(_Precomputed):
    def decision_function(self, x: Floats) -> Floats:
        return x[:, 0] if x.shape[1] == 1 else x


class _PrecomputedProba(_Precomputed):
    def predict_proba(self, x: Floats) -> Floats:
        return x


@single_threaded()
def choose_calibration(
    requested_method: Calibration,
    outputs: ClassifierOutputs,
    targets: TargetValues,
    data: TrainingData,
    fold_numbers: NDArray[np.integer],
) -> CalibrationChoice:
    """Choose a calibration method, or apply the requested one.

    Parameters
    ----------
    requested_method
        A method, or ``auto`` to choose one.
    outputs
        Outputs for each row of a model fitted without the row's fold.
    targets
        Target values of the n rows.
    data
        Samples that calibrations are fitted on.
    fold_numbers
        (n,) the fold that held each row out.

    Notes
    -----
    The method with the smallest log loss is chosen; isotonic regression, which follows noise more closely than the
    others, only if it is better by more than a standard error of the difference. With fewer than 1000 rows it has to be
    requested, and so does temperature scaling for decisions between two classes: Platt's sigmoid has the same slope,
    and an offset. Where there are probabilities only, the sigmoid is fitted to these, but temperatures divide their
    log-odds. A temperature is not tried where class weights are to be removed.
    """
    candidates: dict[Calibration, Floats] = {} if outputs.proba is None else {"none": outputs.proba}
    if outputs.raw is not None:
        methods: list[Calibration] = [requested_method] if requested_method in METHODS else []
        if requested_method == "auto":
            methods = _candidate_methods(targets, outputs)
        candidates |= {method: _cross_fit(method, outputs, targets, data, fold_numbers) for method in methods}
    losses = {method: targets.log_losses(proba) for method, proba in candidates.items()}
    means = {method: float(np.average(row_losses, weights=targets.weights)) for method, row_losses in losses.items()}
    method = (
        min(means.keys() - {"isotonic"}, key=lambda name: means[name])
        if requested_method == "auto"
        else requested_method
    )
    if requested_method == "auto" and "isotonic" in losses:
        gain = losses[method] - losses["isotonic"]
        if np.average(gain, weights=targets.weights) > gain.std() / np.sqrt(len(gain)):
            method = "isotonic"
    return CalibrationChoice(method, means, candidates[method])


@single_threaded()
def add_calibration(estimator: Any, method: Calibration, outputs: ClassifierOutputs, data: TrainingData) -> Any:
    """Return a fitted classifier with a calibration fitted on held-out outputs of other models.

    The object is the one that scikit-learn would make (``ensemble=False``), without fitting the estimator again. Each
    label has a calibration of its own.
    """
    calibrations = [
        _fit_calibration(method, classifier, raw_outputs[data.row_numbers], codes, data.weights)
        for classifier, raw_outputs, codes in _calibration_problems(outputs, data)
    ]
    if not isinstance(estimator, MultiOutputClassifier):
        return _insert_estimator(estimator, calibrations[0])
    estimator.estimators_ = [
        _insert_estimator(label_estimator, calibration)
        for label_estimator, calibration in zip(estimator.estimators_, calibrations, strict=True)
    ]
    return estimator.set_params(estimator=_unfitted_calibration(method, estimator.estimator))


def _calibration_problems(
    outputs: ClassifierOutputs, data: TrainingData
) -> list[tuple[_Precomputed, Floats, NDArray[np.int64]]]:
    """Return a precomputed classifier, its (n, …) outputs and (m,) codes: once for all classes, or for each label."""
    assert outputs.raw is not None
    raw_outputs = _clip_outliers(outputs.raw) if outputs.are_decisions else outputs.raw
    classifier = _PrecomputedDecisions if outputs.are_decisions else _PrecomputedProba
    if data.y.ndim > 1:
        return [(classifier(2), column[:, None], codes) for column, codes in zip(raw_outputs.T, data.y.T, strict=True)]
    return [(classifier(max(2, raw_outputs.shape[1])), raw_outputs, data.y)]


def _fit_calibration(
    method: Calibration, classifier: _Precomputed, raw_outputs: Floats, codes: NDArray[np.int64], weights: Floats | None
) -> CalibratedClassifierCV:
    all_rows = np.arange(len(raw_outputs))
    model = (
        _unfitted_calibration(method, classifier).set_params(cv=[(all_rows, all_rows)]).fit(raw_outputs, codes, weights)
    )
    if method == "platt":
        _flatten_falling_sigmoids(model, raw_outputs, codes, weights)
    return model


def _flatten_falling_sigmoids(
    model: CalibratedClassifierCV, raw_outputs: Floats, codes: NDArray[np.int64], weights: Floats | None
) -> None:
    """Replace each falling sigmoid by the share of its class: a higher decision never makes a class less probable.

    If a classifier has learnt almost nothing, the models of the folds differ in little more than their intercepts, each
    of which is low where the held-out rows have many of the class. A falling sigmoid would then reverse the order of
    the final model's decisions.
    """
    sigmoids = model.calibrated_classifiers_[0].calibrators
    for code, sigmoid in zip(model.classes_[-len(sigmoids) :], sigmoids, strict=True):
        if sigmoid.a_ > 0:
            share = float(np.average(codes == code, weights=weights))
            spread = float(np.ptp(raw_outputs)) or 1.0
            sigmoid.a_, sigmoid.b_ = -MIN_SIGMOID_SLOPE / spread, float(np.log((1 - share) / share))


def _unfitted_calibration(method: Calibration, estimator: Any) -> CalibratedClassifierCV:
    return CalibratedClassifierCV(estimator, method=METHODS[method], ensemble=False)


def _insert_estimator(estimator: Any, calibration: CalibratedClassifierCV) -> CalibratedClassifierCV:
    """Return a calibration whose precomputed classifier is replaced by the estimator of these outputs."""
    calibration.calibrated_classifiers_[0].estimator = calibration.estimator = estimator
    # The row numbers of the only fold would be saved with the model.
    calibration.cv = None
    calibration.n_features_in_ = estimator.n_features_in_
    return calibration


def _candidate_methods(targets: TargetValues, outputs: ClassifierOutputs) -> list[Calibration]:
    methods: list[Calibration] = ["platt"]
    if len(targets) >= MIN_ROWS_FOR_ISOTONIC:
        methods.append("isotonic")
    is_scalable = targets.kind == "classes" and (targets.n_outputs > 2 or not outputs.are_decisions)
    if is_scalable and not outputs.has_weighted_training:
        methods.append("temperature")
    return methods


def _clip_outliers(raw_outputs: Floats) -> Floats:
    """Clip decisions far outside the others, because one of them spoils the fit of Platt's slope.

    A feature that hardly varies in a fold's train rows can cause such a decision for a held-out row.
    """
    low, high = np.quantile(raw_outputs, [0.01, 0.99], axis=0)
    margin = MAX_DECISION_SPREADS * (high - low)
    return np.clip(raw_outputs, low - margin, high + margin)


def _cross_fit(
    method: Calibration,
    outputs: ClassifierOutputs,
    targets: TargetValues,
    data: TrainingData,
    fold_numbers: NDArray[np.integer],
) -> Floats:
    """Return (n, k) probabilities of classes or (n, t) of labels, each label calibrated separately."""
    columns = []
    for classifier, raw_outputs, codes in _calibration_problems(outputs, data):
        proba = np.empty((len(targets), classifier.n_classes))
        for fold in range(int(fold_numbers.max()) + 1):
            is_held_out = fold_numbers == fold
            samples = np.flatnonzero(~is_held_out[data.row_numbers])
            weights = None if data.weights is None else data.weights[samples]
            calibration = _fit_calibration(
                method, classifier, raw_outputs[data.row_numbers[samples]], codes[samples], weights
            )
            proba[is_held_out] = calibration.predict_proba(raw_outputs[is_held_out])
        columns.append(proba)
    return columns[0] if targets.kind == "classes" else np.stack([proba[:, 1] for proba in columns], axis=1)
