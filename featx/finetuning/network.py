"""Fine-tuned networks: a trunk with new layers, run from pixels or from the boundary of the trainable units."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from featx.errors import DataError
from featx.finetuning.layers import NewLayers
from featx.finetuning.trunk import Trunk
from featx.networks.chains import STEM
from featx.networks.dry_runs import run_for_shapes
from featx.networks.features import build_backbone, normalise_pixels
from featx.networks.own_weights import has_class_token
from featx.networks.traced_layers import positions_last
from featx.specs.embedding import EmbeddingRequest, Pool, StoredDtype
from featx.specs.finetuning import LayersSpec


class Boundary(NamedTuple):
    """The first trainable unit of a trunk, and the embedding that stores its input.

    Attributes
    ----------
    unit
        Number of the first trainable unit; the number of units if only the new layers are trained.
    tap
        Layer that the embedding reads.
    pool
        Pooling of the embedding: ``flatten`` for the whole output of a unit, or the pooling of the new layers.
    dtype
        Type in which the embedding is stored.
    shape
        Shape of the activations of one image.
    n_operations
        Operations per image below the boundary.
    """

    unit: int
    tap: str
    pool: Pool
    dtype: StoredDtype
    shape: tuple[int, ...]
    n_operations: int

    @property
    def row_bytes(self) -> int:
        """Bytes of the activations of one image."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def from_flat(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return (b, …) activations of a shape from the (b, d) that ``pool = "flatten"`` made of them."""
    positions = positions_last(torch.empty(1, *shape, device="meta")).shape[1:]
    x = x.view(len(x), *positions)
    if len(shape) == 3 and positions[0] == shape[0]:
        return x.view(len(x), *shape).contiguous(memory_format=torch.channels_last)
    # The network keeps channels at the end.
    if len(shape) == 3:
        return x.view(len(x), positions[0], *shape[:2]).permute(0, 2, 3, 1)
    return x.transpose(1, 2) if len(shape) == 2 else x


class FinetunedNetwork(nn.Module):
    """A network that turns uint8 pixels into raw outputs.

    Parameters
    ----------
    request
        The backbone, its weights and its preprocessing.
    layers
        The new layers.
    n_outputs
        Number m of raw outputs.
    seed
        Seed of random weights of the backbone.

    Attributes
    ----------
    preprocessing
        Preprocessing of the pixels.
    trunk
        The backbone up to its last layer with positions.
    layers
        The new layers on top of the trunk.
    weights_note
        What was and what was not loaded from a file of the user's own; empty if all of it was.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, request: EmbeddingRequest, layers: LayersSpec, n_outputs: int, seed: int = 0) -> None:
        super().__init__()
        backbone = build_backbone(request, seed)
        self.preprocessing = backbone.preprocessing
        self.weights_note = backbone.loaded.note
        if layers.pool == "cls" and not has_class_token(backbone.body):
            raise DataError(f"pool = 'cls' takes the class token, {request.backbone} has none; set pool = 'avg'")
        side = backbone.preprocessing.size_px
        self.register_buffer("mean", torch.tensor(backbone.preprocessing.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(backbone.preprocessing.std).view(1, 3, 1, 1) * 255)
        self.trunk = Trunk(backbone).eval()
        features = run_for_shapes(self.trunk, torch.empty(1, 3, side, side, device="meta"))
        self.layers = NewLayers(layers, features, n_outputs)
        self._pool = layers.pool

    @property
    def has_finite_weights(self) -> bool:
        """Whether all weights are finite; the losses of the steps do not show what the last step did to them."""
        return all(bool(torch.isfinite(value).all()) for value in self.state_dict().values())

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (b, m) raw outputs for (b, size_px, size_px, 3) uint8 pixels."""
        x = normalise_pixels(pixels, self.mean, self.std)
        return self._run_from_unit(x.contiguous(memory_format=torch.channels_last), 0)

    def _run_from_unit(self, x: Tensor, unit: int) -> Tensor:
        """Return (b, m) raw outputs for the (b, …) input of a unit, or for (b, d) pooled features after the last."""
        if unit < len(self.trunk.units):
            x = self.layers.pooled(self.trunk(x, start=unit))
        outputs: Tensor = self.layers(x)
        return outputs

    def run_from(self, x: Tensor, unit: int | None) -> Tensor:
        """Return (b, m) raw outputs.

        Parameters
        ----------
        x
            Activations as the embedding of a `Boundary` stores them, or pixels.
        unit
            Number of the unit whose input `x` is; None for pixels.
        """
        if unit is None:
            outputs: Tensor = self(x)
            return outputs
        if 0 < unit < len(self.trunk.units):
            x = from_flat(x.to(self.mean.dtype), self.trunk.unit_output(unit - 1)[1])
        return self._run_from_unit(x.to(self.mean.dtype), unit)

    def boundary(self, trainable: frozenset[str], dtype: StoredDtype = "float16") -> Boundary | None:
        """Return the boundary below the first trainable unit; None where nothing that a layer returns is below it.

        That unit is then the first one of the trunk, or follows a stem, whose output is that of no layer.

        Parameters
        ----------
        trainable
            Names of the trainable parameters of the trunk.
        dtype
            Type in which the whole output of a unit is stored.
        """
        unit = self.trunk.first_unit(trainable)
        if unit == 0 or (unit == 1 and self.trunk.names[0] == STEM):
            return None
        n_operations = self.trunk.n_operations_below(unit)
        if unit == len(self.trunk.units):
            return Boundary(unit, "last", self._pool, "float32", (self.layers.width,), n_operations)
        name, shape = self.trunk.unit_output(unit - 1)
        return Boundary(unit, name, "flatten", dtype, shape, n_operations)
