"""Builder of ONNX models."""

from typing import Any

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

from featx.errors import DataError

OPSETS = {"": 17, "ai.onnx.ml": 3}
# Version of the file format that belongs to these operator sets.
IR_VERSION = 8
FLOAT, DOUBLE, UINT8, INT64 = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "DOUBLE", "UINT8", "INT64"))
# Size of a file in this format, and a part of it that is left for nodes.
MAX_FILE_BYTES = 2**31 - 1
MAX_CONSTANT_BYTES = MAX_FILE_BYTES - 2**24
# Name of a tensor.
Name = str


class Graph:
    """A growing list of nodes and constants, in order of computation, with a unique name for each tensor."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._n = 0

    def _unique_name(self, stem: str) -> Name:
        self._n += 1
        return f"{stem}_{self._n}"

    def input(self, name: Name, kind: int, shape: tuple[str | int, ...]) -> Name:
        """Add an input and return its name; a text in its shape names a variable size."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, values: Any) -> Name:
        """Add an array and return its name."""
        name = self._unique_name("constant")
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, *inputs: Name, **attributes: Any) -> Name:
        """Add a node with one output and return the output's name."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, n_outputs: int, *inputs: Name, **attributes: Any) -> list[Name]:
        """Add a node with several outputs and return their names."""
        names = [self._unique_name(kind.lower()) for _ in range(n_outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names

    def cast(self, x: Name, kind: int) -> Name:
        """Add a conversion to another type."""
        return self.op("Cast", x, to=kind)

    def columns(self, x: Name, start: int, end: int) -> Name:
        """Add the selection of columns `start` to `end` - 1 of (n, k)."""
        arguments = [self.constant(np.array([number], dtype=np.int64)) for number in (start, end, 1)]
        return self.op("Slice", x, *arguments)

    def affine(self, x: Name, scale: Any, shift: Any) -> Name:
        """Add ``x * scale + shift`` in double; `scale` and `shift` are scalars or have one value per column."""
        scaled = self.op("Mul", x, self.constant(np.asarray(scale, dtype=np.float64)))
        return self.op("Add", scaled, self.constant(np.asarray(shift, dtype=np.float64)))

    def binary_proba(self, second: Name) -> Name:
        """Add probabilities (n, 2) of two classes, from those (n, 1) of the second class in double."""
        first = self.op("Sub", self.constant(np.ones(1)), second)
        return self.op("Concat", first, second, axis=1)

    def add_model(self, model: Any, inputs: dict[Name, Name]) -> list[Name]:
        """Add all nodes of another model.

        Parameters
        ----------
        inputs
            Name of the model's input → name of the tensor in this graph that it gets.

        Returns
        -------
        list
            Names of the model's outputs in this graph.
        """
        prefix = self._unique_name("part") + "_"
        prefixed_graph = compose.add_prefix(model, prefix).graph
        for model_name, own_name in inputs.items():
            self._nodes.append(helper.make_node("Identity", [own_name], [prefix + model_name]))
        self._nodes += prefixed_graph.node
        self._constants += prefixed_graph.initializer
        return [output.name for output in prefixed_graph.output]

    def build(self, outputs: Name, shape: tuple[str | int, ...], metadata: dict[str, str]) -> Any:
        """Return the finished and checked model, whose output is called ``predictions``.

        Raises
        ------
        DataError
            The model is larger than an ONNX file may be.
        """
        if (n_bytes := sum(constant.ByteSize() for constant in self._constants)) > MAX_CONSTANT_BYTES:
            raise DataError(
                f"the model has {n_bytes / 1e9:.2f} GB of numbers, an ONNX file at most {MAX_FILE_BYTES / 1e9:.2f} GB; "
                "use 'featx export --format joblib' or '--format skops', or export a smaller run"
            )
        self._nodes.append(helper.make_node("Identity", [outputs], ["predictions"]))
        output = helper.make_tensor_value_info("predictions", FLOAT, shape)
        graph = helper.make_graph(self._nodes, "featx", self._inputs, [output], self._constants)
        opsets = [helper.make_opsetid(domain, number) for domain, number in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="featx")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model
