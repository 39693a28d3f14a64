"""Ways to run a network: eager torch, ``torch.compile``, ONNX Runtime and OpenVINO.

In fp32 they agree to 1 - 1e-9 in cosine (float64), so which one ran is provenance and no part of an embedding's
fingerprint. ONNX Runtime and OpenVINO run on the CPU, one batch on each core: no thread waits for another in the middle
of a layer.
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

from featx.embeddings.cuts import ModelCut, cut_behind, cuts
from featx.embeddings.devices import TorchRunner, device_named
from featx.embeddings.engine import Rows, Runner, is_out_of_memory
from featx.errors import DeviceError, MissingExtraError
from featx.networks.features import FeatureNetwork
from featx.specs.embedding import Precision, Reduced
from featx.specs.extraction import Runtime

PACKAGES: dict[Runtime, str] = {"torch": "torch", "compile": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
OPSET = 17
ERRORS_ONLY = 3  # ONNX Runtime's severity
ROWS = {"cpu": 8, "cuda": 64}  # images in one pass: what fits the caches of a core, and what keeps a GPU busy
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


@dataclass(frozen=True)
class Execution:
    """What runs a network, where, and in which arithmetic."""

    runtime: Runtime
    device: str = "auto"
    precision: Precision = "fp32"


class Portable:
    """A network that can be made ready for any runtime.

    Parameters
    ----------
    network
        Is put into eval mode.
    size_px
        Of the square images that it takes.
    """

    def __init__(self, network: FeatureNetwork, size_px: int) -> None:
        self.network = network.eval()
        self.size_px = size_px
        self._exported: dict[int | None, bytes] = {}

    def ready(self, how: Execution, rows: int | None = None) -> Runner:
        """Return it ready to run, tried on one batch of black unless single images are asked for.

        Parameters
        ----------
        rows
            Images in a batch; by default as many as the device likes, and half of that as long as memory does not do.

        Raises
        ------
        MissingExtraError
            the runtime is not installed.
        DeviceError
            the device is not there, the runtime does not run on it or cannot compute so, or memory does not do.
        """
        check_installed(how.runtime)
        on_cpu = how.runtime in {"onnx", "openvino"} or device_named(how.device).type == "cpu"
        wanted = rows or ROWS["cpu" if on_cpu else "cuda"]
        while True:
            try:
                runner = self._made(how, wanted)
                if rows != 1:
                    runner(np.zeros((wanted, self.size_px, self.size_px, 3), dtype=np.uint8))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if rows is not None or wanted == 1:
                    raise DeviceError(
                        f"memory does not do for {wanted} images of {self.size_px} px at once, which "
                        f"{'the rows that are stored were made with' if rows else 'is the least'}; free memory, or "
                        "name another device or a smaller size_px"
                    ) from error
                wanted //= 2
            else:
                return runner

    def _made(self, how: Execution, rows: int) -> Runner:
        if how.runtime in {"torch", "compile"}:
            device, compiled = device_named(how.device), how.runtime == "compile"
            return TorchRunner(self.network, device, rows, how.precision, compiled=compiled)
        if how.device not in {"auto", "cpu"}:
            raise DeviceError(f"runtime {how.runtime!r} runs on the CPU, not on {how.device!r}; say '--runtime torch'")
        if how.runtime == "openvino":
            return OpenVinoRunner(self.as_onnx(rows), rows, how.precision)
        if how.precision != "fp32":
            raise DeviceError(
                f"runtime 'onnx' computes in fp32, not in {how.precision.dtype}; say '--runtime openvino'"
            )
        return OnnxRunner(self.as_onnx(rows), rows)

    def as_onnx(self, rows: int | None) -> bytes:
        """Return it as ONNX, for batches of one size, or of any where it is None; exported once."""
        if rows not in self._exported:
            pixels = torch.zeros(rows or ROWS["cpu"], self.size_px, self.size_px, 3, dtype=torch.uint8)
            free = {} if rows else {"input_names": ["pixels"], "dynamic_axes": {"pixels": {0: "n"}}}
            buffer = io.BytesIO()
            with warnings.catch_warnings(), self.network.lock:
                warnings.simplefilter("ignore")  # the exporter warns of itself, and of shapes that are fixed on purpose
                export: Any = torch.onnx.export  # its annotations leave out the buffers that it takes
                export(self.network.cpu(), (pixels,), buffer, dynamo=False, opset_version=OPSET, **free)
            self._exported[rows] = buffer.getvalue()
        return self._exported[rows]

    @cached_property
    def cuts(self) -> list[ModelCut]:
        """Where OpenVINO can go over from fp32 to fewer bits."""
        import openvino

        return cuts(openvino.Core().read_model(self.as_onnx(ROWS["cpu"])))


def check_installed(runtime: Runtime) -> None:
    """Check that a runtime's package is there.

    Raises
    ------
    MissingExtraError
        it is not.
    """
    if not is_installed(runtime):
        raise MissingExtraError(
            f"runtime {runtime!r} needs {PACKAGES[runtime]}, which is not installed; "
            "pip install \"featx[cpu]\", or say '--runtime torch'"
        )


def is_installed(runtime: Runtime) -> bool:
    """Whether a runtime's package is there."""
    return find_spec(PACKAGES[runtime]) is not None


