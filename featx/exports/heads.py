"""ONNX nodes of fitted scikit-learn Pipelines, by skl2onnx or, where it is missing or inexact, in double here.

Calibration, link functions and the scaling of targets are added here; scalers and most estimators by skl2onnx.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier
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
from featx.heads.pair_margins import pair_indicators

OWN_ESTIMATORS = (XGBClassifier, XGBRegressor, KNeighborsClassifier, KNeighborsRegressor, MLPClassifier, MLPRegressor)
# scikit-learn adds this to a probability before it takes the logarithm.
LOG_EPSILON = 1e-12


def add_head(graph: Graph, model: Pipeline, x: Name, n_features: int) -> Name:
    """Add a fitted Pipeline and return the name of its output.

    Parameters
    ----------
    x
        Name of the input (n, d), float32.
    n_features
        Number of features d.

    Returns
    -------
    str
        Name of the float32 output: probabilities of classes (n, k) or of labels (n, t), or numbers (n, t).
    """
    *scaling, (_, estimator) = model.steps
    for _, step in scaling:
        # Heads use a FunctionTransformer only as the identity.
        if not isinstance(step, FunctionTransformer):
            (x,) = _convert(graph, step, x, n_features)
            n_features = len(step.get_feature_names_out())
    return graph.cast(_add_estimator(graph, estimator, x, n_features), FLOAT)


def _add_estimator(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add the last step of a Pipeline; its output is double if it is computed here."""
    if isinstance(estimator, MultiOutputClassifier):
        proba = [_add_classifier(graph, classifier, x, d) for classifier in estimator.estimators_]
        return graph.op("Concat", *[graph.columns(name, 1, 2) for name in proba], axis=1)
    if isinstance(estimator, MultiOutputRegressor):
        numbers = [_add_estimator(graph, regressor, x, d) for regressor in estimator.estimators_]
        return graph.op("Concat", *numbers, axis=1)
    if isinstance(estimator, TransformedTargetRegressor):
        scaler = estimator.transformer_
        scaled = graph.cast(_add_estimator(graph, estimator.regressor_, x, d), DOUBLE)
        return graph.affine(scaled, scaler.scale_, scaler.mean_)
    if isinstance(estimator, OWN_ESTIMATORS) or not is_classifier(estimator):
        return _add_raw_outputs(graph, estimator, x, d)
    # A forest of several labels gives (t, n, 2).
    if isinstance(estimator.classes_, list):
        label_proba = _add_raw_outputs(graph, estimator, x, d)
        positive = graph.op("Gather", label_proba, graph.constant(np.array(1)), axis=2)
        return graph.op("Transpose", positive, perm=[1, 0])
    return _add_classifier(graph, estimator, x, d)


