"""How fast a network answers."""

import time

import torch

from featx.embeddings.engine import is_out_of_memory
from featx.embeddings.throughput import steady_rate
from featx.finetuning.network import FinetunedNetwork

TRIAL_S = 0.5
MOST_IMAGES = 8


@torch.inference_mode()
def images_per_s(network: FinetunedNetwork, device: torch.device, size: int = MOST_IMAGES) -> float | None:
    """Measure all of a network's layers on pixels; reading and decoding images is left out.

    None where repeated measurements do not agree, as on a busy machine.

    Parameters
    ----------
    size
        Images in a pass; fewer where memory does not do.
    """
    network.eval()
    try:
        return _rate(network, device, size)
    except Exception as error:
        if not is_out_of_memory(error) or size == 1:
            raise
    return images_per_s(network, device, size // 2)


def _rate(network: FinetunedNetwork, device: torch.device, size: int) -> float | None:
    side = network.preprocessing.size_px
    pixels = torch.zeros(size, side, side, 3, dtype=torch.uint8, device=device)
    network(pixels).cpu()  # the first call makes things ready

    def measure() -> float:
        start, n_done = time.perf_counter(), 0
        while (elapsed_s := time.perf_counter() - start) < TRIAL_S:
            network(pixels).cpu()
            n_done += size
        return n_done / elapsed_s

    found = steady_rate(measure)
    return None if found is None else round(found, 1)
