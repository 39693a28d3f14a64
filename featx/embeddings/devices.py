"""Where networks run, and the loop that runs them."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from featx.embeddings.batches import Batch
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork

Rows = tuple[tuple[str, ...], list[NDArray[np.float32]]]


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


@torch.inference_mode()
def embed(batches: Iterable[Batch], network: FeatureNetwork, device: torch.device) -> Iterator[Rows]:
    """Yield each batch's digests and one float32 (b, d) for each tap; padding is cut off.

    Arithmetic is fp32: cuDNN's TF32 is off here, that of matrix products is off by torch's default.
    """
    network = network.eval().to(device)
    on_gpu = device.type == "cuda"
    for batch in batches:
        pixels = torch.from_numpy(batch.pixels[0])
        pixels = pixels.pin_memory().to(device, non_blocking=True) if on_gpu else pixels
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
            outputs = network(pixels)
        b = len(batch.digests)
        yield batch.digests, [output[:b].cpu().numpy() for output in outputs]