def _add_classifier(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add the probabilities (n, k) of a classifier with one target."""
    if isinstance(estimator, Pipeline):
        return _add_weighted_classifier(graph, estimator, x, d)
    if isinstance(estimator, StackingClassifier):
        return _add_pair_machine(graph, estimator, x, d)
    if isinstance(estimator, CalibratedClassifierCV):
        (inner,) = estimator.calibrated_classifiers_
        scores = _add_calibration_scores(graph, inner.estimator, x, d)
        calibrate = _add_temperature if inner.method == "temperature" else _add_calibration
        return calibrate(graph, scores, inner)
    # Logistic regression and discriminant analysis have these link functions.
    if hasattr(estimator, "decision_function"):
        scores = _add_calibration_scores(graph, estimator, x, d)
        if len(estimator.classes_) > 2:
            return graph.op("Softmax", scores, axis=1)
        return graph.binary_proba(graph.op("Sigmoid", scores))
    return _add_raw_outputs(graph, estimator, x, d)


def _add_weighted_classifier(graph: Graph, model: Pipeline, x: Name, d: int) -> Name:
    """Add the probabilities of a Pipeline of `featx.heads.decisions`, without its decision rule."""
    (_, classifier), *steps = model.steps
    proba = graph.cast(_add_classifier(graph, classifier.estimators_[0], x, d), DOUBLE)
    for name, step in steps:
        if name == "prior":
            proba = graph.affine(proba, 1 / step.scale_, np.zeros_like(step.scale_))
        elif name == "sum":
            total = graph.op("ReduceSum", proba, graph.constant(np.array([1])), keepdims=1)
            proba = graph.op("Div", proba, total)
    return proba


def _add_pair_machine(graph: Graph, estimator: StackingClassifier, x: Name, d: int) -> Name:
    """Add the probabilities (n, k) of a machine of pairs, as `featx.heads.pair_margins` computes them."""
    (machine,) = estimator.estimators_
    margins = graph.cast(_convert(graph, machine, x, d)[-1], DOUBLE)
    pair_losses = [graph.op("Relu", graph.op("Neg", margins)), graph.op("Relu", margins)]
    sums = [
        graph.op("MatMul", losses, graph.constant(indicators.toarray()))
        for losses, indicators in zip(pair_losses, pair_indicators(len(machine.classes_)), strict=True)
    ]
    return graph.op("Softmax", graph.op("Neg", graph.op("Add", *sums)), axis=1)


def _add_raw_outputs(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add a bare estimator: its decision values if it is a classifier that has them, otherwise its outputs."""
    if isinstance(estimator, XGBClassifier | XGBRegressor):
        return add_trees(graph, estimator, x)
    if isinstance(estimator, KNeighborsClassifier | KNeighborsRegressor):
        return add_neighbours(graph, estimator, x)
    if isinstance(estimator, MLPClassifier | MLPRegressor):
        return add_perceptron(graph, estimator, x)
    return _convert(graph, estimator, x, d)[-1]


def _add_calibration_scores(graph: Graph, estimator: Any, x: Name, d: int) -> Name:
    """Add the input of calibration, in double: decision values or probabilities, one column for two classes."""
    if isinstance(estimator, Pipeline | StackingClassifier):
        proba = _add_classifier(graph, estimator, x, d)
        return graph.columns(proba, 1, 2) if len(estimator.classes_) == 2 else proba
    scores = graph.cast(_add_raw_outputs(graph, estimator, x, d), DOUBLE)
    if len(estimator.classes_) > 2:
        return scores
    # skl2onnx gives a RidgeClassifier of two classes one column and all other classifiers two.
    n_columns = 1 if isinstance(estimator, RidgeClassifier) else 2
    return graph.columns(scores, n_columns - 1, n_columns)


def _add_calibration(graph: Graph, scores: Name, inner: Any) -> Name:
    """Add Platt's sigmoid or isotonic regression for each class, and normalise the probabilities."""
    class_proba = []
    for code, calibrator in enumerate(inner.calibrators):
        column = graph.columns(scores, code, code + 1)
        if isinstance(calibrator, IsotonicRegression):
            class_proba.append(_add_isotonic(graph, column, calibrator))
        else:
            class_proba.append(graph.op("Sigmoid", graph.affine(column, [-calibrator.a_], [-calibrator.b_])))
    if len(class_proba) == 1:
        return graph.binary_proba(class_proba[0])
    k = len(class_proba)
    proba = graph.op("Concat", *class_proba, axis=1)
    total = graph.op("ReduceSum", proba, graph.constant(np.array([1])), keepdims=1)
    # Like scikit-learn, rows that sum to zero get equal probabilities.
    is_zero = graph.op("Equal", total, graph.constant(np.zeros(1)))
    normalised = graph.op("Div", proba, graph.op("Where", is_zero, graph.constant(np.ones(1)), total))
    return graph.op("Where", is_zero, graph.constant(np.full((1, k), 1 / k)), normalised)


def _add_isotonic(graph: Graph, column: Name, calibrator: IsotonicRegression) -> Name:
    """Add linear interpolation between the knots, constant outside of them."""
    x = np.asarray(calibrator.X_thresholds_, dtype=np.float64)
    y = np.asarray(calibrator.y_thresholds_, dtype=np.float64)
    if len(x) == 1:
        return graph.affine(column, [0.0], y)
    clipped_column = graph.op("Min", graph.op("Max", column, graph.constant(x[:1])), graph.constant(x[-1:]))
    # The number of inner knots at or below a value is the index of its segment; 0 if there are two knots only.
    is_above = graph.cast(graph.op("GreaterOrEqual", clipped_column, graph.constant(x[None, 1:-1])), DOUBLE)
    segment = graph.cast(graph.op("ReduceSum", is_above, graph.constant(np.array([1])), keepdims=1), INT64)
    start, value, slope = (
        graph.op("Gather", graph.constant(table), segment) for table in (x[:-1], y[:-1], np.diff(y) / np.diff(x))
    )
    return graph.op("Add", value, graph.op("Mul", graph.op("Sub", clipped_column, start), slope))


def _add_temperature(graph: Graph, scores: Name, inner: Any) -> Name:
    """Add temperature scaling: the softmax of scaled logits."""
    if hasattr(inner.estimator, "decision_function"):
        logits = scores
        if len(inner.classes) == 2:
            logits = graph.op("Concat", graph.op("Neg", scores), scores, axis=1)
    else:
        proba = graph.binary_proba(scores) if len(inner.classes) == 2 else scores
        logits = graph.op("Log", graph.op("Add", proba, graph.constant(np.array([LOG_EPSILON]))))
    scaled = graph.op("Mul", logits, graph.constant(np.array([float(inner.calibrators[0].beta_)])))
    return graph.op("Softmax", scaled, axis=1)


def _convert(graph: Graph, estimator: Any, x: Name, d: int) -> list[Name]:
    """Add the nodes that skl2onnx makes; a classifier gives its class and its decision values or probabilities."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options: dict[str, Any] = {}
    if is_classifier(estimator) and not isinstance(estimator, RidgeClassifier):
        options = {"zipmap": False}
        if hasattr(estimator, "decision_function"):
            options["raw_scores"] = True
    with warnings.catch_warnings():
        # skl2onnx looks these attributes up.
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)
        model = to_onnx(
            estimator,
            initial_types=[("x", FloatTensorType([None, d]))],
            options={id(estimator): options},
            target_opset=OPSETS,
        )
    return graph.add_model(model, {"x": x})
