"""Training from the boundary is training from pixels: the same losses, step by step.

In double precision: random weights make much of rounding errors within some steps, and nothing of what is equal.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from featx.finetune_specs import LayersSpec
from featx.finetuning.network import FinetunedNetwork, from_flat
from featx.finetuning.strategies import learning
from featx.networks.features import normalised, positions_last
from featx.specs import EmbeddingRequest

STEPS, BATCH = 20, 4
LAYERS = LayersSpec(hidden=(16,), dropout=0.0)


def network(name: str, dtype: torch.dtype = torch.float64) -> FinetunedNetwork:
    torch.manual_seed(0)
    made = FinetunedNetwork(EmbeddingRequest(backbone=name, weights="none", size_px=64), LAYERS, 2)
    for module in made.modules():  # random weights, but activations as after training
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return made.to(dtype)


def pictures() -> torch.Tensor:
    """Return (24, 64, 64, 3) pictures that differ: after many layers, of noise only rounding would be left."""
    coarse = torch.rand(24, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, size=64) * 255).to(torch.uint8).permute(0, 2, 3, 1)


def losses(made: FinetunedNetwork, names: frozenset[str], x: torch.Tensor, unit: int | None) -> list[float]:
    """Train for some steps from pixels (unit None) or from what reaches a unit; return the loss of each."""
    made.trunk.let_learn(names)
    made.train()
    learners = [parameter for parameter in made.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learners, lr=1e-4)
    found = []
    for step in range(STEPS):
        at = torch.arange(step * BATCH, (step + 1) * BATCH) % len(x)
        outputs = made(x[at]) if unit is None else made.above(x[at], unit)
        value = nn.functional.cross_entropy(outputs, at % 2)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        found.append(value.item())
    return found


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "mobilenet_v2", "efficientnet_lite0"])
@pytest.mark.parametrize("strategy", ["head", "last-block"])
def test_the_boundary_gives_the_losses_of_the_whole_network(name: str, strategy: str) -> None:
    plain = network(name)
    names = learning(strategy, plain.trunk)
    boundary = plain.boundary(names, "float32")
    assert boundary is not None
    pixels = pictures()
    with torch.inference_mode():
        x = plain.trunk.eval()((pixels.permute(0, 3, 1, 2) - plain.mean) / plain.std, end=boundary.unit)
        reached = plain.layers.pooled(x) if strategy == "head" else x
    assert tuple(reached.shape[1:]) == boundary.shape
    kept = reached.numpy().copy()
    cut = copy.deepcopy(plain)

    expected = losses(plain, names, pixels, None)

    found = losses(cut, names, torch.from_numpy(kept), boundary.unit)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert len(set(found)) == STEPS


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "mobilenet_v2", "efficientnet_lite0"])
def test_in_single_precision_as_well_where_the_boundary_has_the_same_bits(name: str) -> None:
    """Batch by batch: torch's convolutions differ in the last bit between batches of other sizes."""
    plain = network(name, torch.float32)
    names = learning("last-block", plain.trunk)
    boundary = plain.boundary(names, "float32")
    assert boundary is not None
    pixels = pictures()
    with torch.inference_mode():
        parts = pixels.split(BATCH)
        below = [plain.trunk.eval()(normalised(one, plain.mean, plain.std), end=boundary.unit) for one in parts]
    kept = torch.cat(below).contiguous().numpy().copy()
    cut = copy.deepcopy(plain)

    expected = losses(plain, names, pixels, None)

    found = losses(cut, names, torch.from_numpy(kept), boundary.unit)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert len(set(found)) == STEPS


@pytest.mark.parametrize("name", ["vgg16", "timm:test_vit", "torchvision:swin_t"])
def test_flattened_activations_get_their_shape_back(name: str) -> None:
    made = FinetunedNetwork(EmbeddingRequest(backbone=name, weights="none"), LAYERS, 2).eval()
    x = torch.rand(2, 3, *[made.preprocessing.size_px] * 2)
    last = made.trunk(x)
    flat = positions_last(last).flatten(1)
    assert torch.equal(from_flat(flat, tuple(last.shape[1:])), last)


def test_a_boundary_is_named_as_the_embedding_that_holds_it() -> None:
    made = network("efficientnet_lite0")
    last = made.boundary(learning("last-block", made.trunk))
    assert last is not None
    assert (last.tap, last.pool, last.dtype, last.shape) == ("blocks.4.2", "flatten", "float16", (112, 4, 4))
    head = made.boundary(frozenset())
    assert head is not None
    assert (head.tap, head.pool, head.dtype, head.shape) == ("last", "avg", "float32", (1280,))
    assert made.boundary(learning("all", made.trunk)) is None
