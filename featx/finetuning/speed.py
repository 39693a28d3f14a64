"""Measurement of how many images per second a network processes."""

import time

import torch

from featx.embeddings.engine import is_out_of_memory
from featx.embeddings.throughput import rounded_rate, steady_rate
from featx.finetuning.network import FinetunedNetwork

# Shortest time of one measurement; a large network takes longer for its single batch.
MEASUREMENT_S = 0.1
# Seconds after which the measurements of a busy machine end without a result.
MAX_MEASUREMENT_S = 3.0
MAX_BATCH_SIZE = 8


@torch.inference_mode()
def measure_images_per_s(
    network: FinetunedNetwork, device: torch.device, batch_size: int = MAX_BATCH_SIZE
) -> float | None:
    """Return the images per second of all layers of a network; reading and decoding images is left out.

    The result is None if repeated measurements do not agree, as on a busy machine.

    Parameters
    ----------
    network
        The network, on `device`.
    device
        The device that runs it.
    batch_size
        Images per batch; halved as often as memory requires.
    """
    network.eval()
    try:
        return _measure_rate(network, device, batch_size)
    except Exception as error:
        if not is_out_of_memory(error) or batch_size == 1:
            raise
    return measure_images_per_s(network, device, batch_size // 2)


def _measure_rate(network: FinetunedNetwork, device: torch.device, batch_size: int) -> float | None:
    side = network.preprocessing.size_px
    pixels = torch.zeros(batch_size, side, side, 3, dtype=torch.uint8, device=device)
    # The first call allocates memory and chooses kernels.
    network(pixels).cpu()

    def measure() -> float:
        start, n_images = time.perf_counter(), 0
        while not n_images or time.perf_counter() - start < MEASUREMENT_S:
            network(pixels).cpu()
            n_images += batch_size
        return n_images / (time.perf_counter() - start)

    rate = steady_rate(measure, MAX_MEASUREMENT_S)
    return None if rate is None else rounded_rate(rate)
