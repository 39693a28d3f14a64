"""Votes of a run over noisy copies of an image; equal images get equal noise on every machine and in every batch."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.embeddings.devices import full_fp32
from featx.embeddings.engine import is_out_of_memory
from featx.robustness.attacked_model import AttackedModel

# Noisy copies in a batch, and their bytes in memory.
MAX_COPIES = 64
MAX_BATCH_BYTES = 128_000_000
Counts = NDArray[np.int64]


def noise_source(digest: str, seed: int) -> np.random.Generator:
    """Return the source of the noise of one image, whose numbers do not depend on how many are drawn at once."""
    state = hashlib.sha256(f"{digest} {seed}".encode()).digest()[:16]
    return np.random.Generator(np.random.PCG64(int.from_bytes(state, "big")))


@dataclass(frozen=True)
class NoiseVotes:
    """A run applied to noisy copies of an image.

    Attributes
    ----------
    model
        The run as a function of pixels, on `device`.
    sigma
        Standard deviation of the noise, for pixels in [0, 1]. Noisy pixels are not clipped.
    device
        Device of the model.
    """

    model: AttackedModel
    sigma: float
    device: torch.device

    @torch.no_grad()
    def count(self, pixels: Tensor, n: int, source: np.random.Generator) -> Counts:
        """Return (k,) numbers of noisy copies that each class is predicted for.

        Parameters
        ----------
        pixels
            (3, h, w) pixels of an image in [0, 1].
        n
            Number of copies.
        source
            Source of the noise.
        """
        size = max(1, min(MAX_COPIES, MAX_BATCH_BYTES // (pixels.numel() * pixels.element_size())))
        counts = np.zeros(len(self.model.classes), dtype=np.int64)
        for start in range(0, n, size):
            noise = source.standard_normal((min(size, n - start), *pixels.shape), dtype=np.float32)
            counts += self._count(pixels + self.sigma * torch.from_numpy(noise))
        return counts

    def _count(self, copies: Tensor) -> Counts:
        """Return the numbers of copies with each predicted class; copies that do not fit into memory are halved."""
        try:
            with full_fp32():
                codes = self.model.decide(self.model(copies.to(self.device))).cpu().numpy()
        except Exception as error:
            if not is_out_of_memory(error) or len(copies) == 1:
                raise
            first_half, second_half = copies.tensor_split(2)
            return self._count(first_half) + self._count(second_half)
        return np.bincount(codes, minlength=len(self.model.classes)).astype(np.int64)
