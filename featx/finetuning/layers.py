"""New layers on top of a trunk: pooling → [BatchNorm] → fully connected with ReLU → dropout → output."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from featx.errors import DataError
from featx.networks.features import POOLS
from featx.networks.traced_layers import positions_last
from featx.specs.finetuning import Activation, LayersSpec

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda z: z.softmax(1),
}
RANGES: dict[Activation, tuple[float, float]] = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softmax": (0.0, 1.0)}


class NewLayers(nn.Module):
    """Layers that turn the output of a trunk into raw outputs.

    Parameters
    ----------
    spec
        Pooling, normalisation, widths and dropout.
    features
        (1, …) output of the trunk for any image; it determines the number of features.
    n_outputs
        Number m of raw outputs.

    Attributes
    ----------
    width
        Number d of pooled features.
    """

    def __init__(self, spec: LayersSpec, features: Tensor, n_outputs: int) -> None:
        super().__init__()
        self._pool = spec.pool
        self.width = width = self.pooled(features).shape[1]
        layers: list[nn.Module] = [nn.BatchNorm1d(width)] if spec.batch_norm else []
        shares = spec.dropout if isinstance(spec.dropout, tuple) else ()
        for number, n_hidden in enumerate(spec.hidden):
            layers += [nn.Linear(width, n_hidden), nn.ReLU(), *map(nn.Dropout, shares[number : number + 1])]
            width = n_hidden
        if not isinstance(spec.dropout, tuple):
            layers.append(nn.Dropout(spec.dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_outputs))

    def pooled(self, features: Tensor) -> Tensor:
        """Return (b, d) pooled features of a trunk's output: the training input where no layer of the trunk learns."""
        x = positions_last(features)
        return x if x.ndim == 2 else POOLS[self._pool](x)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return (b, m) raw outputs for (b, d) pooled features."""
        outputs: Tensor = self.layers(pooled)
        return outputs


def check_range(activation: Activation, low: float, high: float) -> None:
    """Check that an activation can give all targets between `low` and `high`.

    Raises
    ------
    DataError
        If a target lies outside the range of the activation.
    """
    lower, upper = RANGES.get(activation, (low, high))
    if low < lower or high > upper:
        raise DataError(
            f"targets lie between {low:g} and {high:g}, activation {activation!r} gives {lower:g} to {upper:g}; scale "
            "them, or set activation = 'none'"
        )
