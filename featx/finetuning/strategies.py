"""Strategies: names of the parameters below the new layers that are trained."""

import re
import threading
from collections.abc import Iterable, Sequence

from featx.errors import DataError, UnknownNameError
from featx.finetuning.trunk import Trunk
from featx.networks.features import BuiltBackbone
from featx.networks.traced_layers import build_on_meta, last_layer, stated_last_layer
from featx.registry import suggest_names
from featx.specs.embedding import CHECKPOINT_PREFIX
from featx.specs.finetuning import FinetuneSpec

STRATEGIES = ("head", "last-block", "last-N-blocks", "all", "scratch")
# Strategies that every network with blocks knows.
ALWAYS_KNOWN = frozenset(STRATEGIES) - {"last-N-blocks"}
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


def check_strategies(specs: Iterable[FinetuneSpec]) -> None:
    """Raise an error if a strategy or a phase names blocks or layers that its backbone does not have.

    Backbones are built without values. Networks that are trained here before are not checked.

    Raises
    ------
    DataError, UnknownNameError
        As `trainable_names`.
    """
    trunks: dict[str, Trunk] = {}
    pairs = dict.fromkeys((spec.backbone, phase.trainable) for spec in specs for phase in spec.training_phases)
    for backbone, trainable in pairs:
        if trainable in ALWAYS_KNOWN or backbone.startswith(CHECKPOINT_PREFIX):
            continue
        if backbone not in trunks:
            trunks[backbone] = _trunk_without_values(backbone)
        trainable_names(trainable, trunks[backbone])


def _trunk_without_values(backbone: str) -> Trunk:
    plan, body, layers = build_on_meta(backbone)
    last = stated_last_layer(plan, body) or last_layer(layers)
    return Trunk(BuiltBackbone(body, plan.preprocessing, None, last, threading.Lock()))


def canonical_strategy(strategy: str) -> str:
    """Return a strategy's canonical name: blocks sorted and each once, ``last-block`` for the last one."""
    if strategy in STRATEGIES or LAST_BLOCKS.fullmatch(strategy):
        return "last-block" if strategy == "last-1-blocks" else strategy
    return "+".join(sorted(set(strategy.split("+"))))


def _names_below(name: str, trunk: Trunk) -> frozenset[str]:
    """Return the names of the parameters of a block, or of a layer and the layers inside it."""
    units = {block.name: {unit.name for unit in block.units} for block in trunk.blocks}.get(name, set())
    parameters = [parameter for _, parameter, _ in trunk.parameters_by_unit()]
    selected_names = frozenset(
        parameter
        for unit, parameter, _ in trunk.parameters_by_unit()
        if trunk.names[unit] in units or (not units and parameter.startswith(f"{name}."))
    )
    if not selected_names:
        blocks = [block.name for block in trunk.blocks]
        blocks = blocks or sorted({parameter.rpartition(".")[0] for parameter in parameters})
        close = suggest_names(name, [*STRATEGIES, *blocks], limit=16)
        raise UnknownNameError(f"no strategy, block or layer with parameters is called {name!r}; {close}")
    return selected_names
