"""Layers of networks, as dry runs find them: names, shapes and the last one with positions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featx.errors import DataError
from featx.networks.backbones import Backbone, get_backbone
from featx.networks.dry_runs import run_for_shapes

# Kinds of layers after which no positions are left.
POOLING_LAYERS = ("AdaptiveAvgPool", "SelectAdaptivePool", "AdaptiveMaxPool", "Flatten")


def positions_last(x: Tensor) -> Tensor:
    """Return a layer's output as (b, c, positions), or unchanged if it is (b, c) already.

    (b, c, h, w) and (b, h, w, c), of networks that keep channels last, are distinguished by h = w, which holds for
    square input; (b, tokens, c) is transposed.
    """
    if x.ndim == 4:
        has_channels_last = x.shape[1] == x.shape[2] != x.shape[3]
        return (x.permute(0, 3, 1, 2) if has_channels_last else x).flatten(2)
    return x.transpose(1, 2) if x.ndim == 3 else x


@dataclass(frozen=True)
class Layer:
    """A named layer and its output in a dry run.

    Attributes
    ----------
    name
        Name of the layer.
    kind
        Name of its class.
    shape
        Shape of its output for one image.
    n_parameters
        Number of its parameters.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    n_parameters: int

    @property
    def has_positions(self) -> bool:
        """Whether the output has several positions."""
        if self.kind.startswith(POOLING_LAYERS):
            return False
        return (len(self.shape) == 4 and self.shape[2] > 1) or (len(self.shape) == 3 and self.shape[1] > 1)

    @property
    def n_features(self) -> int:
        """Number d of features after averaging over positions."""
        return positions_last(torch.empty(self.shape, device="meta")).shape[1]


def trace_layers(body: nn.Module, size_px: int) -> list[Layer]:
    """Return the layers of a network in the order in which they finish in a dry run with one empty image.

    No values are computed unless the network needs them.
    """
    layers: list[Layer] = []

    def layer_hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                n_parameters = sum(p.numel() for p in module.parameters())
                layers.append(Layer(name, type(module).__name__, tuple(output.shape), n_parameters))

        return hook

    hooks = [module.register_forward_hook(layer_hook(name)) for name, module in body.named_modules() if name]
    try:
        run_for_shapes(body, torch.empty(1, 3, size_px, size_px, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return layers


def build_on_meta(name: str) -> tuple[Backbone, nn.Module, list[Layer]]:
    """Return a backbone, its network without values (on torch's ``meta`` device), and its layers."""
    plan = get_backbone(name)
    try:
        with torch.device("meta"):
            body = plan.build().eval()
    # Some networks compute with values while they are built.
    except NotImplementedError:
        body = plan.build().eval().to("meta")
    with torch.device("meta"):
        return plan, body, trace_layers(body, plan.preprocessing.size_px)


def last_layer(layers: Sequence[Layer]) -> str:
    """Return the name of the last layer with positions, which is the one before the classifier's pooling."""
    spatial = [layer.name for layer in layers if layer.has_positions]
    if not spatial:
        raise DataError("the network has no layer with positions; name a layer with 'tap'")
    return spatial[-1]


def stated_last_layer(plan: Backbone, body: nn.Module) -> str | None:
    """Return the name of the layer that a backbone declares as its last one; None if a dry run has to find it."""
    return plan.last(body) if callable(plan.last) else plan.last
