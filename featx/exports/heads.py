"""scikit-learn Pipelines as ONNX: what skl2onnx writes, and in double what it does not write or not exactly.

Calibration, links and the scaling of answers are written here; scalers and most bare estimators by skl2onnx.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import RidgeClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from xgboost import XGBClassifier, XGBRegressor

from featx.exports.graph import DOUBLE, FLOAT, INT64, OPSETS, Graph, Name
from featx.exports.onnx_estimators import add_neighbours, add_perceptron, add_trees

OWN = (XGBClassifier, XGBRegressor, KNeighborsClassifier, KNeighborsRegressor, MLPClassifier, MLPRegressor)
LEAST = 1e-12  # what scikit-learn adds to a probability before it takes the logarithm


def add_head(graph: Graph, model: Pipeline, x: Name, n_features: int) -> Name:
    """Add a fitted Pipeline.

    Parameters
    ----------
    x
        (n, d) float32.

    Returns
    -------
    str
        (n, k) probabilities of classes, (n, t) of labels, or (n, t) numbers, float32.
    """
    *scaling, (_, estimator) = model.steps
    for _, step in scaling:
        if not isinstance(step, FunctionTransformer):  # which changes nothing
            (x,) = _converted(graph, step, x, n_features)
            n_features = len(step.get_feature_names_out())
    found = _answers(graph, estimator, x, n_features)
    return graph.cast(found, FLOAT)


def _answers(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add what answers; in double, where it is computed here."""
    if isinstance(estimator, MultiOutputClassifier):
        each = [_probabilities(graph, one, x, d) for one in estimator.estimators_]
        return graph.op("Concat", *[graph.columns(one, 1, 2) for one in each], axis=1)
    if isinstance(estimator, MultiOutputRegressor):
        each = [_answers(graph, one, x, d) for one in estimator.estimators_]
        return graph.op("Concat", *each, axis=1)
    if isinstance(estimator, TransformedTargetRegressor):
        scaler = estimator.transformer_
        found = graph.cast(_answers(graph, estimator.regressor_, x, d), DOUBLE)
        return graph.affine(found, scaler.scale_, scaler.mean_)
    if isinstance(estimator, OWN) or not is_classifier(estimator):
        return _bare(graph, estimator, x, d)
    if isinstance(estimator.classes_, list):  # a forest of several labels: (t, n, 2)
        every = _bare(graph, estimator, x, d)
        having = graph.op("Gather", every, graph.constant(np.array(1)), axis=2)
        return graph.op("Transpose", having, perm=[1, 0])
    return _probabilities(graph, estimator, x, d)


