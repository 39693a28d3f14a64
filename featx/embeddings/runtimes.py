"""Ways to run a network in fp32: eager torch, ``torch.compile``, ONNX Runtime and OpenVINO.

They agree to 1 - 1e-9 in cosine (float64), so which one ran is provenance and no part of an embedding's fingerprint.
ONNX Runtime and OpenVINO run on the CPU, one batch on each core: no thread waits for another in the middle of a layer.
"""

import io
import os
import threading
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.embeddings.devices import TorchRunner, device_named
from featx.embeddings.engine import Rows, Runner
from featx.embeddings.store import DEVICE_ROWS
from featx.errors import DeviceError, MissingExtraError
from featx.networks.features import FeatureNetwork
from featx.specs import EngineSpec, Runtime

PACKAGES: dict[Runtime, str] = {"torch": "torch", "compile": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
OPSET = 17
ERRORS_ONLY = 3  # ONNX Runtime's severity


def made_ready(network: FeatureNetwork, engine: EngineSpec, size_px: int) -> Runner:
    """Return a network ready to run as `engine` says.

    Parameters
    ----------
    size_px
        Of the square images that it takes.

    Raises
    ------
    MissingExtraError
        the runtime is not installed.
    DeviceError
        the device is not there, or the runtime does not run on it.
    """
    check_installed(engine.runtime)
    if engine.runtime in {"torch", "compile"}:
        return TorchRunner(network, device_named(engine.device), compiled=engine.runtime == "compile")
    if engine.device not in {"auto", "cpu"}:
        raise DeviceError(
            f"runtime {engine.runtime!r} runs on the CPU, not on {engine.device!r}; say '--runtime torch'"
        )
    model = as_onnx(network, size_px)
    return OnnxRunner(model) if engine.runtime == "onnx" else OpenVinoRunner(model)


def check_installed(runtime: Runtime) -> None:
    """Check that a runtime's package is there.

    Raises
    ------
    MissingExtraError
        it is not.
    """
    if find_spec(PACKAGES[runtime]) is None:
        raise MissingExtraError(
            f"runtime {runtime!r} needs {PACKAGES[runtime]}, which is not installed; "
            "pip install \"featx[cpu]\", or say '--runtime torch'"
        )


def as_onnx(network: FeatureNetwork, size_px: int) -> bytes:
    """Return a network as ONNX, for batches of the fixed shape."""
    pixels = torch.zeros(DEVICE_ROWS, size_px, size_px, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself, and of every shape that is fixed on purpose
        export: Any = torch.onnx.export  # its annotations leave out the buffers that it takes
        export(network.eval().cpu(), (pixels,), buffer, dynamo=False, opset_version=OPSET)
    return buffer.getvalue()


class OnnxRunner:
    """ONNX Runtime on the CPU."""

    rows = DEVICE_ROWS

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        self.in_flight = os.cpu_count() or 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        self.provenance = {"device": "cpu", "runtime": f"onnxruntime {onnxruntime.__version__}"}
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """See `featx.embeddings.engine.Runner`."""
        return list(self._session.run(None, {self._input: pixels}))


class OpenVinoRunner:
    """OpenVINO on the CPU."""

    rows = DEVICE_ROWS

    def __init__(self, model: bytes) -> None:
        import openvino

        self.in_flight = os.cpu_count() or 1
        self.provenance = {"device": "cpu", "runtime": f"openvino {openvino.__version__}"}
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": self.in_flight,
            "INFERENCE_NUM_THREADS": self.in_flight,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(core.read_model(model), "CPU", settings)
        self._own = threading.local()

    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """See `featx.embeddings.engine.Runner`."""
        request: Any = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        found = request.infer([pixels])
        return [np.array(found[at]) for at in range(len(self._compiled.outputs))]  # the next call writes over its own
