"""Every head predicts as ONNX as in scikit-learn, for all kinds of targets and calibration.

Modules: exports.graph, exports.heads, exports.onnx_estimators, heads.scaling.
"""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from featx.artifacts.outputs import predict_outputs
from featx.errors import DataError, UnsuitedError
from featx.exports.graph import FLOAT, Graph
from featx.exports.heads import add_head
from featx.heads.fitting import fit_out_of_fold, fit_pipeline
from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head, HeadTask
from featx.heads.head_settings import make_head
from featx.heads.scaling import Params
from featx.registry import HEADS
from featx.specs.head import Calibration, HeadSpec
from featx.tables.ids import Kind
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
N_TRAIN = 240
NEW = X[300:800]
TARGETS = {
    "two": ClassTargets(tuple("ab"), (Y > 4).astype(int)),
    "four": ClassTargets(tuple("abcd"), Y % 4),
    "labels": LabelTargets(tuple("ab"), np.stack([Y > 4, Y % 2 == 0], axis=1).astype(int)),
    "number": NumberTargets(tuple("a"), Y[:, None].astype(float)),
    "numbers": NumberTargets(tuple("ab"), np.stack([Y, Y % 3], axis=1).astype(float)),
}
CALIBRATIONS: list[Calibration] = ["none", "platt", "isotonic", "temperature"]
CASES = [(name, target, "usual") for name in HEADS.names() for target in TARGETS]
CASES += [
    (name, target, method) for name in ("logreg", "knn", "ridge") for target in TARGETS for method in CALIBRATIONS
]


def fit(name: str, target: str, method: str, scaling: Params | None = None) -> tuple[Kind, object]:
    rows = TrainRows(X[:N_TRAIN], TARGETS[target].take(np.arange(N_TRAIN)))
    try:
        head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, rows.targets.n_outputs, 0, rows.targets.kind))
    except UnsuitedError:
        pytest.skip(f"{name} does not support numbers")
    kind = rows.targets.kind
    calibration = "none" if kind == "numbers" else head.default_calibration if method == "usual" else method
    if kind != "numbers" and calibration not in head.allowed_calibrations(kind):
        pytest.skip(f"{name} does not support this calibration")
    params = dict(head.start) | ({head.path.name: head.path.values[1]} if head.path and head.path.name else {})
    model = fit_pipeline(head, params | (scaling or {}), rows, calibration, HeadSpec(name=name))  # type: ignore[arg-type]
    return kind, model


