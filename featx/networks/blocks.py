"""Backbones as chains of units, and the blocks of units that fine-tuning names.

A *unit* is a module that is not an ``nn.Sequential``, such as a convolution or a residual block. A network that runs
one unit after the other is a chain, and can be divided between any two units. A *block* is a sequence of units at one
resolution, from one halving to the next, as papers count them: VGG's five, ResNet's stem and four stages, the strides
of MobileNetV2 and EfficientNet. If there are fewer than three of those, each unit that multiplies by parameters is a
block, with the name of its layer: the encoder blocks of a vision transformer, whose first block is its stem
(`featx.networks.chains`).
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from featx.errors import DataError
from featx.networks.chains import STEM, Chain, StemProbe, find_chain
from featx.networks.dry_runs import run_for_shapes
from featx.networks.traced_layers import positions_last

# Networks with fewer blocks by resolution keep their resolution, so their blocks are single units instead.
MIN_BLOCKS_BY_RESOLUTION = 3


@dataclass(frozen=True)
class Unit:
    """A unit of a chain.

    Attributes
    ----------
    name
        Name of its layer.
    shape
        Shape of its output for one image.
    n_parameters
        Number of its parameters.
    n_operations
        Number of its additions and multiplications in convolutions and matrix products, per image.
    """

    name: str
    shape: tuple[int, ...]
    n_parameters: int
    n_operations: int

    @property
    def n_positions(self) -> int:
        """Number of positions of its output."""
        x = positions_last(torch.empty(self.shape, device="meta"))
        return x.shape[2] if x.ndim == 3 else 1


@dataclass(frozen=True)
class Block:
    """Consecutive units that are trained together.

    Attributes
    ----------
    name
        Name of the block.
    units
        Units in the order in which an image passes them.
    """

    name: str
    units: tuple[Unit, ...]

    @property
    def layers(self) -> str:
        """The names of its first and last layer with parameters, as a text."""
        names = [unit.name for unit in self.units if unit.n_parameters]
        return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all units."""
        return sum(unit.n_parameters for unit in self.units)

    @property
    def n_operations(self) -> int:
        """Number of operations of all units, per image."""
        return sum(unit.n_operations for unit in self.units)


class _UnitTracer(fx.Tracer):
    """A tracer of one network, in the thread that created it.

    While it traces, it receives the calls of all modules in all threads; calls of other threads run unchanged.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


# While torch.fx traces, it replaces methods of nn.Module.
_trace_lock = threading.Lock()


def trace_chain(body: nn.Module, last: str) -> list[str]:
    """Return the names of a network's units up to the layer `last`, in the order in which an image passes them.

    Raises
    ------
    DataError
        If the network is not a chain up to that layer.
    """
    try:
        with _trace_lock:
            graph = _UnitTracer().trace(body)
    # A forward pass that depends on values fails with any exception.
    except Exception as error:
        raise DataError(f"the network cannot be divided into blocks: {_first_line(error)}") from error
    unit_nodes: list[fx.Node] = []
    for previous_node, node in pairwise(graph.nodes):
        if node.op != "call_module" or node.args != (previous_node,) or node.kwargs or len(previous_node.users) > 1:
            break
        unit_nodes.append(node)
    names = [str(node.target) for node in unit_nodes]
    positions = [
        position
        for position, name in enumerate(names)
        if f"{name}.".startswith(f"{last}.") or last.startswith(f"{name}.")
    ]
    if not positions:
        raise DataError(
            f"the network cannot be divided into blocks: up to {last!r} it does more than run layers in sequence"
        )
    return names[: positions[-1] + 1]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def divide_into_units(body: nn.Module, last: str, size_px: int) -> Chain:
    """Return the units of a network up to the layer `last`, traced by torch.fx or found by a dry run.

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
        If the network is not a chain up to that layer, not even after a stem.
    """
    try:
        return Chain(tuple(trace_chain(body, last)))
    except DataError as error:
        try:
            return find_chain(body, last, size_px)
        except DataError:
            raise error from None


def measure_units(body: nn.Module, chain: Chain, size_px: int) -> list[Unit]:
    """Return the units of a chain, with shapes and costs from a dry run, which is instantaneous on ``meta``."""
    units: list[Unit] = []
    x = torch.empty(1, 3, size_px, size_px, device="meta")
    for name in chain.names:
        module = StemProbe(body, chain.names[1]) if name == STEM else body.get_submodule(name)
        with FlopCounterMode(display=False) as counter:
            output: Tensor = run_for_shapes(module, x.to("meta"))
        parameters = dict(module.named_parameters())
        if name == STEM:
            parameters = {n: value for n, value in body.named_parameters() if chain.is_in_stem(n)}
        n_parameters = sum(parameter.numel() for parameter in parameters.values())
        units.append(Unit(name, tuple(output.shape), n_parameters, counter.get_total_flops()))
        x = output
    return units


def trace_units(body: nn.Module, last: str, size_px: int) -> list[Unit]:
    """Return the units of a network up to the layer `last`; parameters and errors are those of `divide_into_units`."""
    return measure_units(body, divide_into_units(body, last, size_px), size_px)


def group_into_blocks(units: Sequence[Unit]) -> list[Block]:
    """Return the blocks of a chain, first to last; units without parameters belong to the block before them."""
    resolution_groups: list[list[Unit]] = []
    for unit in units:
        if not resolution_groups or unit.n_positions <= resolution_groups[-1][0].n_positions / 2:
            resolution_groups.append([])
        resolution_groups[-1].append(unit)
    groups = _merge_without(resolution_groups, lambda unit: unit.n_parameters)
    if len(groups) >= MIN_BLOCKS_BY_RESOLUTION:
        return [Block(f"block{number}", tuple(group)) for number, group in enumerate(groups, start=1)]
    # A normalisation belongs to the layer before it.
    groups = _merge_without([[unit] for unit in units], lambda unit: unit.n_parameters and unit.n_operations)
    return [Block(_main_layer(group), tuple(group)) for group in groups]


def _main_layer(group: Sequence[Unit]) -> str:
    """Return the name of the first unit that has parameters and, if there is such a one, multiplies by them."""
    parameter_units = [unit for unit in group if unit.n_parameters]
    return next((unit.name for unit in parameter_units if unit.n_operations), parameter_units[0].name)


def _merge_without(groups: Sequence[list[Unit]], quality: Callable[[Unit], int]) -> list[list[Unit]]:
    """Merge each group without units of some quality into the one before it, or, at the beginning, the one after it."""
    merged_groups: list[list[Unit]] = []
    for group in groups:
        if merged_groups and not (any(map(quality, group)) and any(map(quality, merged_groups[-1]))):
            merged_groups[-1] = merged_groups[-1] + group
        else:
            merged_groups.append(group)
    return merged_groups
