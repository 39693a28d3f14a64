"""Backbones up to their last layer with positions, as a sequence of units that can be run in part."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featx.errors import DataError
from featx.networks.blocks import Block, Unit, divide_into_units, group_into_blocks, measure_units
from featx.networks.chains import STEM, Chain, Stem
from featx.networks.features import BuiltBackbone

WHOLE = "whole"
# The operations of a network whose units are unknown: enough that caching its outputs always pays.
WHOLE_OPERATIONS = 10**9


class Trunk(nn.Module):
    """A backbone up to its last layer with positions.

    Parameters
    ----------
    backbone
        The backbone; the trunk takes its modules over.

    Attributes
    ----------
    units
        The units in the order in which an image passes them; a single one if the network cannot be divided.
    names
        Names of the units' layers.
    last
        Name of the last layer inside the trunk.
    blocks
        The blocks that strategies name, first to last; empty if the network cannot be divided.
    indivisible_reason
        Reason why the network cannot be divided into blocks; empty if it can.
    """

    def __init__(self, backbone: BuiltBackbone) -> None:
        super().__init__()
        traced_units: list[Unit] = []
        self.indivisible_reason = ""
        self._first_trainable = 0
        chain, size_px = Chain(()), backbone.preprocessing.size_px
        try:
            chain = divide_into_units(backbone.body, backbone.last, size_px)
            traced_units = measure_units(backbone.body, chain, size_px)
        except DataError as error:
            self.indivisible_reason = str(error)
        self.blocks: tuple[Block, ...] = tuple(group_into_blocks(traced_units))
        self._traced_units = traced_units
        self.names = [unit.name for unit in traced_units] or [WHOLE]
        self.last = self.names[-1] if traced_units else f"{WHOLE}.body.{backbone.last}"
        modules = [backbone.body.get_submodule(name) for name in chain.names if name != STEM]
        if STEM in chain.names:
            modules.insert(0, Stem(backbone.body, chain))
        self.units = nn.ModuleList(modules or [_IndivisibleUnit(backbone.body, backbone.last, size_px)])

    def forward(self, x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
        """Return the output of the units from `start` to before `end`.

        Parameters
        ----------
        x
            (b, 3, size_px, size_px) normalised pixels, or the output of unit ``start - 1``.
        start
            Number of the first unit to run.
        end
            Number of the unit before which to stop; None for the end of the trunk.
        """
        for unit in self.units[start:end]:
            x = unit(x)
        return x

    def unit_output(self, unit: int) -> tuple[str, tuple[int, ...]]:
        """Return the name of a unit's layer and the shape of its output for one image."""
        return self._traced_units[unit].name, self._traced_units[unit].shape[1:]

    def n_operations_below(self, unit: int) -> int:
        """Return the number of operations per image of the units below one."""
        if not self._traced_units:
            return WHOLE_OPERATIONS
        return sum(traced_unit.n_operations for traced_unit in self._traced_units[:unit])

    def parameters_by_unit(self) -> Iterator[tuple[int, str, nn.Parameter]]:
        """Yield unit number, name in the backbone, and value of each parameter on which the last layer depends."""
        for number, unit in enumerate(self.units):
            if isinstance(unit, Stem):
                yield from ((number, name, parameter) for name, parameter in unit.body.named_parameters())
            elif isinstance(unit, _IndivisibleUnit):
                yield from ((number, name, parameter) for name, parameter in unit.used_parameters.items())
            else:
                layer = self._traced_units[number].name
                yield from ((number, f"{layer}.{name}", parameter) for name, parameter in unit.named_parameters())

    def first_unit(self, names: frozenset[str]) -> int:
        """Return the number of the first unit that has one of these parameters, or the number of units if none has."""
        return min((unit for unit, name, _ in self.parameters_by_unit() if name in names), default=len(self.units))

    def set_trainable(self, names: frozenset[str], keeps_statistics: bool = False) -> None:
        """Make these parameters trainable, and freeze all others.

        Parameters
        ----------
        names
            Names of the trainable parameters in the backbone.
        keeps_statistics
            Whether BatchNorm stays in eval mode where its parameters are trained, too.
        """
        self._keeps_statistics = keeps_statistics
        for _, name, parameter in self.parameters_by_unit():
            parameter.requires_grad_(name in names)
        self._first_trainable = self.first_unit(names)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen modules stay in eval mode.

        Frozen BatchNorm keeps its statistics, and units below all trainable ones drop nothing out, so their output is
        the same in every epoch.
        """
        super().train(mode)
        if mode:
            self.units[: self._first_trainable].eval()
            for module in self.modules():
                own_parameters = list(module.parameters(recurse=False))
                is_frozen = bool(own_parameters) and not any(parameter.requires_grad for parameter in own_parameters)
                if is_frozen or (self._keeps_statistics and isinstance(module, _BatchNorm)):
                    module.training = False
        return self


class _IndivisibleUnit(nn.Module):
    """A network that cannot be divided: one unit that returns the output of its layer `last`."""

    def __init__(self, body: nn.Module, last: str, size_px: int) -> None:
        super().__init__()
        self.body = body
        self._outputs: list[Tensor] = []
        body.get_submodule(last).register_forward_hook(self._store_output)
        body.zero_grad()
        self(torch.zeros(1, 3, size_px, size_px)).sum().backward()
        self.used_parameters = {
            name: parameter for name, parameter in body.named_parameters() if parameter.grad is not None
        }
        body.zero_grad()

    def _store_output(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._outputs.append(output)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output."""
        self._outputs.clear()
        self.body(x)
        return self._outputs.pop()