def onnx_outputs(model: object, n_outputs: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    graph = Graph()
    features = graph.input("features", FLOAT, ("n", x.shape[1]))
    with warnings.catch_warnings():
        # Converters emit warnings of their own.
        warnings.simplefilter("ignore")
        model_proto = graph.build(add_head(graph, model, features, x.shape[1]), ("n", n_outputs), {"run": "test"})
    session = onnxruntime.InferenceSession(model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: NDArray[np.float32] = session.run(["predictions"], {"features": x})[0]
    return outputs


@pytest.mark.parametrize(("name", "target", "method"), CASES)
def test_a_head_predicts_as_in_scikit_learn(name: str, target: str, method: str) -> None:
    kind, model = fit(name, target, method)
    expected = predict_outputs(model, NEW, kind)
    np.testing.assert_allclose(onnx_outputs(model, expected.shape[1], NEW), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scaling", ["none", "standard", "l2", "standard_l2", "pca", "pca_l2"])
def test_every_scaling_is_exported(scaling: str) -> None:
    kind, model = fit("logreg", "four", "none", {"scaling": scaling, "components": 16})
    np.testing.assert_allclose(onnx_outputs(model, 4, NEW), predict_outputs(model, NEW, kind), rtol=0, atol=1e-4)


def fit_with(name: str, target: str, **params: object) -> tuple[Kind, object]:
    rows = TrainRows(X[:N_TRAIN], TARGETS[target].take(np.arange(N_TRAIN)))
    spec = HeadSpec(name=name, trials=0, params=params)
    head = make_head(spec, rows.x.shape, rows.targets.kind, rows.targets.n_outputs)
    calibration: Calibration = "none" if rows.targets.kind == "numbers" else head.default_calibration
    return rows.targets.kind, fit_pipeline(head, {}, rows, calibration, spec)


@pytest.mark.parametrize(
    ("name", "target", "params"),
    [
        *(("knn", target, {"weights": "uniform"}) for target in TARGETS),
        *(("mlp", target, {"activation": "tanh"}) for target in TARGETS),
        ("mlp", "four", {"activation": "logistic"}),
        ("mlp", "number", {"activation": "identity"}),
        *(("xgboost", "number", {"objective": f"reg:{name}"}) for name in ("absoluteerror", "pseudohubererror")),
        ("xgboost", "numbers", {"objective": "reg:absoluteerror"}),
        ("svm", "four", {"kernel": "poly"}),
        ("rf", "four", {"criterion": "entropy", "max_depth": 3}),
    ],
)
def test_settings_of_a_recipe_are_exported(name: str, target: str, params: dict[str, object]) -> None:
    kind, model = fit_with(name, target, **params)
    expected = predict_outputs(model, NEW, kind)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(onnx_outputs(model, expected.shape[1], NEW), expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("name", "target", "params", "expected"),
    [
        ("knn", "four", {"metric": "cosine"}, "metric = 'cosine' cannot be written as ONNX, expected one of euclidean"),
        ("knn", "number", {"metric": "manhattan"}, "metric = 'manhattan' cannot be written as ONNX"),
        ("knn", "four", {"p": 1}, "metric = 'manhattan' cannot be written as ONNX"),
        ("xgboost", "number", {"objective": "count:poisson"}, "objective = 'count:poisson' cannot be written as ONNX"),
        ("xgboost", "four", {"booster": "dart"}, "booster = 'dart' cannot be written as ONNX"),
        (
            "xgboost",
            "numbers",
            {"multi_strategy": "multi_output_tree"},
            "multi_strategy = 'multi_output_tree' cannot be written as ONNX",
        ),
    ],
)
def test_settings_that_cannot_be_exported_are_named(
    name: str, target: str, params: dict[str, object], expected: str
) -> None:
    _, model = fit_with(name, target, **params)
    with pytest.raises(DataError, match=expected):
        onnx_outputs(model, 1, NEW)


def test_one_row_is_predicted_like_many() -> None:
    kind, model = fit("xgboost", "four", "none")
    np.testing.assert_allclose(
        onnx_outputs(model, 4, NEW[:1]), predict_outputs(model, NEW[:1], kind), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("target", ["two", "four"])
@pytest.mark.parametrize("name", ["logreg", "svm", "rf", "xgboost", "mlp"])
@pytest.mark.parametrize("method", ["auto", "temperature"])
def test_probabilities_of_heads_with_class_weights_are_exported(name: str, target: str, method: Calibration) -> None:
    facts = TARGETS[target].take(np.arange(N_TRAIN))
    rows = TrainRows(X[:N_TRAIN], facts, class_weights=np.linspace(0.5, 2, facts.n_outputs))
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, facts.n_outputs, 0))
    if method == "temperature" and (head.needs_calibration or not head.accepts_weights):
        pytest.skip("a temperature cannot remove class weights from decision values")
    params = dict(head.start) | ({head.path.name: head.path.values[1]} if head.path and head.path.name else {})
    model, _ = fit_out_of_fold(head, params, rows, HeadSpec(name=name, folds=2, calibration=method))
    expected = predict_outputs(model, NEW, "classes")
    np.testing.assert_allclose(onnx_outputs(model, facts.n_outputs, NEW), expected, rtol=0, atol=1e-4)


def test_a_model_that_no_onnx_file_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = fit("knn", "two", "usual")
    graph = Graph()
    outputs = add_head(graph, model, graph.input("x", FLOAT, ("n", X.shape[1])), X.shape[1])
    monkeypatch.setattr("featx.exports.graph.MAX_CONSTANT_BYTES", 1000)
    with pytest.raises(DataError, match=r"GB of numbers, an ONNX file at most 2\.15 GB; use 'featx export --format j"):
        graph.build(outputs, ("n", 2), {})
