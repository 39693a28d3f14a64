"""Networks built and run without their values: for shapes, and until weights are loaded."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

RANDOM_INITS = frozenset(
    {getattr(nn.init, name) for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")}
    | {Tensor.normal_, Tensor.uniform_}
)


class WithoutRandomInit(TorchFunctionMode):
    """Leave parameters as they are allocated while a network is built, for networks whose weights are loaded next."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor untouched where it would be filled."""
        if func in RANDOM_INITS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def without_values(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's parameters and buffers on torch's ``meta`` device."""
    return {name: value.to("meta") for name, value in chain(network.named_parameters(), network.named_buffers())}


@torch.inference_mode()
def run_for_shapes(network: nn.Module, x: Tensor) -> Any:
    """Return what a network gives for an empty input: without values, or with values where it needs them.

    Parameters
    ----------
    network
        In eval mode, on any device.
    x
        The input on the ``meta`` device: its shape and dtype.
    """
    try:
        return functional_call(network, without_values(network), (x,))
    except Exception:  # a network that computes with values fails in a way of its own; a true fault is raised below
        first = next(network.parameters(), None)
        return network(torch.zeros(x.shape, dtype=x.dtype, device="cpu" if first is None else first.device))
