"""What can be named, for people: backbones with their figures, and a backbone's blocks and layers."""

from dataclasses import dataclass
from typing import Any

from featx.errors import DataError
from featx.networks.blocks import Block, blocks, units
from featx.networks.features import last_layer, outline, stated_last_layer
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
    tap = stated_last_layer(plan, body) or last_layer(layers)
    n_features = next(layer.n_features for layer in layers if layer.name == tap)
    n_parameters = sum(parameter.numel() for parameter in body.parameters())
    at_hand = "at hand" if plan.weights.at_hand else plan.weights.url or plan.weights.remedy
    return BackboneRow(name, n_features, plan.preprocessing.size_px, n_parameters, at_hand)


@dataclass(frozen=True)
class Outline:
    """What of a backbone can be named.

    Attributes
    ----------
    blocks
        Name, layers, output shape for one image, parameters, and operations for an image as a share of the network's
        up to its last layer: what fine-tuning names, first to last.
    why_none
        Why there are no blocks; empty where there are.
    layers
        Name, kind, output shape for one image, and parameters, in the order of finishing.
    """

    blocks: list[dict[str, Any]]
    why_none: str
    layers: list[dict[str, Any]]


def list_layers(name: str) -> Outline:
    """Return the blocks and layers of a backbone.

    Raises
    ------
    UnknownNameError
        no backbone is called so.
    """
    plan, body, layers = outline(name)
    rows: list[dict[str, Any]] = [
        {"name": one.name, "kind": one.kind, "shape": _by(one.shape), "n_parameters": one.n_parameters}
        for one in layers
    ]
    try:
        last = stated_last_layer(plan, body) or last_layer(layers)
        found = blocks(units(body, last, plan.preprocessing.size_px))
    except DataError as error:
        return Outline([], str(error), rows)
    whole = sum(block.n_operations for block in found)
    return Outline([_block_row(block, whole) for block in found], "", rows)


def _block_row(block: Block, whole: int) -> dict[str, Any]:
    return {
        "name": block.name,
        "layers": block.layers,
        "shape": _by(block.units[-1].shape),
        "n_parameters": block.n_parameters,
        "n_operations": block.n_operations,
        "share": round(block.n_operations / max(whole, 1), 4),
    }


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
