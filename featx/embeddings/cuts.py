"""Positions at which an OpenVINO model can be split in two, and the split itself.

A model can be split behind a node if everything that depends on the node is reached through it alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LAYERS = {"Convolution", "GroupConvolution", "MatMul"}


@dataclass(frozen=True)
class ModelCut:
    """One position at which a model can be split.

    Attributes
    ----------
    n_layers
        Number of convolutions and matrix products before it.
    node
        Name of the last node before it.
    later_nodes
        Names of the nodes behind it.
    """

    n_layers: int
    node: str
    later_nodes: frozenset[str]


def find_cuts(model: Any) -> list[ModelCut]:
    """Return the cuts of an ``openvino.Model``, one for each number of layers: where the tensor is smallest."""
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops() if node.get_type_name() != "Result"}
    parameters = {node.get_friendly_name() for node in model.get_parameters()}
    all_sources = {name: _source_names(node) for name, node in nodes.items()}
    depends_on_input = parameters | _dependents(parameters, list(nodes), all_sources)
    names = [name for name in nodes if name in depends_on_input]
    layers = {name for name in names if nodes[name].get_type_name() in LAYERS}
    sources = {name: all_sources[name] & depends_on_input for name in names}
    smallest_cuts: dict[int, tuple[int, ModelCut]] = {}
    for position, name in enumerate(names):
        node = nodes[name]
        dependents = _dependents({name}, names[position + 1 :], sources)
        n_layers = len(layers - dependents)
        is_closed = all(sources[dependent] <= dependents | {name} for dependent in dependents)
        if is_closed and 0 < n_layers < len(layers) and node.get_output_size() == 1:
            n_values = math.prod(int(size) for size in node.get_output_shape(0))
            if n_layers not in smallest_cuts or n_values <= smallest_cuts[n_layers][0]:
                smallest_cuts[n_layers] = (n_values, ModelCut(n_layers, name, dependents))
    return [smallest_cuts[n_layers][1] for n_layers in sorted(smallest_cuts)]


def _source_names(node: Any) -> set[str]:
    return {port.get_source_output().get_node().get_friendly_name() for port in node.inputs()}


def _dependents(start: set[str], later_names: Sequence[str], sources: Mapping[str, set[str]]) -> frozenset[str]:
    """Return those of `later_names`, which are in an order of computation, that depend on a node of `start`."""
    reached_names = set(start)
    for name in later_names:
        if not reached_names.isdisjoint(sources[name]):
            reached_names.add(name)
    return frozenset(reached_names - start)


def split_model(model: Any, model_again: Any, cut: ModelCut) -> tuple[Any, Any, list[int]]:
    """Split a model in two.

    Parameters
    ----------
    model, model_again
        The same ``openvino.Model`` read twice; each becomes one part.

    Returns
    -------
    tuple
        the front, whose first output is the input of the back; the back; and the numbers of the whole model's outputs
        that the front has, in order, after its first output. The back has the other outputs.
    """
    import openvino
    from openvino import opset13

    results = model.get_results()
    front_outputs = [
        number for number, result in enumerate(results) if _source_names(result).isdisjoint(cut.later_nodes)
    ]
    front_model = openvino.Model(
        [_output(model, cut), *(results[number].input_value(0) for number in front_outputs)], model.get_parameters()
    )
    seam = _output(model_again, cut)
    back_results = [result for number, result in enumerate(model_again.get_results()) if number not in front_outputs]
    parameter = opset13.parameter(seam.get_partial_shape(), seam.get_element_type())
    for port in list(seam.get_target_inputs()):
        if port.get_node().get_friendly_name() in cut.later_nodes:
            port.replace_source_output(parameter.output(0))
    return front_model, openvino.Model(back_results, [parameter]), front_outputs


def _output(model: Any, cut: ModelCut) -> Any:
    return next(node for node in model.get_ordered_ops() if node.get_friendly_name() == cut.node).output(0)
