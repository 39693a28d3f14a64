"""Where networks run with torch."""

import numpy as np
import torch
from numpy.typing import NDArray

from featx.embeddings.engine import Rows
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork
from featx.specs.embedding import Precision, Reduced

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def device_named(name: str) -> torch.device:
    """Return a device; ``auto`` is a GPU where there is one, else the CPU.

    Raises
    ------
    DeviceError
        it is not there, or the name means nothing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"no device is called {name!r}; expected auto, cpu, cuda or cuda:NUMBER") from error
    n_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise DeviceError(f"device {name!r} is not here (torch sees {n_gpus} GPUs); say '--device cpu' or 'auto'")
    if device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"device {name!r} is not one that featx runs on; expected auto, cpu, cuda or cuda:NUMBER")
    return device


def gpu_names() -> list[str]:
    """Return the GPUs that torch sees."""
    return [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]


class TorchRunner:
    """Torch, eager or compiled; fewer bits by autocast.

    In fp32 cuDNN's TF32 is off here; that of matrix products is off by default.
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
        ready = network.eval().to(device)
        self._lock = network.lock
        self._autocast = DTYPES[precision.dtype] if isinstance(precision, Reduced) else None
        self._network = torch.compile(ready, dynamic=False) if compiled else ready
        self._device = device
        runtime = "torch.compile" if compiled else "torch"
        self.provenance = {
            "device": str(device),
            "runtime": f"{runtime} {torch.__version__}",
            "precision": str(precision),
        }

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> Rows:
        """See `featx.embeddings.engine.Runner`."""
        x = torch.from_numpy(pixels)
        x = x.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else x
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False),
            torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None),
            self._lock,
        ):
            outputs = self._network(x)
        return [output.cpu().numpy() for output in outputs]
