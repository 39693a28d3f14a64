"""Strategies: names of the parameters below the new layers that are trained."""

import re
from collections.abc import Sequence

from featx.errors import DataError, UnknownNameError
from featx.finetuning.trunk import Trunk
from featx.registry import suggest_names

STRATEGIES = ("head", "last-block", "last-N-blocks", "all", "scratch")
LAST_BLOCKS = re.compile(r"last-block|last-([1-9]\d*)-blocks")


def trainable_names(strategy: str | Sequence[str], trunk: Trunk) -> frozenset[str]:
    """Return the names of the trunk's parameters that are trained; the new layers always are.

    Parameters
    ----------
    strategy
        ``head`` (no parameter of the trunk), ``last-block``, ``last-N-blocks``, ``all`` or ``scratch``; or names of
        blocks and layers, in a list or joined by ``+``.
    trunk
        The trunk that has the blocks and layers.

    Raises
    ------
    DataError
        If the network has fewer blocks, or none.
    UnknownNameError
        If there is no such strategy, block or layer; the message lists the existing ones.
    """
    if not isinstance(strategy, str):
        return frozenset().union(*(_names_below(name, trunk) for name in strategy))
    if strategy in {"all", "scratch"}:
        return frozenset(name for _, name, _ in trunk.parameters_by_unit())
    if strategy == "head":
        return frozenset()
    if (match := LAST_BLOCKS.fullmatch(strategy)) is None:
        return frozenset().union(*(_names_below(name, trunk) for name in strategy.split("+")))
    n_blocks = int(match[1] or 1)
    if not trunk.blocks:
        raise DataError(f"strategy {strategy!r}: {trunk.indivisible_reason}; name the layers to train")
    if n_blocks > len(trunk.blocks):
        raise DataError(f"strategy {strategy!r}: the network has {len(trunk.blocks)} blocks; set 'all' for all of them")
    return frozenset().union(*(_names_below(block.name, trunk) for block in trunk.blocks[-n_blocks:]))


def canonical_strategy(strategy: str) -> str:
    """Return a strategy's canonical name: blocks sorted and each once, ``last-block`` for the last one."""
    if strategy in STRATEGIES or LAST_BLOCKS.fullmatch(strategy):
        return "last-block" if strategy == "last-1-blocks" else strategy
    return "+".join(sorted(set(strategy.split("+"))))


def _names_below(name: str, trunk: Trunk) -> frozenset[str]:
    """Return the names of the parameters of a block, or of a layer and the layers inside it."""
    units = {block.name: {unit.name for unit in block.units} for block in trunk.blocks}.get(name, set())
    parameters = [parameter for _, parameter, _ in trunk.parameters_by_unit()]
    selected = frozenset(
        parameter
        for unit, parameter, _ in trunk.parameters_by_unit()
        if trunk.names[unit] in units or (not units and parameter.startswith(f"{name}."))
    )
    if not selected:
        blocks = [block.name for block in trunk.blocks]
        blocks = blocks or sorted({parameter.rpartition(".")[0] for parameter in parameters})
        close = suggest_names(name, [*STRATEGIES, *blocks], limit=16)
        raise UnknownNameError(f"no strategy, block or layer with parameters is called {name!r}; {close}")
    return selected
