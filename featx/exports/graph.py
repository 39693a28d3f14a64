"""An ONNX model under construction."""

from typing import Any

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8  # of the file format that goes with these
FLOAT, DOUBLE, UINT8, INT64 = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "DOUBLE", "UINT8", "INT64"))
Name = str  # of a tensor


class Graph:
    """Nodes and constants, in the order in which they compute; every tensor has a name of its own."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._n = 0

    def _name(self, stem: str) -> Name:
        self._n += 1
        return f"{stem}_{self._n}"

    def input(self, name: Name, kind: int, shape: tuple[str | int, ...]) -> Name:
        """Add an input; a text in its shape is a size that may vary."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, values: Any) -> Name:
        """Add an array."""
        name = self._name("constant")
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, *inputs: Name, **attributes: Any) -> Name:
        """Add a node with one output, and return that."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, n_outputs: int, *inputs: Name, **attributes: Any) -> list[Name]:
        """Add a node with several outputs."""
        names = [self._name(kind.lower()) for _ in range(n_outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names

    def cast(self, x: Name, kind: int) -> Name:
        """Change the type of numbers."""
        return self.op("Cast", x, to=kind)

    def columns(self, x: Name, at: int, end: int) -> Name:
        """Return columns of (n, k)."""
        edges = [self.constant(np.array([edge], dtype=np.int64)) for edge in (at, end, 1)]
        return self.op("Slice", x, *edges)

    def affine(self, x: Name, scale: Any, shift: Any) -> Name:
        """Add ``x * scale + shift`` in double, of columns where these are several."""
        scaled = self.op("Mul", x, self.constant(np.asarray(scale, dtype=np.float64)))
        return self.op("Add", scaled, self.constant(np.asarray(shift, dtype=np.float64)))

    def both(self, second: Name) -> Name:
        """Return (n, 2) from (n, 1) double probabilities of the second class."""
        first = self.op("Sub", self.constant(np.ones(1)), second)
        return self.op("Concat", first, second, axis=1)

    def part(self, model: Any, inputs: dict[Name, Name]) -> list[Name]:
        """Add a whole model.

        Parameters
        ----------
        inputs
            Its inputs' names → the tensors here that they are.

        Returns
        -------
        list
            Its outputs' names here.
        """
        prefix = self._name("part") + "_"
        added = compose.add_prefix(model, prefix).graph
        for theirs, ours in inputs.items():
            self._nodes.append(helper.make_node("Identity", [ours], [prefix + theirs]))
        self._nodes += added.node
        self._constants += added.initializer
        return [output.name for output in added.output]

    def model(self, answers: Name, shape: tuple[str | int, ...], about: dict[str, str]) -> Any:
        """Return the finished model, checked; its output is called ``answers``."""
        self._nodes.append(helper.make_node("Identity", [answers], ["answers"]))
        output = helper.make_tensor_value_info("answers", FLOAT, shape)
        graph = helper.make_graph(self._nodes, "featx", self._inputs, [output], self._constants)
        opsets = [helper.make_opsetid(domain, number) for domain, number in OPSETS.items()]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="featx")
        helper.set_model_props(made, about)
        onnx.checker.check_model(made)
        return made
