"""Batch normalisation folded into the convolutions before it: the same function of a fixed network in less time."""

import copy
from collections import Counter
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from featx.networks.dry_runs import run_for_shapes


def fold_batch_norm(body: nn.Module, side_px: int, kept_layers: Collection[str] = ()) -> nn.Module:
    """Return a copy of a network in which convolutions contain the batch normalisation that follows them.

    The weights of the copy are fixed, and hooks are left behind. A convolution whose output is used elsewhere too, or
    that computes with other values than its weights, gives other results in the copy: compare its outputs.

    Parameters
    ----------
    body
        A network in eval mode.
    side_px
        Side of the images that it takes.
    kept_layers
        Names of layers whose own outputs are read: such convolutions are left as they are.
    """
    folded_body = copy.deepcopy(body).requires_grad_(False)
    for module in folded_body.modules():
        module._forward_hooks.clear()
    for conv_name, norm_name in _followed_convolutions(folded_body, side_px):
        conv, norm = folded_body.get_submodule(conv_name), folded_body.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        if conv_name not in kept_layers and norm.running_mean is not None:
            folded_body.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
            # Layers of timm contain the activation that follows their normalisation.
            folded_body.set_submodule(norm_name, nn.Sequential(*norm.children()))
    return folded_body


def _followed_convolutions(body: nn.Module, side_px: int) -> list[tuple[str, str]]:
    """Return the names of the convolutions whose output goes to a batch normalisation, both of which run once."""
    outputs: list[tuple[str, Tensor]] = []
    inputs: list[tuple[str, Tensor]] = []
    handles = []
    for name, module in body.named_modules():
        if isinstance(module, nn.Conv2d):
            hook = module.register_forward_hook(lambda _, __, y, name=name: outputs.append((name, y)))
        elif isinstance(module, nn.BatchNorm2d):
            hook = module.register_forward_pre_hook(lambda _, x, name=name: inputs.append((name, x[0])))
        else:
            continue
        handles.append(hook)
    try:
        run_for_shapes(body, torch.empty(2, 3, side_px, side_px, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    n_runs = Counter(name for name, _ in [*outputs, *inputs])
    source = {id(output): name for name, output in outputs}
    pairs = [(source[id(x)], name) for name, x in inputs if id(x) in source]
    n_readers = Counter(conv for conv, _ in pairs)
    return [(conv, norm) for conv, norm in pairs if n_runs[conv] == n_runs[norm] == n_readers[conv] == 1]
