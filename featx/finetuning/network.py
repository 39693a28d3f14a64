"""A trunk with new layers on it, from pixels or from the boundary of what learns."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from featx.finetuning.layers import NewLayers
from featx.finetuning.trunk import Trunk
from featx.networks.dry_runs import run_for_shapes
from featx.networks.features import build, normalised, positions_last
from featx.specs.embedding import EmbeddingRequest, Pool, Stored
from featx.specs.finetuning import LayersSpec


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
    operations
        That lie below it, an image.
    """

    unit: int
    tap: str
    pool: Pool
    dtype: Stored
    shape: tuple[int, ...]
    operations: int


def from_flat(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return (b, …) activations of a shape from the (b, d) that ``pool = "flatten"`` made of them."""
    positions = positions_last(torch.empty(1, *shape, device="meta")).shape[1:]
    x = x.view(len(x), *positions)
    if len(shape) == 3 and positions[0] == shape[0]:
        return x.view(len(x), *shape).contiguous(memory_format=torch.channels_last)
    if len(shape) == 3:  # the network keeps channels at the end
        return x.view(len(x), positions[0], *shape[:2]).permute(0, 2, 3, 1)
    return x.transpose(1, 2) if len(shape) == 2 else x


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
    preprocessing
        Of its pixels.
    trunk, layers
        Its two parts.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, request: EmbeddingRequest, layers: LayersSpec, n_outputs: int) -> None:
        super().__init__()
        built = build(request)
        self.preprocessing = built.preprocessing
        side = built.preprocessing.size_px
        self.register_buffer("mean", torch.tensor(built.preprocessing.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(built.preprocessing.std).view(1, 3, 1, 1) * 255)
        self.trunk = Trunk(built).eval()
        features = run_for_shapes(self.trunk, torch.empty(1, 3, side, side, device="meta"))
        self.layers = NewLayers(layers, features, n_outputs)
        self._pool = layers.pool

    def loss_without_held_rows(self, train_loss: float) -> float:
        """Return the loss by which an epoch is kept where no rows are held out: nan if a weight is not finite.

        The losses of train rows are from before each step. That of the last step may ruin the weights unseen.
        """
        is_finite = all(bool(torch.isfinite(value).all()) for value in self.state_dict().values())
        return train_loss if is_finite else math.nan

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (b, m) raw outputs from (b, size_px, size_px, 3) uint8."""
        x = normalised(pixels, self.mean, self.std)
        return self.above(x.contiguous(memory_format=torch.channels_last), 0)

    def above(self, x: Tensor, unit: int) -> Tensor:
        """Return (b, m) raw outputs from what reaches a unit: (b, …); behind the last unit, (b, d) pooled."""
        if unit < len(self.trunk.units):
            x = self.layers.pooled(self.trunk(x, start=unit))
        found: Tensor = self.layers(x)
        return found

    def beyond(self, x: Tensor, unit: int | None) -> Tensor:
        """Return (b, m) raw outputs from a unit's input as a boundary keeps it, or from pixels where there is none."""
        if unit is None:
            found: Tensor = self(x)
            return found
        if 0 < unit < len(self.trunk.units):
            x = from_flat(x.to(self.mean.dtype), self.trunk.output(unit - 1)[1])
        return self.above(x.to(self.mean.dtype), unit)

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
            return Boundary(unit, "last", self._pool, "float32", (self.layers.width,), self.trunk.operations(unit))
        name, shape = self.trunk.output(unit - 1)
        return Boundary(unit, name, "flatten", dtype, shape, self.trunk.operations(unit))