def _probabilities(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add a classifier of one target."""
    if isinstance(estimator, Pipeline):
        return _weighted(graph, estimator, x, d)
    if isinstance(estimator, CalibratedClassifierCV):
        (inner,) = estimator.calibrated_classifiers_
        raw = _raw(graph, inner.estimator, x, d)
        if inner.method == "temperature":
            return _tempered(graph, raw, inner)
        return _calibrated(graph, raw, inner)
    if hasattr(estimator, "decision_function"):  # the links of logistic regression and discriminant analysis
        raw = _raw(graph, estimator, x, d)
        if len(estimator.classes_) > 2:
            return graph.op("Softmax", raw, axis=1)
        return graph.both(graph.op("Sigmoid", raw))
    return _bare(graph, estimator, x, d)


def _weighted(graph: Graph, model: Pipeline, x: Name, d: int) -> Name:
    """Add the probabilities of a Pipeline of `featx.heads.decisions`; the decision is left to who reads them."""
    (_, classifier), *steps = model.steps
    found = graph.cast(_probabilities(graph, classifier.estimators_[0], x, d), DOUBLE)
    for name, step in steps:
        if name == "prior":
            found = graph.affine(found, 1 / step.scale_, np.zeros_like(step.scale_))
        elif name == "sum":
            total = graph.op("ReduceSum", found, graph.constant(np.array([1])), keepdims=1)
            found = graph.op("Div", found, total)
    return found


def _bare(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add an estimator without anything around it: decision values of classifiers that have some, or its answers."""
    if isinstance(estimator, XGBClassifier | XGBRegressor):
        return add_trees(graph, estimator, x)
    if isinstance(estimator, KNeighborsClassifier | KNeighborsRegressor):
        return add_neighbours(graph, estimator, x)
    if isinstance(estimator, MLPClassifier | MLPRegressor):
        return add_perceptron(graph, estimator, x)
    return _converted(graph, estimator, x, d)[-1]


def _raw(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add what calibration starts from, in double: decision values or probabilities, one column for two classes."""
    if isinstance(estimator, Pipeline):
        proba = _weighted(graph, estimator, x, d)
        return graph.columns(proba, 1, 2) if len(estimator.classes_) == 2 else proba
    found = graph.cast(_bare(graph, estimator, x, d), DOUBLE)
    if len(estimator.classes_) > 2:
        return found
    last = 1 if isinstance(estimator, RidgeClassifier) else 2  # which skl2onnx gives one column
    return graph.columns(found, last - 1, last)


def _calibrated(graph: Graph, raw: Name, inner: Any) -> Name:
    """Add Platt's sigmoid or isotonic regression, of each class by itself."""
    each = []
    for at, calibrator in enumerate(inner.calibrators):
        column = graph.columns(raw, at, at + 1)
        if isinstance(calibrator, IsotonicRegression):
            each.append(_isotonic(graph, column, calibrator))
        else:
            each.append(graph.op("Sigmoid", graph.affine(column, [-calibrator.a_], [-calibrator.b_])))
    if len(each) == 1:
        return graph.both(each[0])
    k = len(each)
    every = graph.op("Concat", *each, axis=1)
    total = graph.op("ReduceSum", every, graph.constant(np.array([1])), keepdims=1)
    nothing = graph.op("Equal", total, graph.constant(np.zeros(1)))
    shares = graph.op("Div", every, graph.op("Where", nothing, graph.constant(np.ones(1)), total))
    return graph.op("Where", nothing, graph.constant(np.full((1, k), 1 / k)), shares)


def _isotonic(graph: Graph, column: Name, calibrator: IsotonicRegression) -> Name:
    """Add straight lines between the knots; beyond the first and the last of them, their values."""
    x, y = (np.asarray(of, dtype=np.float64) for of in (calibrator.X_thresholds_, calibrator.y_thresholds_))
    if len(x) == 1:
        return graph.affine(column, [0.0], y)
    inside = graph.op("Min", graph.op("Max", column, graph.constant(x[:1])), graph.constant(x[-1:]))
    passed = graph.op("GreaterOrEqual", inside, graph.constant(x[None, 1:-1]))
    count = graph.op(
        "ReduceSum", graph.cast(passed, DOUBLE), graph.constant(np.array([1])), keepdims=1
    )  # 0 where there are two knots
    at = graph.cast(count, INT64)
    gather = [graph.op("Gather", graph.constant(of), at) for of in (x[:-1], y[:-1], np.diff(y) / np.diff(x))]
    beyond = graph.op("Sub", inside, gather[0])
    return graph.op("Add", gather[1], graph.op("Mul", beyond, gather[2]))


def _tempered(graph: Graph, raw: Name, inner: Any) -> Name:
    """Add the softmax of logits over a temperature."""
    if hasattr(inner.estimator, "decision_function"):
        logits = raw
        if len(inner.classes) == 2:
            logits = graph.op("Concat", graph.op("Neg", raw), raw, axis=1)
    else:
        proba = graph.both(raw) if len(inner.classes) == 2 else raw
        logits = graph.op("Log", graph.op("Add", proba, graph.constant(np.array([LEAST]))))
    scaled = graph.op("Mul", logits, graph.constant(np.array([float(inner.calibrators[0].beta_)])))
    return graph.op("Softmax", scaled, axis=1)


def _converted(graph: Graph, estimator: Any, x: Name, d: int) -> list[Name]:
    """Add what skl2onnx writes: of classifiers the guess and decision values, or probabilities where there are none."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options: dict[str, Any] = {}
    if is_classifier(estimator) and not isinstance(estimator, RidgeClassifier):
        options = {"zipmap": False}
        if hasattr(estimator, "decision_function"):
            options["raw_scores"] = True
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)  # it looks for them
        model = to_onnx(
            estimator,
            initial_types=[("x", FloatTensorType([None, d]))],
            options={id(estimator): options},
            target_opset=OPSETS,
        )
    return graph.part(model, {"x": x})
