"""What can be named, for people: backbones with their figures, and a backbone's layers."""

from dataclasses import dataclass
from typing import Any

from featx.networks.features import last_layer, outline
from featx.registry import BACKBONES


@dataclass(frozen=True)
class BackboneRow:
    """A backbone's figures.

    Attributes
    ----------
    n_features
        d of the last layer, averaged.
    size_px
        Side of its square input.
    n_parameters
        Classifier included.
    weights
        ``at hand``, or where they come from.
    """

    name: str
    n_features: int
    size_px: int
    n_parameters: int
    weights: str


def list_backbones() -> list[BackboneRow]:
    """Return one row for each registered backbone; networks are built without values."""
    return [_row(name) for name in BACKBONES.names()]


def _row(name: str) -> BackboneRow:
    plan, body, layers = outline(name)
    tap = plan.last or last_layer(layers)
    n_features = next(layer.n_features for layer in layers if layer.name == tap)
    n_parameters = sum(parameter.numel() for parameter in body.parameters())
    at_hand = "at hand" if plan.weights.at_hand else plan.weights.url or plan.weights.remedy
    return BackboneRow(name, n_features, plan.preprocessing.size_px, n_parameters, at_hand)


def list_layers(name: str) -> list[dict[str, Any]]:
    """Return name, kind, output shape for one image, and parameters of every layer, in the order of finishing.

    Raises
    ------
    UnknownNameError
        no backbone is called so.
    """
    _, _, layers = outline(name)
    return [
        {"name": one.name, "kind": one.kind, "shape": "×".join(map(str, one.shape)), "n_parameters": one.n_parameters}
        for one in layers
    ]
