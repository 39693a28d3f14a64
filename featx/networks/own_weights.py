"""Weights from a user's own training: wrapped state dicts, and those with another classifier or without one."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from featx.errors import WeightsError
from featx.networks.pretrained_weights import State, load_state, same_tensors, without_batch_counters
from featx.networks.traced_layers import trace_layers

# Number of names that a message lists.
MAX_NAMES = 6


class LoadedWeights(NamedTuple):
    """Record of the weights that were loaded from a file.

    Attributes
    ----------
    note
        What was and what was not loaded; empty if all tensors were.
    unloaded
        Names of the network's tensors without values in the file.
    """

    note: str = ""
    unloaded: frozenset[str] = frozenset()


def load_own_state(body: nn.Module, state: State, file: Path, last: str, size_px: int) -> LoadedWeights:
    """Load weights of the trunk by name and shape; those of the classifier may be missing, or of another shape.

    Parameters
    ----------
    body
        The network.
    state
        Tensors by name; a prefix that all have in common with no name of the network, such as ``module.``, is removed.
    file
        File of the tensors, for messages.
    last
        Name of the last layer of the trunk.
    size_px
        Side of the network's input in pixels.

    Raises
    ------
    WeightsError
        A tensor of the trunk is missing or has another shape.
    """
    network_tensors, tensors = without_batch_counters(body.state_dict()), without_batch_counters(state)
    if same_tensors(network_tensors, tensors):
        load_state(body, state, str(file))
        return LoadedWeights()
    prefix = _common_prefix(network_tensors, tensors)
    stripped_tensors = {
        name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }
    matched_tensors = {
        name: stripped_tensors[name]
        for name in network_tensors
        if name in stripped_tensors and stripped_tensors[name].shape == network_tensors[name].shape
    }
    trunk_names = _names_in_trunk(body, list(network_tensors), last, size_px)
    if missing_names := [name for name in network_tensors if name in trunk_names and name not in matched_tensors]:
        raise WeightsError(
            f"weights {file} are of another network: {len(trunk_names) - len(missing_names)} of {len(trunk_names)} "
            f"tensors of the trunk match by name and shape; without a match: {_listed(missing_names)}"
        )
    body.load_state_dict(matched_tensors, strict=False)
    unloaded_names = [name for name in network_tensors if name not in matched_tensors]
    with torch.no_grad():
        for name in unloaded_names:
            body.state_dict()[name].zero_()
    unused_names = [name for name in tensors if name.removeprefix(prefix) not in matched_tensors]
    parts = [f"weights {file.name}: {len(trunk_names)} tensors of the trunk are loaded"]
    parts += [f"the prefix {prefix!r} was removed from their names"] if prefix else []
    parts += [f"not loaded, of the network's classifier: {_listed(unloaded_names)}"] if unloaded_names else []
    parts += [f"not used, of the file: {_listed(unused_names)}"] if unused_names else []
    return LoadedWeights("; ".join(parts), frozenset(unloaded_names))


def _common_prefix(network_tensors: State, tensors: State) -> str:
    """Return the prefix behind which most tensors of the file have the names of the network."""
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in network_tensors:
                counts["".join(f"{part}." for part in parts[:depth])] += 1
    # Of equally frequent prefixes the shortest is the least change.
    return min(counts, key=lambda prefix: (-counts[prefix], len(prefix)), default="")


def _names_in_trunk(body: nn.Module, names: list[str], last: str, size_px: int) -> set[str]:
    """Return the names of tensors in layers that run up to the last one, or that lie around it."""
    finished_layers = [layer.name for layer in trace_layers(body, size_px)]
    used_layers = set(finished_layers[: len(finished_layers) - finished_layers[::-1].index(last)])

    def is_in_trunk(name: str) -> bool:
        owner = name.rpartition(".")[0]
        parts = owner.split(".")
        ancestors = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        return not owner or bool(ancestors & used_layers) or last.startswith(f"{owner}.")

    return set(filter(is_in_trunk, names))


def _listed(names: list[str]) -> str:
    remainder_text = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + remainder_text


def has_class_token(body: nn.Module) -> bool:
    """Return whether a network has a class token, which is the first of its tokens."""
    return any(name.rpartition(".")[2] in {"cls_token", "class_token"} for name, _ in body.named_parameters())
