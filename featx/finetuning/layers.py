"""The new layers on top of a trunk: pooling → [BatchNorm] → fully connected with ReLU → dropout → output."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from featx.errors import DataError
from featx.networks.features import POOLS, positions_last
from featx.specs.finetuning import Activation, LayersSpec

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda z: z.softmax(1),
}
RANGES: dict[Activation, tuple[float, float]] = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softmax": (0.0, 1.0)}


class NewLayers(nn.Module):
    """What a trunk's last layer gives in, raw outputs out.

    Parameters
    ----------
    spec
        Which layers.
    features
        The trunk's output for some image, (1, …): it says how many features there are.
    n_outputs
        m.

    Attributes
    ----------
    width
        d of what is pooled.
    """

    def __init__(self, spec: LayersSpec, features: Tensor, n_outputs: int) -> None:
        super().__init__()
        self._pool = spec.pool
        self.width = width = self.pooled(features).shape[1]
        layers: list[nn.Module] = [nn.BatchNorm1d(width)] if spec.batch_norm else []
        for hidden in spec.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Dropout(spec.dropout), nn.Linear(width, n_outputs))

    def pooled(self, features: Tensor) -> Tensor:
        """Return (b, d) from a trunk's output; what training starts from where nothing of the trunk learns."""
        x = positions_last(features)
        return x if x.ndim == 2 else POOLS[self._pool](x)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return (b, m) raw outputs from (b, d)."""
        found: Tensor = self.layers(pooled)
        return found


def check_range(activation: Activation, low: float, high: float) -> None:
    """Check that targets between `low` and `high` can be reached by an output.

    Raises
    ------
    DataError
        the activation never gives such numbers.
    """
    least, most = RANGES.get(activation, (low, high))
    if low < least or high > most:
        raise DataError(
            f"targets lie between {low:g} and {high:g}, activation {activation!r} gives {least:g} to {most:g}; scale "
            "them, or say activation = 'none'"
        )
