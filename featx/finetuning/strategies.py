"""What learns below the new layers, by name."""

import re
from collections.abc import Sequence

from featx.errors import DataError, UnknownNameError
from featx.finetuning.trunk import Trunk
from featx.registry import suggestion

KNOWN = ("head", "last-block", "last-N-blocks", "all", "scratch")
LAST_BLOCKS = re.compile(r"last-block|last-([1-9]\d*)-blocks")


def learning(what: str | Sequence[str], trunk: Trunk) -> frozenset[str]:
    """Return the names of the trunk's parameters that learn; the new layers always do.

    Parameters
    ----------
    what
        ``head`` (none of them), ``last-block``, ``last-N-blocks``, ``all`` or ``scratch``; or names of blocks and
        layers, in a list or joined by ``+``.

    Raises
    ------
    DataError
        the network has fewer blocks, or none.
    UnknownNameError
        there is no such strategy, block or layer; names those that there are.
    """
    if not isinstance(what, str):
        return frozenset().union(*(_named(name, trunk) for name in what))
    every = frozenset(name for _, name, _ in trunk.parameters_by_unit())
    if what in {"all", "scratch"}:
        return every
    if what == "head":
        return frozenset()
    if (asked := LAST_BLOCKS.fullmatch(what)) is None:
        return frozenset().union(*(_named(name, trunk) for name in what.split("+")))
    n_blocks = int(asked[1] or 1)
    if not trunk.blocks:
        raise DataError(f"strategy {what!r}: {trunk.why_whole}; name the layers that are to learn")
    if n_blocks > len(trunk.blocks):
        raise DataError(f"strategy {what!r}: the network has {len(trunk.blocks)} blocks; say 'all' for all of them")
    return frozenset().union(*(_named(block.name, trunk) for block in trunk.blocks[-n_blocks:]))


def _named(name: str, trunk: Trunk) -> frozenset[str]:
    """Return the parameters of a block, or of a layer and what is inside it."""
    layers = {block.name: [unit.name for unit in block.units] for block in trunk.blocks}.get(name, [name])
    every = [parameter for _, parameter, _ in trunk.parameters_by_unit()]
    found = frozenset(one for one in every if any(one.startswith(f"{layer}.") for layer in layers))
    if not found:
        blocks = [block.name for block in trunk.blocks] or sorted({one.rpartition(".")[0] for one in every})
        close = suggestion(name, [*KNOWN, *blocks], limit=16)
        raise UnknownNameError(f"no strategy, block or layer with parameters is called {name!r}; {close}")
    return found
