"""Where an OpenVINO model can be cut in two: behind a node through which all that depends on it has to go."""

from dataclasses import dataclass
from typing import Any

LAYERS = {"Convolution", "GroupConvolution", "MatMul"}


@dataclass(frozen=True)
class ModelCut:
    """One place to cut.

    Attributes
    ----------
    n_layers
        Convolutions and matrix products before it.
    node
        The name of the node that it lies behind.
    rest
        The names of the nodes behind it.
    """

    n_layers: int
    node: str
    rest: frozenset[str]


def cuts(model: Any) -> list[ModelCut]:
    """Return the places to cut an ``openvino.Model``, one for each number of layers: where the tensor is smallest."""
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops() if node.get_type_name() != "Result"}
    of_input = {one.get_friendly_name() for one in model.get_parameters()}
    of_input |= _behind(of_input, list(nodes), {name: _sources(node) for name, node in nodes.items()})
    names = [name for name in nodes if name in of_input]
    layers = {name for name in names if nodes[name].get_type_name() in LAYERS}
    sources = {name: _sources(nodes[name]) & of_input for name in names}
    found: dict[int, tuple[int, ModelCut]] = {}
    for at, name in enumerate(names):
        node = nodes[name]
        rest = _behind({name}, names[at + 1 :], sources)
        n_layers = len(layers - rest)
        closed = all(sources[one] <= rest | {name} for one in rest)
        if closed and 0 < n_layers < len(layers) and node.get_output_size() == 1:
            n_values = _n_values(node)
            if n_layers not in found or n_values <= found[n_layers][0]:
                found[n_layers] = (n_values, ModelCut(n_layers, name, rest))
    return [found[n_layers][1] for n_layers in sorted(found)]


def _sources(node: Any) -> set[str]:
    return {one.get_source_output().get_node().get_friendly_name() for one in node.inputs()}


def _behind(start: set[str], later: list[str], sources: dict[str, set[str]]) -> frozenset[str]:
    """Return those of the later nodes, which stand in an order in which they can run, that depend on some."""
    found = set(start)
    for other in later:
        if not found.isdisjoint(sources[other]):
            found.add(other)
    return frozenset(found - start)


def _n_values(node: Any) -> int:
    n = 1
    for size in node.get_output_shape(0):
        n *= int(size)
    return n


def cut_behind(model: Any, other: Any, cut: ModelCut) -> tuple[Any, Any, list[int]]:
    """Cut a model in two.

    Parameters
    ----------
    model, other
        The same ``openvino.Model`` read twice; each becomes one part.

    Returns
    -------
    tuple
        the front, whose first output is the second part's input; the rest; and which of the whole's outputs (by
        number) are the front's, after its first one. The others are the rest's.
    """
    import openvino
    from openvino import opset13

    results = model.get_results()
    early = [at for at, one in enumerate(results) if _sources(one).isdisjoint(cut.rest)]
    front = openvino.Model([_output(model, cut), *(results[at].input_value(0) for at in early)], model.get_parameters())
    seam = _output(other, cut)
    late = [one for at, one in enumerate(other.get_results()) if at not in early]
    start = opset13.parameter(seam.get_partial_shape(), seam.get_element_type())
    for user in list(seam.get_target_inputs()):
        if user.get_node().get_friendly_name() in cut.rest:
            user.replace_source_output(start.output(0))
    return front, openvino.Model(late, [start]), early


def _output(model: Any, cut: ModelCut) -> Any:
    return next(node for node in model.get_ordered_ops() if node.get_friendly_name() == cut.node).output(0)
