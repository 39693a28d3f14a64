"""How fast a network answers."""

import time

import torch

from featx.finetuning.network import FinetunedNetwork

TRIAL_S = 0.5
MOST_IMAGES = 8


@torch.inference_mode()
def images_per_s(network: FinetunedNetwork, batch_size: int, device: torch.device) -> float:
    """Measure all of a network's layers on pixels; reading and decoding images is left out."""
    side = network.preprocessing.size_px
    pixels = torch.zeros(min(batch_size, MOST_IMAGES), side, side, 3, dtype=torch.uint8, device=device)
    network.eval()
    network(pixels).cpu()  # the first call makes things ready
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < TRIAL_S:
        network(pixels).cpu()
        done += len(pixels)
    return round(done / spent, 1)
