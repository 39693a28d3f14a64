"""A backbone up to its last layer, in units that can be run some at a time."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featx.errors import DataError
from featx.networks.blocks import Block, Unit, blocks, units
from featx.networks.features import Built

WHOLE = "whole"
WHOLE_OPERATIONS = 10**9  # of a network whose parts are not known: more than to read what it gives


class Trunk(nn.Module):
    """A backbone up to its last layer with positions.

    Parameters
    ----------
    built
        The backbone; its modules become this one's.

    Attributes
    ----------
    units
        In the order in which an image meets them; one, where the network cannot be parted.
    names
        Of the units' layers.
    last
        Where its last layer is found.
    blocks
        What strategies name, first to last; none where the network cannot be parted.
    why_whole
        Why it cannot be parted; empty where it can.
    """

    def __init__(self, built: Built) -> None:
        super().__init__()
        found: list[Unit] = []
        self.why_whole = ""
        self._first = 0
        try:
            found = units(built.body, built.last, built.preprocessing.size_px)
        except DataError as error:
            self.why_whole = str(error)
        self.blocks: tuple[Block, ...] = tuple(blocks(found))
        self._found = found
        self.names = [unit.name for unit in found] or [WHOLE]
        self.last = self.names[-1] if found else f"{WHOLE}.body.{built.last}"
        modules = [built.body.get_submodule(unit.name) for unit in found]
        self.units = nn.ModuleList(modules or [_Whole(built.body, built.last, built.preprocessing.size_px)])

    def forward(self, x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
        """Run the units from `start` to before `end`.

        Parameters
        ----------
        x
            (b, 3, size_px, size_px), normalised; or what unit ``start - 1`` gives.
        """
        for unit in self.units[start:end]:
            x = unit(x)
        return x

    def output(self, unit: int) -> tuple[str, tuple[int, ...]]:
        """Return the name of a unit's layer and the shape of its output for one image."""
        return self._found[unit].name, self._found[unit].shape[1:]

    def operations(self, unit: int) -> int:
        """Return how many operations the units below one take, an image."""
        if not self._found:
            return WHOLE_OPERATIONS
        return sum(found.n_operations for found in self._found[:unit])

    def parameters_by_unit(self) -> Iterator[tuple[int, str, nn.Parameter]]:
        """Yield the number of the unit, the name in the backbone, and each parameter that its last layer depends on."""
        for at, unit in enumerate(self.units):
            if isinstance(unit, _Whole):
                yield from ((at, name, parameter) for name, parameter in unit.reached.items())
            else:
                yield from ((at, f"{self._found[at].name}.{name}", p) for name, p in unit.named_parameters())

    def first_unit(self, names: frozenset[str]) -> int:
        """Return the number of the first unit that has one of these parameters; how many there are, if none has."""
        return min((at for at, name, _ in self.parameters_by_unit() if name in names), default=len(self.units))

    def let_learn(self, names: frozenset[str], keeps_statistics: bool = False) -> None:
        """Let these parameters learn, and no others.

        Parameters
        ----------
        keeps_statistics
            BatchNorm stays as in prediction where its parameters learn, too.
        """
        self._keeps_statistics = keeps_statistics
        for _, name, parameter in self.parameters_by_unit():
            parameter.requires_grad_(name in names)
        self._first = self.first_unit(names)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is frozen stays as in prediction.

        Its BatchNorm keeps its statistics, and units below all that learns drop nothing out, so what they give is the
        same in every epoch.
        """
        super().train(mode)
        if mode:
            self.units[: self._first].eval()
            for module in self.modules():
                own = list(module.parameters(recurse=False))
                frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
                if frozen or (self._keeps_statistics and isinstance(module, _BatchNorm)):
                    module.training = False
        return self


class _Whole(nn.Module):
    """A network that cannot be parted: one unit, which gives what its layer `last` gives."""

    def __init__(self, body: nn.Module, last: str, size_px: int) -> None:
        super().__init__()
        self.body = body
        self._seen: list[Tensor] = []
        body.get_submodule(last).register_forward_hook(self._keep)
        body.zero_grad()
        self(torch.zeros(1, 3, size_px, size_px)).sum().backward()
        self.reached = {name: one for name, one in body.named_parameters() if one.grad is not None}
        body.zero_grad()

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._seen.append(output)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output."""
        self._seen.clear()
        self.body(x)
        return self._seen.pop()
