"""Estimators as ONNX that converters leave out, or write less exactly: all of several outputs among them."""

import json
from typing import Any

import numpy as np

from featx.exports.graph import DOUBLE, Graph, Name

TINY = 1e-18  # a squared distance that is none: such a neighbour outweighs all others
ACTIVATIONS = {"logistic": "Sigmoid", "softmax": "Softmax"}
LINKS = {"binary:logistic": "Sigmoid", "multi:softprob": "Softmax", "reg:squarederror": ""}


def add_perceptron(graph: Graph, mlp: Any, x: Name) -> Name:
    """Add a scikit-learn perceptron with ReLU inside; returns (n, k) or (n, t) double."""
    x = graph.cast(x, DOUBLE)
    for number, (weights, offsets) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True), start=1):
        product = graph.op("MatMul", x, graph.constant(weights.astype(np.float64)))
        x = graph.op("Add", product, graph.constant(offsets.astype(np.float64)))
        if number < len(mlp.coefs_):
            x = graph.op("Relu", x)
    if (link := ACTIVATIONS.get(mlp.out_activation_)) is None:
        return x
    x = graph.op(link, x)
    one_column = link == "Sigmoid" and mlp.n_outputs_ == 1
    return graph.both(x) if one_column else x


def add_neighbours(graph: Graph, knn: Any, x: Name) -> Name:
    """Add scikit-learn's nearest neighbours, weighted by 1 / distance; returns (n, k) or (n, t) double."""
    assert knn.weights == "distance"  # as the head asks for
    known = np.asarray(knn._fit_X, dtype=np.float64)
    truth = np.asarray(knn._y)
    if hasattr(knn, "classes_") and not isinstance(knn.classes_, list):
        truth = np.eye(len(knn.classes_))[truth.ravel()]
    truth = truth.reshape(len(known), -1).astype(np.float64)
    x = graph.cast(x, DOUBLE)
    squares = graph.op("ReduceSumSquare", x, axes=[1], keepdims=1)
    products = graph.op("MatMul", x, graph.constant(-2 * known.T))
    apart = graph.op("Add", graph.op("Add", products, squares), graph.constant((known**2).sum(1)[None]))
    nearest, at = graph.ops("TopK", 2, apart, graph.constant(np.array([knn.n_neighbors])), largest=0)
    distance = graph.op("Sqrt", graph.op("Max", nearest, graph.constant(np.array([TINY]))))
    weights = graph.op("Unsqueeze", graph.op("Reciprocal", distance), graph.constant(np.array([2])))
    axis = graph.constant(np.array([1]))
    total = graph.op("ReduceSum", weights, axis, keepdims=0)
    voted = graph.op("Mul", graph.op("Gather", graph.constant(truth), at), weights)
    return graph.op("Div", graph.op("ReduceSum", voted, axis, keepdims=0), total)


def add_trees(graph: Graph, model: Any, x: Name) -> Name:
    """Add XGBoost's trees, as its own file says them; returns (n, k) or (n, t) float32."""
    learner = json.loads(model.get_booster().save_raw("json"))["learner"]
    objective = learner["objective"]["name"]
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
        **_nodes(booster["trees"], booster["tree_info"]),
    )
    link = LINKS[objective]
    if link == "Sigmoid" and n_outputs == 1:
        return graph.both(graph.cast(graph.op(link, margins), DOUBLE))
    return graph.op(link, margins) if link else margins


def _nodes(trees: list[dict[str, Any]], targets: list[int]) -> dict[str, list[Any]]:
    """Return the attributes of the trees' nodes: a row goes left where its feature is less than the value."""
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
        left, values = np.array(tree["left_children"]), tree["split_conditions"]
        inner = left >= 0
        n = len(left)
        nodes["nodes_treeids"] += [number] * n
        nodes["nodes_nodeids"] += range(n)
        nodes["nodes_featureids"] += np.where(inner, tree["split_indices"], 0).tolist()
        nodes["nodes_values"] += np.where(inner, values, 0.0).tolist()
        nodes["nodes_modes"] += np.where(inner, "BRANCH_LT", "LEAF").tolist()
        nodes["nodes_truenodeids"] += np.where(inner, left, 0).tolist()
        nodes["nodes_falsenodeids"] += np.where(inner, tree["right_children"], 0).tolist()
        nodes["nodes_missing_value_tracks_true"] += np.where(inner, tree["default_left"], 0).tolist()
        at = np.flatnonzero(~inner)
        leaves["target_treeids"] += [number] * len(at)
        leaves["target_nodeids"] += at.tolist()
        leaves["target_ids"] += [target] * len(at)
        leaves["target_weights"] += np.asarray(values)[at].tolist()
    return nodes | leaves
