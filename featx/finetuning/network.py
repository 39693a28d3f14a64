"""A trunk with new layers on it, from pixels or from the boundary of what learns."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from featx.finetuning.layers import NewLayers
from featx.finetuning.trunk import Trunk
from featx.networks.features import build, normalised
from featx.specs import EmbeddingRequest, LayersSpec, Pool, Stored


class Boundary(NamedTuple):
    """Where what learns begins, and what embedding holds what reaches it.

    Attributes
    ----------
    unit
        Number of the first unit that learns; the number of units where only the new layers do.
    tap, pool, dtype
        Of the embedding: a unit's whole output, or the pooled output of the last one.
    shape
        Of one image's activations.
    """

    unit: int
    tap: str
    pool: Pool
    dtype: Stored
    shape: tuple[int, ...]


class FinetunedNetwork(nn.Module):
    """uint8 pixels in, raw outputs out.

    Parameters
    ----------
    request
        The backbone, its weights and its preprocessing.
    layers
        The new layers.
    n_outputs
        m.

    Attributes
    ----------
    trunk, layers
        Its two parts.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, request: EmbeddingRequest, layers: LayersSpec, n_outputs: int) -> None:
        super().__init__()
        built = build(request)
        side = built.preprocessing.size_px
        self.register_buffer("mean", torch.tensor(built.preprocessing.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(built.preprocessing.std).view(1, 3, 1, 1) * 255)
        self.trunk = Trunk(built).eval()
        with torch.inference_mode():
            features = self.trunk(torch.zeros(1, 3, side, side))
        self.layers = NewLayers(layers, features, n_outputs)
        self._pool = layers.pool

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (b, m) raw outputs from (b, size_px, size_px, 3) uint8."""
        return self.above(normalised(pixels, self.mean, self.std), 0)

    def above(self, x: Tensor, unit: int) -> Tensor:
        """Return (b, m) raw outputs from what reaches a unit: (b, …); behind the last unit, (b, d) pooled."""
        if unit < len(self.trunk.units):
            x = self.layers.pooled(self.trunk(x, start=unit))
        found: Tensor = self.layers(x)
        return found

    def boundary(self, learning: frozenset[str], dtype: Stored = "float16") -> Boundary | None:
        """Return where these parameters of the trunk begin; None where they begin with the first unit.

        Parameters
        ----------
        dtype
            Of a unit's whole output.
        """
        unit = self.trunk.first_unit(learning)
        if unit == 0:
            return None
        if unit == len(self.trunk.units):
            return Boundary(unit, "last", self._pool, "float32", (self.layers.width,))
        name, shape = self.trunk.output(unit - 1)
        return Boundary(unit, name, "flatten", dtype, shape)
