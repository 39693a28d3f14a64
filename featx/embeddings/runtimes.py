"""Runtimes that compute a network: eager torch, ``torch.compile``, ONNX Runtime and OpenVINO.

In fp32 their embeddings agree to 1 - 1e-9 in cosine (float64), so the runtime is provenance and no part of an
embedding's fingerprint. ONNX Runtime and OpenVINO run on the CPU, one batch on each core: no thread waits for another
in the middle of a layer.
"""

import io
import os
import threading
import warnings
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.embeddings.cuts import ModelCut, find_cuts, split_model
from featx.embeddings.devices import TorchRunner, find_device
from featx.embeddings.engine import Rows, Runner, is_out_of_memory
from featx.errors import DeviceError, MissingExtraError
from featx.networks.features import FeatureNetwork
from featx.specs.embedding import Precision, ReducedPrecision
from featx.specs.extraction import Runtime

PACKAGES: dict[Runtime, str] = {"torch": "torch", "compile": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
OPSET = 17
# ONNX Runtime's severity from which on it logs errors only.
ONNX_LOG_ERRORS = 3
# Images per batch: as many as fit the caches of a core, and as many as keep a GPU busy.
BATCH_SIZES = {"cpu": 8, "cuda": 64}
PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
# torch's exporter, like the filters of warnings, has one state for the whole process.
EXPORT_LOCK = threading.Lock()


@dataclass(frozen=True)
class Execution:
    """The runtime, the device and the precision that compute a network."""

    runtime: Runtime
    device: str = "auto"
    precision: Precision = "fp32"


class PortableNetwork:
    """A network from which runners for all runtimes can be built.

    Parameters
    ----------
    network
        The torch network; it is put into eval mode.
    size_px
        Side of the square images that the network takes.
    """

    def __init__(self, network: FeatureNetwork, size_px: int) -> None:
        with network.lock:
            self.network = network.eval()
        self.size_px = size_px
        self._exported: dict[int | None, bytes] = {}

    def build_runner(self, execution: Execution, rows: int | None = None) -> Runner:
        """Build a runner, and try it on one batch of black images unless the batch is a single image.

        Parameters
        ----------
        execution
            Runtime, device and precision.
        rows
            Images per batch. By default the usual one of the device (`BATCH_SIZES`), halved until it fits into memory.

        Raises
        ------
        MissingExtraError
            the runtime is not installed.
        DeviceError
            the machine does not have the device, the runtime does not support the device or the precision, or memory
            is too small.
        """
        check_installed(execution.runtime)
        is_on_cpu = execution.runtime in {"onnx", "openvino"} or find_device(execution.device).type == "cpu"
        batch_size = rows or BATCH_SIZES["cpu" if is_on_cpu else "cuda"]
        while True:
            try:
                runner = self._build_for_batch(execution, batch_size)
                if rows != 1:
                    runner(np.zeros((batch_size, self.size_px, self.size_px, 3), dtype=np.uint8))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if rows is not None or batch_size == 1:
                    reason = "the batch size of the stored embeddings" if rows else "the smallest possible batch"
                    raise DeviceError(
                        f"memory is too small for a batch of {batch_size} images of {self.size_px} px, {reason}; free "
                        "memory, or choose another device or a smaller size_px"
                    ) from error
                batch_size //= 2
            else:
                return runner

    def _build_for_batch(self, execution: Execution, rows: int) -> Runner:
        if execution.runtime in {"torch", "compile"}:
            device, is_compiled = find_device(execution.device), execution.runtime == "compile"
            return TorchRunner(self.network, device, rows, execution.precision, compiled=is_compiled)
        if execution.device not in {"auto", "cpu"}:
            raise DeviceError(
                f"runtime {execution.runtime!r} runs on the CPU, not on {execution.device!r}; expected runtime 'torch'"
            )
        if execution.runtime == "openvino":
            return OpenVinoRunner(self.as_onnx(rows), rows, execution.precision)
        if execution.precision != "fp32":
            raise DeviceError(
                f"runtime 'onnx' computes in fp32, not in {execution.precision.dtype}; expected runtime 'openvino'"
            )
        return OnnxRunner(self.as_onnx(rows), rows)

    def as_onnx(self, rows: int | None) -> bytes:
        """Return the network in ONNX format, for batches of `rows` images or, with None, of any size; exported once."""
        with EXPORT_LOCK:
            if rows not in self._exported:
                self._exported[rows] = self._export(rows)
        return self._exported[rows]

    def _export(self, rows: int | None) -> bytes:
        pixels = torch.zeros(rows or BATCH_SIZES["cpu"], self.size_px, self.size_px, 3, dtype=torch.uint8)
        options = {} if rows else {"input_names": ["pixels"], "dynamic_axes": {"pixels": {0: "n"}}}
        buffer = io.BytesIO()
        # Without no_grad the exporter's pass would keep the outputs of all layers for gradients.
        with warnings.catch_warnings(), self.network.lock, torch.no_grad():
            # The exporter warns that it is outdated, and of shapes that are fixed on purpose.
            warnings.simplefilter("ignore")
            # The exporter's annotations leave out the buffers that it takes.
            export: Any = torch.onnx.export
            export(self.network.cpu(), (pixels,), buffer, dynamo=False, opset_version=OPSET, **options)
        return buffer.getvalue()

    @cached_property
    def cuts(self) -> list[ModelCut]:
        """Positions at which OpenVINO can change from a higher to a lower precision."""
        import openvino

        return find_cuts(openvino.Core().read_model(self.as_onnx(BATCH_SIZES["cpu"])))


def check_installed(runtime: Runtime) -> None:
    """Check that a runtime's package is installed.

    Raises
    ------
    MissingExtraError
        it is not installed.
    """
    if not is_installed(runtime):
        raise MissingExtraError(
            f"runtime {runtime!r} needs {PACKAGES[runtime]}, which is not installed; "
            "pip install \"featx[cpu]\", or choose runtime 'torch'"
        )


def is_installed(runtime: Runtime) -> bool:
    """Return whether a runtime's package is installed."""
    return find_spec(PACKAGES[runtime]) is not None


def is_native(dtype: str) -> bool:
    """Return whether this CPU has instructions for a reduced dtype, as OpenVINO reports it."""
    import openvino

    capabilities: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return dtype.upper() in capabilities


def can_compute(precision: ReducedPrecision) -> bool:
    """Return whether this machine has the runtime, the device and the dtypes of a precision."""
    if precision.runtime == "torch":
        return precision.device == "cpu" or torch.cuda.is_available()
    first_dtype = precision.first_dtype if precision.first_layers else "fp32"
    return is_installed("openvino") and all(
        dtype == "fp32" or is_native(dtype) for dtype in (precision.dtype, first_dtype)
    )


class OnnxRunner:
    """A runner for ONNX Runtime on the CPU."""

    def __init__(self, model: bytes, rows: int) -> None:
        import onnxruntime

        self.rows = rows
        self.in_flight = os.cpu_count() or 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = ONNX_LOG_ERRORS
        self.provenance = {
            "device": "cpu",
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "precision": "fp32",
        }
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """Return (rows, d) float32 for each tap from (rows, h, w, 3) pixels."""
        return list(self._session.run(None, {self._input: pixels}))


class OpenVinoRunner:
    """A runner for OpenVINO on the CPU; in a reduced precision the first layers may be a separate model.

    Raises
    ------
    DeviceError
        the CPU does not support the precision, or the network cannot be split behind the precision's first layers.
    """

    def __init__(self, model: bytes, rows: int, precision: Precision) -> None:
        import openvino

        self.rows = rows
        self.in_flight = os.cpu_count() or 1
        self.provenance = {
            "device": "cpu",
            "runtime": f"openvino {openvino.__version__}",
            "precision": str(precision),
        }
        self._core = openvino.Core()
        full_model = self._core.read_model(model)
        self._n_outputs = len(full_model.get_results())
        self._front_outputs: list[int] = []
        if isinstance(precision, ReducedPrecision):
            self._parts = self._compile_reduced(model, full_model, precision)
        else:
            self._parts = [self._compile(full_model, "fp32")]
        self._thread_local = threading.local()

    def _compile_reduced(self, model: bytes, full_model: Any, precision: ReducedPrecision) -> list[Any]:
        if not can_compute(precision):
            raise DeviceError(f"this CPU does not support {precision}; set precision = 'fp32'")
        if not precision.first_layers:
            return [self._compile(full_model, precision.dtype)]
        cut = next((cut for cut in find_cuts(full_model) if cut.n_layers == precision.first_layers), None)
        if cut is None:
            raise DeviceError(f"the network cannot be split behind its first {precision.first_layers} layers")
        front_model, back_model, self._front_outputs = split_model(full_model, self._core.read_model(model), cut)
        return [self._compile(front_model, precision.first_dtype), self._compile(back_model, precision.dtype)]

    def _compile(self, model: Any, dtype: str) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISION_HINTS[dtype],
            "NUM_STREAMS": self.in_flight,
            "INFERENCE_NUM_THREADS": self.in_flight,
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(model, "CPU", settings)

    def _get_requests(self) -> list[Any]:
        """Return this thread's inference requests; the first one's output is the second one's input."""
        requests: list[Any] = getattr(self._thread_local, "requests", [])
        if not requests:
            requests = self._thread_local.requests = [part.create_infer_request() for part in self._parts]
            if len(requests) == 2:
                requests[1].set_input_tensor(requests[0].get_output_tensor(0))
        return requests

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """Return (rows, d) float32 for each tap from (rows, h, w, 3) pixels."""
        requests = self._get_requests()
        requests[0].infer([pixels], share_inputs=True)
        for request in requests[1:]:
            request.infer()
        back_indices = iter(range(self._n_outputs - len(self._front_outputs)))
        outputs = [
            requests[0].get_output_tensor(1 + self._front_outputs.index(number))
            if number in self._front_outputs
            else requests[-1].get_output_tensor(next(back_indices))
            for number in range(self._n_outputs)
        ]
        # The next call of this thread overwrites the tensors, so they are copied.
        return [np.array(output.data) for output in outputs]
