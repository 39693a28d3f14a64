"""Chains of units in networks that torch.fx cannot trace, found by a dry run.

A dry run records the input and the output of every layer. Where the input of a layer is the very tensor that the layer
before it returned, unchanged, nothing happens between the two. What comes before the longest such sequence is the
*stem*: in a vision transformer the patches, the class token and the positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featx.errors import DataError
from featx.networks.dry_runs import run_dry

# Name of the unit of everything before a chain.
STEM = "stem"
# A chain that is shorter is searched for inside its last unit.
MIN_UNITS_WITH_PARAMETERS = 3


class Chain(NamedTuple):
    """A sequence of units.

    Attributes
    ----------
    names
        Names of the units in the order in which an image passes them; the first may be `STEM`.
    after_stem
        Names of the layers that do not belong to the stem; empty without a stem.
    """

    names: tuple[str, ...]
    after_stem: frozenset[str] = frozenset()

    def is_in_stem(self, parameter: str) -> bool:
        """Return whether a parameter of the network belongs to its stem."""
        layers = parameter.split(".")
        return not any(".".join(layers[:depth]) in self.after_stem for depth in range(1, len(layers)))


@dataclass
class LayerCall:
    """A call of a layer in a dry run.

    Attributes
    ----------
    name, module
        The layer.
    parent
        The call of the layer inside which it was called; None for the network itself.
    x
        Its input, and None if it takes more than one tensor.
    version
        Number of changes in place that its input had seen.
    output, output_version
        Its output, and the same for it.
    """

    name: str
    module: nn.Module
    parent: "LayerCall | None"
    x: Tensor | None
    version: int
    output: Any = None
    output_version: int = -1

    def follows(self, previous: "LayerCall") -> bool:
        """Return whether the input is the output of the previous call, unchanged."""
        return self.x is previous.output and self.x is not None and self.version == previous.output_version


def record_calls(body: nn.Module, size_px: int) -> list[LayerCall]:
    """Return the calls of all layers in a dry run, in the order in which they begin."""
    calls: list[LayerCall] = []
    open_calls: list[LayerCall] = []

    def before(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            arguments = [*args[1:], *kwargs.values()]
            is_simple = bool(args) and isinstance(args[0], Tensor) and all(argument is None for argument in arguments)
            parent = open_calls[-1] if open_calls else None
            call = LayerCall(
                name, module, parent, args[0] if is_simple else None, args[0]._version if is_simple else -1
            )
            calls.append(call)
            open_calls.append(call)

        return hook

    def after(_module: nn.Module, _args: object, output: object) -> None:
        call = open_calls.pop()
        call.output, call.output_version = output, output._version if isinstance(output, Tensor) else -1

    def forget() -> None:
        calls.clear()
        open_calls.clear()

    layers = [(name, module) for name, module in body.named_modules() if name]
    hooks = [module.register_forward_pre_hook(before(name), with_kwargs=True) for name, module in layers]
    hooks += [module.register_forward_hook(after) for _, module in layers]
    try:
        # Tensors of the inference mode do not count their changes.
        with torch.inference_mode(False), torch.no_grad():
            x = torch.empty(1, 3, size_px, size_px, device="meta")
            run_dry(body, x, on_retry=forget)
    finally:
        for handle in hooks:
            handle.remove()
    return calls


def find_chain(body: nn.Module, last: str, size_px: int) -> Chain:
    """Return the units up to the layer `last`, after a stem where the chain does not begin with the network's input.

    Parameters
    ----------
    body
        The network in eval mode, on any device.
    last
        Name of the last layer.
    size_px
        Side of the input in pixels.

    Raises
    ------
    DataError
        No such chain has several units with parameters.
    """
    calls = record_calls(body, size_px)
    units = _units([call for call in calls if call.parent is None], calls)
    while units:
        position = max((i for i, call in enumerate(units) if _is_related(call.name, last)), default=-1)
        chain = _chain_before(units[: position + 1])
        if sum(_has_parameters(call.module) for call in chain) >= MIN_UNITS_WITH_PARAMETERS and _are_distinct(chain):
            start = next(number for number, call in enumerate(calls) if call is chain[0])
            in_stem = {call.name for call in calls[:start]}
            names_after_stem = frozenset(call.name for call in calls[start:]) - in_stem
            return Chain((STEM, *(call.name for call in chain)), names_after_stem)
        children = [call for call in calls if position >= 0 and call.parent is units[position]]
        units = _units(children, calls)
    raise DataError(
        f"the network cannot be divided into blocks: up to {last!r} it does more than run layers in sequence"
    )


def _is_related(name: str, last: str) -> bool:
    """Return whether one of two layers is the other or lies inside it."""
    return f"{name}.".startswith(f"{last}.") or last.startswith(f"{name}.")


def _units(parent_calls: Sequence[LayerCall], calls: Sequence[LayerCall]) -> list[LayerCall]:
    """Return calls with those inside an ``nn.Sequential`` in its place."""
    units: list[LayerCall] = []
    for call in parent_calls:
        children = [child for child in calls if child.parent is call]
        is_sequence = type(call.module).forward is nn.Sequential.forward and bool(children)
        units += _units(children, calls) if is_sequence else [call]
    return units


def _chain_before(units: Sequence[LayerCall]) -> list[LayerCall]:
    """Return the last of these calls, and those before it that it follows without a gap."""
    chain: list[LayerCall] = []
    for call in reversed(units):
        if (chain and not chain[0].follows(call)) or call.x is None or not isinstance(call.output, Tensor):
            break
        chain.insert(0, call)
    return chain


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _are_distinct(chain: Sequence[LayerCall]) -> bool:
    modules = [call.module for call in chain if _has_parameters(call.module)]
    return len({id(module) for module in modules}) == len(modules)


class _StemEndError(Exception):
    """Ends the run of a network where its chain begins, with the input of the first unit."""

    def __init__(self, x: Tensor) -> None:
        super().__init__("the stem ends here")
        self.x = x


class _StemEnd(nn.Module):
    """A layer in place of the first unit of a chain."""

    def forward(self, x: Tensor) -> Tensor:
        """Raise the error that ends the run."""
        raise _StemEndError(x)


class Stem(nn.Module):
    """The part of a network before the first unit of its chain, as a unit of its own.

    Parameters
    ----------
    body
        The network; the layers of the chain and those after it are taken out of it.
    chain
        The chain.
    """

    def __init__(self, body: nn.Module, chain: Chain) -> None:
        super().__init__()
        for name in sorted(chain.after_stem):
            if not any(name.startswith(f"{parent_name}.") for parent_name in chain.after_stem):
                body.set_submodule(name, _StemEnd() if name == chain.names[1] else nn.Identity())
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return the input of the first unit."""
        try:
            self.body(x)
        except _StemEndError as end:
            return end.x
        raise AssertionError("the network ran without its first unit")


class StemProbe(nn.Module):
    """A stem that leaves its network unchanged, for dry runs."""

    def __init__(self, body: nn.Module, first: str) -> None:
        super().__init__()
        self.body, self._first = body, first

    def forward(self, x: Tensor) -> Tensor:
        """Return the input of the first unit."""

        def end(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            raise _StemEndError(args[0])

        handle = self.body.get_submodule(self._first).register_forward_pre_hook(end)
        try:
            self.body(x)
        except _StemEndError as reached:
            return reached.x
        finally:
            handle.remove()
        raise AssertionError("the network ran without its first unit")
