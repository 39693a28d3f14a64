"""Listings for users: all backbones with their properties, and the blocks and layers of one."""

from dataclasses import dataclass
from typing import Any

from featx.errors import DataError
from featx.networks.blocks import Block, group_into_blocks, trace_units
from featx.networks.traced_layers import build_on_meta, last_layer, stated_last_layer
from featx.registry import BACKBONES


@dataclass(frozen=True)
class BackboneRow:
    """The properties of a backbone.

    Attributes
    ----------
    name
        Name of the backbone.
    n_features
        Number d of features of the last layer, averaged over positions.
    size_px
        Side of its square input in pixels.
    n_parameters
        Number of parameters, classifier included.
    weights
        ``available``, or the URL or the command that provides them.
    """

    name: str
    n_features: int
    size_px: int
    n_parameters: int
    weights: str


def list_backbones() -> list[BackboneRow]:
    """Return one row for each registered backbone, whose network is built without values."""
    return [_row(name) for name in BACKBONES.names()]


def _row(name: str) -> BackboneRow:
    plan, body, layers = build_on_meta(name)
    tap = stated_last_layer(plan, body) or last_layer(layers)
    n_features = next(layer.n_features for layer in layers if layer.name == tap)
    n_parameters = sum(parameter.numel() for parameter in body.parameters())
    source = "available" if plan.weights.is_available else plan.weights.url or plan.weights.next_step
    return BackboneRow(name, n_features, plan.preprocessing.size_px, n_parameters, source)


@dataclass(frozen=True)
class BackboneLayers:
    """The blocks and layers of a backbone that recipes can name.

    Attributes
    ----------
    blocks
        Blocks that fine-tuning names, first to last: name, layers, output shape for one image, parameters, operations
        per image, and these as a share of the operations up to the last layer.
    reason_without_blocks
        Reason why there are no blocks; empty if there are.
    layers
        Name, kind, output shape for one image, and parameters, in the order in which layers finish.
    """

    blocks: list[dict[str, Any]]
    reason_without_blocks: str
    layers: list[dict[str, Any]]


def list_layers(name: str) -> BackboneLayers:
    """Return the blocks and layers of a backbone.

    Raises
    ------
    UnknownNameError
        If no backbone has this name.
    """
    plan, body, layers = build_on_meta(name)
    rows: list[dict[str, Any]] = [
        {"name": layer.name, "kind": layer.kind, "shape": _shape_text(layer.shape), "n_parameters": layer.n_parameters}
        for layer in layers
    ]
    try:
        last = stated_last_layer(plan, body) or last_layer(layers)
        blocks = group_into_blocks(trace_units(body, last, plan.preprocessing.size_px))
    except DataError as error:
        return BackboneLayers([], str(error), rows)
    n_operations = sum(block.n_operations for block in blocks)
    return BackboneLayers([_block_row(block, n_operations) for block in blocks], "", rows)


def _block_row(block: Block, n_total_operations: int) -> dict[str, Any]:
    return {
        "name": block.name,
        "layers": block.layers,
        "shape": _shape_text(block.units[-1].shape),
        "n_parameters": block.n_parameters,
        "n_operations": block.n_operations,
        "share": round(block.n_operations / max(n_total_operations, 1), 4),
    }


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
