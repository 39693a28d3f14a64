"""A backbone as a chain of units, and the blocks in it that fine-tuning names.

A *unit* is what no ``nn.Sequential`` takes apart: a convolution, a residual block. Where a network sends its image
through one unit after the other, it is a chain, and can be parted between any two of them. A *block* is a run of units
at one resolution, from one halving to the next, as papers count them: VGG's five, ResNet's stem and four stages, the
strides of MobileNetV2 and EfficientNet. Where there are fewer than three of those, each unit that has parameters is a
block, called by its layer's name.
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
from featx.networks.dry_runs import run_for_shapes
from featx.networks.features import positions_last

FEWEST = 3  # blocks by resolution: networks with fewer do not halve it


@dataclass(frozen=True)
class Unit:
    """A link of the chain.

    Attributes
    ----------
    name
        Its layer's.
    shape
        Of its output for one image.
    n_parameters, n_operations
        Of its own; operations are the additions and multiplications of convolutions and matrix products, an image.
    """

    name: str
    shape: tuple[int, ...]
    n_parameters: int
    n_operations: int

    @property
    def n_positions(self) -> int:
        """Of its output."""
        x = positions_last(torch.empty(self.shape, device="meta"))
        return x.shape[2] if x.ndim == 3 else 1


@dataclass(frozen=True)
class Block:
    """Units in a row that are trained together."""

    name: str
    units: tuple[Unit, ...]

    @property
    def layers(self) -> str:
        """The first and the last of its layers that have parameters."""
        names = [unit.name for unit in self.units if unit.n_parameters]
        return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"

    @property
    def n_parameters(self) -> int:
        """Of all its units."""
        return sum(unit.n_parameters for unit in self.units)

    @property
    def n_operations(self) -> int:
        """Of all its units, an image."""
        return sum(unit.n_operations for unit in self.units)


class _Units(fx.Tracer):
    """Follows one network in the thread that made it.

    While it traces, calls of all modules in all threads arrive here, and those of other threads run as they are.
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


_tracing = threading.Lock()  # torch.fx replaces methods of nn.Module while it traces


def chain(body: nn.Module, last: str) -> list[str]:
    """Return the names of a network's units up to the layer `last`, in the order in which an image meets them.

    Raises
    ------
    DataError
        it is no chain up to there.
    """
    try:
        with _tracing:
            graph = _Units().trace(body)
    except Exception as error:  # whatever a forward pass does that cannot be followed without values
        raise DataError(f"the network cannot be parted into blocks: {_first_line(error)}") from error
    links: list[fx.Node] = []
    for before, node in pairwise(graph.nodes):
        if node.op != "call_module" or node.args != (before,) or node.kwargs or len(before.users) > 1:
            break
        links.append(node)
    names = [str(node.target) for node in links]
    inside = [at for at, name in enumerate(names) if f"{name}.".startswith(f"{last}.") or last.startswith(f"{name}.")]
    if not inside:
        raise DataError(
            f"the network cannot be parted into blocks: up to {last!r} it does more than run layers in turn"
        )
    return names[: inside[-1] + 1]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def units(body: nn.Module, last: str, size_px: int) -> list[Unit]:
    """Return the chain up to the layer `last`, each unit with its figures, by a dry run.

    Parameters
    ----------
    body
        In eval mode, on any device; on ``meta`` it takes no time.

    Raises
    ------
    DataError
        it is no chain.
    """
    found: list[Unit] = []
    x = torch.empty(1, 3, size_px, size_px, device="meta")
    for name in chain(body, last):
        module = body.get_submodule(name)
        with FlopCounterMode(display=False) as counter:
            output: Tensor = run_for_shapes(module, x.to("meta"))
        n_parameters = sum(parameter.numel() for parameter in module.parameters())
        found.append(Unit(name, tuple(output.shape), n_parameters, counter.get_total_flops()))
        x = output
    return found


def blocks(found: Sequence[Unit]) -> list[Block]:
    """Return the blocks of a chain, first to last; units without parameters belong to the block before them."""
    runs: list[list[Unit]] = []
    for unit in found:
        if not runs or unit.n_positions <= runs[-1][0].n_positions / 2:
            runs.append([])
        runs[-1].append(unit)
    runs = _with_parameters(runs)
    if len(runs) >= FEWEST:
        return [Block(f"block{number}", tuple(run)) for number, run in enumerate(runs, start=1)]
    alone = _with_parameters([[unit] for unit in found])
    return [Block(next(unit.name for unit in run if unit.n_parameters), tuple(run)) for run in alone]


def _with_parameters(runs: Sequence[list[Unit]]) -> list[list[Unit]]:
    """Join each run that has no parameters to the one before it, or, at the beginning, to the one behind it."""
    joined: list[list[Unit]] = []
    for run in runs:
        if joined and not (_learns(run) and _learns(joined[-1])):
            joined[-1] = joined[-1] + run
        else:
            joined.append(run)
    return joined


def _learns(run: Sequence[Unit]) -> bool:
    return any(unit.n_parameters for unit in run)
