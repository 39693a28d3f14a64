"""ONNX nodes of whole models from embeddings: heads, networks, and ensembles that combine them by a fixed formula."""

from collections.abc import Mapping, Sequence

import numpy as np

from featx.ensembles.fixed_rules import TIE_BREAK_WEIGHT, Majority, Mean
from featx.errors import DataError
from featx.exports.graph import DOUBLE, FLOAT, Graph, Name
from featx.exports.heads import add_head
from featx.predictors.models import EnsembleModel, HeadModel, Model, NetworkModel
from featx.tables.decision_rule import DecisionRule
from featx.tables.target_values import MIN_LABEL_PROBABILITY

# Fingerprint of an embedding → name of its vectors (n, d) in the graph.
Vectors = Mapping[str, Name]


def check_exportable(model: Model) -> None:
    """Check that a model, and each ensemble among its members, can be written as ONNX nodes.

    Raises
    ------
    DataError
        An ensemble has another method, or a model uses vectors that were made elsewhere.
    """
    if not isinstance(model, EnsembleModel):
        return
    names = ", ".join(member.name for member in model.members)
    if not isinstance(model.combiner, Mean | Majority):
        raise DataError(
            f"{model.name} combines its members by {model.method!r}, for which there are no ONNX nodes; expected a "
            f"weighted mean or a majority vote: export its members one by one: {names}"
        )
    if external := [item.request.name for item in model.embeddings if item.request.vectors is not None]:
        raise DataError(
            f"{model.name} uses {external[0]!r}, vectors that were made elsewhere, so there is no network to export; "
            f"export its members one by one: {names}"
        )
    for member in model.members:
        check_exportable(member)


def add_model(graph: Graph, model: Model, vectors: Vectors) -> Name:
    """Add a model, and return the name of its float32 output (n, k)."""
    return graph.cast(_add(graph, model, vectors), FLOAT)


def _add(graph: Graph, model: Model, vectors: Vectors) -> Name:
    names = [vectors[embedding.spec.fingerprint()] for embedding in model.embeddings]
    if isinstance(model, NetworkModel):
        return names[0]
    if isinstance(model, HeadModel):
        x = graph.op("Concat", *names, axis=1) if len(names) > 1 else names[0]
        return add_head(graph, model.model, x, model.header.n_features)
    assert isinstance(model, EnsembleModel)
    outputs = [_add_member(graph, model, member, vectors) for member in model.members]
    combiner = model.combiner
    if isinstance(combiner, Majority):
        rules = [model.rule_of(member) for member in model.members]
        return _normalise(graph, model, _add_votes(graph, model, outputs, rules, combiner.weights))
    assert isinstance(combiner, Mean)
    return _normalise(graph, model, _add_mean(graph, outputs, combiner.weights))


def _add_member(graph: Graph, model: EnsembleModel, member: Model, vectors: Vectors) -> Name:
    """Add a member in double, its columns in the order of the ensemble."""
    outputs = _normalise(graph, member, graph.cast(_add(graph, member, vectors), DOUBLE))
    order = [member.classes.index(name) for name in model.classes]
    if order == list(range(len(order))):
        return outputs
    return graph.op("Gather", outputs, graph.constant(np.array(order, dtype=np.int64)), axis=1)


def _normalise(graph: Graph, model: Model, outputs: Name) -> Name:
    """Add the scaling of probabilities of classes to sum 1."""
    if model.header.prediction_kind != "classes":
        return outputs
    return graph.op("Div", outputs, graph.op("ReduceSum", outputs, graph.constant(np.array([1])), keepdims=1))


def _add_mean(graph: Graph, outputs: Sequence[Name], weights: Sequence[float]) -> Name:
    shares = np.asarray(weights, dtype=np.float64) / sum(weights)
    scaled = [graph.op("Mul", name, graph.constant(share)) for name, share in zip(outputs, shares, strict=True)]
    return graph.op("Sum", *scaled)


def _add_votes(
    graph: Graph,
    model: EnsembleModel,
    outputs: Sequence[Name],
    rules: Sequence[DecisionRule | None],
    weights: Sequence[float],
) -> Name:
    """Add the shares of votes with their tie-break, as in `featx.ensembles.fixed_rules.Majority`."""
    votes = [_add_vote(graph, model, name, rule) for name, rule in zip(outputs, rules, strict=True)]
    tie_break = TIE_BREAK_WEIGHT / len(outputs)
    scaled_mean = graph.op("Mul", _add_mean(graph, outputs, [1.0] * len(outputs)), graph.constant(np.array(tie_break)))
    total = graph.op("Add", _add_mean(graph, votes, weights), scaled_mean)
    return graph.op("Div", total, graph.constant(np.array(1 + tie_break)))


def _add_vote(graph: Graph, model: EnsembleModel, outputs: Name, rule: DecisionRule | None) -> Name:
    """Add 1 for the class or the labels that a member predicts, and 0 for all others."""
    if model.header.prediction_kind == "labels":
        threshold = graph.constant(np.array(MIN_LABEL_PROBABILITY, dtype=np.float64))
        return graph.cast(graph.op("GreaterOrEqual", outputs, threshold), DOUBLE)
    if rule is not None:
        outputs = graph.op("Mul", outputs, graph.constant(np.array([rule.weights], dtype=np.float64)))
    codes = graph.op("ArgMax", outputs, axis=1, keepdims=1)
    classes = graph.constant(np.arange(len(model.classes), dtype=np.int64)[None])
    return graph.cast(graph.op("Equal", codes, classes), DOUBLE)
