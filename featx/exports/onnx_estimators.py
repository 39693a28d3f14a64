"""ONNX nodes of estimators that converters do not support or convert less exactly, also with several outputs."""

import json
from collections.abc import Collection
from typing import Any

import numpy as np

from featx.errors import DataError
from featx.exports.graph import DOUBLE, Graph, Name

# Squared distances below this count as zero; a neighbour at this distance outweighs all others.
MIN_SQUARED_DISTANCE = 1e-18
# Value of a parameter → operator that computes it; nothing is added for an empty one.
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "", "softmax": "Softmax"}
NUMBER_OBJECTIVES = ("squarederror", "absoluteerror", "squaredlogerror", "pseudohubererror")
LINKS = {
    "binary:logistic": "Sigmoid",
    "multi:softprob": "Softmax",
    **{f"reg:{name}": "" for name in NUMBER_OBJECTIVES},
}


def add_perceptron(graph: Graph, mlp: Any, x: Name) -> Name:
    """Add a scikit-learn perceptron and return its outputs (n, k) or (n, t) in double."""
    activation = ACTIVATIONS[mlp.activation]
    x = graph.cast(x, DOUBLE)
    for number, (weights, offsets) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True), start=1):
        product = graph.op("MatMul", x, graph.constant(weights.astype(np.float64)))
        x = graph.op("Add", product, graph.constant(offsets.astype(np.float64)))
        if number < len(mlp.coefs_) and activation:
            x = graph.op(activation, x)
    if not (link := ACTIVATIONS[mlp.out_activation_]):
        return x
    x = graph.op(link, x)
    is_binary = link == "Sigmoid" and mlp.n_outputs_ == 1
    return graph.binary_proba(x) if is_binary else x


def add_neighbours(graph: Graph, knn: Any, x: Name) -> Name:
    """Add scikit-learn's nearest neighbours, Euclidean distance, and return outputs (n, k) or (n, t) in double.

    Raises
    ------
    DataError
        the distance is another one, or a function gives the weights of neighbours.
    """
    _supported("metric", knn.effective_metric_, ("euclidean",))
    neighbour_weights = _supported("weights", knn.weights, ("distance", "uniform"))
    train_x = np.asarray(knn._fit_X, dtype=np.float64)
    train_y = np.asarray(knn._y)
    if hasattr(knn, "classes_") and not isinstance(knn.classes_, list):
        train_y = np.eye(len(knn.classes_))[train_y.ravel()]
    train_y = train_y.reshape(len(train_x), -1).astype(np.float64)
    x = graph.cast(x, DOUBLE)
    # |x - t|² = -2 x·t + |x|² + |t|² for all pairs of rows.
    products = graph.op("MatMul", x, graph.constant(-2 * train_x.T))
    sums = graph.op("Add", products, graph.op("ReduceSumSquare", x, axes=[1], keepdims=1))
    squared_distances = graph.op("Add", sums, graph.constant((train_x**2).sum(1)[None]))
    n_neighbours = graph.constant(np.array([knn.n_neighbors]))
    nearest, indices = graph.ops("TopK", 2, squared_distances, n_neighbours, largest=0)
    values = graph.op("Gather", graph.constant(train_y), indices)
    axis = graph.constant(np.array([1]))
    if neighbour_weights == "uniform":
        total = graph.op("ReduceSum", values, axis, keepdims=0)
        return graph.op("Div", total, graph.constant(np.array([knn.n_neighbors], dtype=np.float64)))
    distance = graph.op("Sqrt", graph.op("Max", nearest, graph.constant(np.array([MIN_SQUARED_DISTANCE]))))
    weights = graph.op("Unsqueeze", graph.op("Reciprocal", distance), graph.constant(np.array([2])))
    total = graph.op("ReduceSum", weights, axis, keepdims=0)
    weighted_values = graph.op("Mul", values, weights)
    return graph.op("Div", graph.op("ReduceSum", weighted_values, axis, keepdims=0), total)


def add_trees(graph: Graph, model: Any, x: Name) -> Name:
    """Add XGBoost's trees, read from its own JSON format, and return outputs (n, k) or (n, t) in float32.

    Raises
    ------
    DataError
        the booster is not of plain trees, or its objective is none of `LINKS`.
    """
    learner = json.loads(model.get_booster().save_raw("json"))["learner"]
    _supported("booster", learner["gradient_booster"]["name"], ("gbtree",))
    one_output_per_tree = "one_output_per_tree"
    _supported("multi_strategy", model.multi_strategy or one_output_per_tree, (one_output_per_tree,))
    objective = learner["objective"]["name"]
    link = LINKS[_supported("objective", objective, LINKS)]
    base = np.atleast_1d(np.asarray(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float64))
    if objective == "binary:logistic":
        base = np.log(base / (1 - base))
    booster = learner["gradient_booster"]["model"]
    n_outputs = max(booster["tree_info"]) + 1
    margins = graph.op(
        "TreeEnsembleRegressor",
        x,
        domain="ai.onnx.ml",
        n_targets=n_outputs,
        base_values=np.broadcast_to(base, n_outputs).astype(np.float32).tolist(),
        **_tree_attributes(booster["trees"], booster["tree_info"]),
    )
    if link == "Sigmoid" and n_outputs == 1:
        return graph.binary_proba(graph.cast(graph.op(link, margins), DOUBLE))
    return graph.op(link, margins) if link else margins


def _supported(name: str, value: Any, supported_values: Collection[str]) -> str:
    """Return the value of an estimator's parameter.

    Raises
    ------
    DataError
        it is none of the supported values.
    """
    if isinstance(value, str) and value in supported_values:
        return value
    text = repr(value) if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)
    raise DataError(
        f"a head with {name} = {text} cannot be written as ONNX, expected one of {', '.join(supported_values)}; write "
        "it with '--format skops' or '--format joblib', or fit it with one of these"
    )


def _tree_attributes(trees: list[dict[str, Any]], targets: list[int]) -> dict[str, list[Any]]:
    """Return ONNX's attributes of the trees' nodes: a row goes left if its feature is less than the value."""
    nodes: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in (
            "treeids",
            "nodeids",
            "featureids",
            "values",
            "modes",
            "truenodeids",
            "falsenodeids",
            "missing_value_tracks_true",
        )
    }
    leaves: dict[str, list[Any]] = {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, (tree, target) in enumerate(zip(trees, targets, strict=True)):
        left_children, values = np.array(tree["left_children"]), tree["split_conditions"]
        is_inner = left_children >= 0
        n = len(left_children)
        nodes["nodes_treeids"] += [number] * n
        nodes["nodes_nodeids"] += range(n)
        nodes["nodes_featureids"] += np.where(is_inner, tree["split_indices"], 0).tolist()
        nodes["nodes_values"] += np.where(is_inner, values, 0.0).tolist()
        nodes["nodes_modes"] += np.where(is_inner, "BRANCH_LT", "LEAF").tolist()
        nodes["nodes_truenodeids"] += np.where(is_inner, left_children, 0).tolist()
        nodes["nodes_falsenodeids"] += np.where(is_inner, tree["right_children"], 0).tolist()
        nodes["nodes_missing_value_tracks_true"] += np.where(is_inner, tree["default_left"], 0).tolist()
        leaf_ids = np.flatnonzero(~is_inner)
        leaves["target_treeids"] += [number] * len(leaf_ids)
        leaves["target_nodeids"] += leaf_ids.tolist()
        leaves["target_ids"] += [target] * len(leaf_ids)
        leaves["target_weights"] += np.asarray(values)[leaf_ids].tolist()
    return nodes | leaves
