"""Networks that are built and run without values: to learn shapes, or until weights are loaded."""

from collections.abc import Callable
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
    """A mode in which networks are built without random initialisation, because their weights are loaded next."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor unchanged instead of filling it with random values."""
        if func in RANDOM_INITS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def without_values(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's parameters and buffers on torch's ``meta`` device."""
    return {
        name: value.detach().to("meta") for name, value in chain(network.named_parameters(), network.named_buffers())
    }


@torch.inference_mode()
def run_for_shapes(network: nn.Module, x: Tensor) -> Any:
    """Return the output of a network for an empty input, without values unless the network needs them.

    Parameters
    ----------
    network
        The network in eval mode, on any device.
    x
        Input on the ``meta`` device; its shape and dtype are used.
    """
    return run_dry(network, x)


def run_dry(network: nn.Module, x: Tensor, on_retry: Callable[[], object] | None = None) -> Any:
    """Return what `run_for_shapes` returns, in the caller's mode of gradients.

    Parameters
    ----------
    network, x
        As for `run_for_shapes`.
    on_retry
        Function that is called before the network runs again, with values.
    """
    try:
        return functional_call(network, without_values(network), (x,))
    # Networks that compute with values fail with any exception here; real errors are raised again below.
    except Exception:
        if on_retry is not None:
            on_retry()
        parameter = next(network.parameters(), None)
        return network(torch.zeros(x.shape, dtype=x.dtype, device="cpu" if parameter is None else parameter.device))
