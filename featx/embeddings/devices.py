"""Devices on which torch runs networks, and the runner for torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from featx.embeddings.engine import Rows
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork
from featx.specs.embedding import Precision, ReducedPrecision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def find_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU where there is one, else the CPU.

    Raises
    ------
    DeviceError
        the machine does not have the device, or the name is not one of a device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"no device is called {name!r}; expected auto, cpu, cuda or cuda:NUMBER") from error
    n_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise DeviceError(
            f"device {name!r} does not exist on this machine (torch finds {n_gpus} GPUs); expected 'cpu' or 'auto'"
        )
    if device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"device {name!r} is not supported; expected auto, cpu, cuda or cuda:NUMBER")
    return device


def gpu_names() -> list[str]:
    """Return the names of the GPUs that torch finds."""
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


@contextmanager
def full_fp32() -> Iterator[None]:
    """Compute fp32 convolutions on a GPU in fp32, not in TF32 with its mantissa of 10 bits, until the block ends."""
    was_allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = was_allowed


class TorchRunner:
    """A runner for torch, eager or compiled; reduced precisions use autocast.

    In fp32, TF32 is switched off for cuDNN; for matrix products it is off by default.
    """

    in_flight = 1

    def __init__(
        self,
        network: FeatureNetwork,
        device: torch.device,
        rows: int,
        precision: Precision = "fp32",
        *,
        compiled: bool = False,
    ) -> None:
        self.rows = rows
        self._lock = network.lock
        # Threads share the body. While one computes the shapes of outputs, its tensors are on the device "meta".
        with self._lock:
            network_on_device = network.eval().to(device)
        self._source = network
        self._autocast_dtype = DTYPES[precision.dtype] if isinstance(precision, ReducedPrecision) else None
        self._network = torch.compile(network_on_device, dynamic=False) if compiled else network_on_device
        self._device = network.mean.device
        runtime = "torch.compile" if compiled else "torch"
        self.provenance = {
            "device": str(device),
            "runtime": f"{runtime} {torch.__version__}",
            "precision": str(precision),
        }

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """Return (rows, d) float32 for each tap from (rows, h, w, 3) pixels."""
        x = torch.from_numpy(pixels)
        x = x.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else x
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False),
            torch.autocast(self._device.type, self._autocast_dtype, enabled=self._autocast_dtype is not None),
            self._lock,
        ):
            # Another runner of the same body, or its export, may have moved it.
            mean = self._source.mean
            if {mean.device, next(self._source.body.parameters(), mean).device} != {self._device}:
                self._source.to(self._device)
            outputs = self._network(x)
        return [output.cpu().numpy() for output in outputs]