def is_native(dtype: str) -> bool:
    """Whether this CPU multiplies numbers of fewer bits by itself, as OpenVINO sees it."""
    import openvino

    capabilities: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return dtype.upper() in capabilities


def is_here(precision: Reduced) -> bool:
    """Whether this machine has the runtime, the device and the arithmetic."""
    if precision.runtime == "torch":
        return precision.device == "cpu" or torch.cuda.is_available()
    first = precision.first_dtype if precision.first_layers else "fp32"
    return is_installed("openvino") and all(one == "fp32" or is_native(one) for one in (precision.dtype, first))


class OnnxRunner:
    """ONNX Runtime on the CPU."""

    def __init__(self, model: bytes, rows: int) -> None:
        import onnxruntime

        self.rows = rows
        self.in_flight = os.cpu_count() or 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        self.provenance = {
            "device": "cpu",
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "precision": "fp32",
        }
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """See `featx.embeddings.engine.Runner`."""
        return list(self._session.run(None, {self._input: pixels}))


class OpenVinoRunner:
    """OpenVINO on the CPU; in a reduced precision its first layers may be a model of their own, in fp32.

    Raises
    ------
    DeviceError
        the CPU cannot compute so, or the network cannot be cut there.
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
        whole = self._core.read_model(model)
        self._n_outputs = len(whole.get_results())
        self._early: list[int] = []
        if isinstance(precision, Reduced):
            self._parts = self._reduced(model, whole, precision)
        else:
            self._parts = [self._compiled(whole, HINTS["fp32"])]
        self._own = threading.local()

    def _reduced(self, model: bytes, whole: Any, precision: Reduced) -> list[Any]:
        if not is_here(precision):
            raise DeviceError(f"this CPU does not compute {precision}; say precision = 'fp32'")
        hint = HINTS[precision.dtype]
        if not precision.first_layers:
            return [self._compiled(whole, hint)]
        cut = next((one for one in cuts(whole) if one.n_layers == precision.first_layers), None)
        if cut is None:
            raise DeviceError(f"the network cannot be cut behind its first {precision.first_layers} layers")
        front, rest, self._early = cut_behind(whole, self._core.read_model(model), cut)
        return [self._compiled(front, HINTS[precision.first_dtype]), self._compiled(rest, hint)]

    def _compiled(self, model: Any, hint: str) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": self.in_flight,
            "INFERENCE_NUM_THREADS": self.in_flight,
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(model, "CPU", settings)

    def _requests(self) -> list[Any]:
        """Return this thread's own requests; the second one takes its input from where the first one leaves it."""
        found: list[Any] = getattr(self._own, "requests", [])
        if not found:
            found = self._own.requests = [part.create_infer_request() for part in self._parts]
            if len(found) == 2:
                found[1].set_input_tensor(found[0].get_output_tensor(0))
        return found

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """See `featx.embeddings.engine.Runner`."""
        requests = self._requests()
        requests[0].infer([pixels], share_inputs=True)
        for request in requests[1:]:
            request.infer()
        late = iter(range(self._n_outputs - len(self._early)))
        outputs = [
            requests[0].get_output_tensor(1 + self._early.index(at))
            if at in self._early
            else requests[-1].get_output_tensor(next(late))
            for at in range(self._n_outputs)
        ]
        return [np.array(output.data) for output in outputs]  # the next call writes over its own
