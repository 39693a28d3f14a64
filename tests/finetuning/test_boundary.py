"""Training from the boundary is training from pixels: the same losses, step by step, in single precision."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from featx.finetuning.network import FinetunedNetwork, from_flat
from featx.finetuning.strategies import learning
from featx.networks.features import normalised, positions_last
from featx.specs.embedding import EmbeddingRequest
from featx.specs.finetuning import LayersSpec

STEPS, BATCH = 10, 4
LAYERS = LayersSpec(hidden=(16,), dropout=0.0)


def network(name: str) -> FinetunedNetwork:
    torch.manual_seed(0)
    made = FinetunedNetwork(EmbeddingRequest(backbone=name, weights="none", size_px=48), LAYERS, 2)
    for module in made.modules():  # random weights, but activations as after training
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return made.to(memory_format=torch.channels_last)


def pictures() -> torch.Tensor:
    """Return (24, 48, 48, 3) pictures that differ: after many layers, of noise only rounding would be left."""
    coarse = torch.rand(24, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, size=48) * 255).to(torch.uint8).permute(0, 2, 3, 1)


@torch.inference_mode()
def reached(made: FinetunedNetwork, pixels: torch.Tensor, unit: int) -> torch.Tensor:
    """Return what reaches a unit, as a store keeps it in float32.

    Batch by batch: torch's convolutions differ in the last bit between batches of other sizes, and Adam makes steps of
    one size of gradients that are rounding only.
    """
    made.trunk.eval()
    found = []
    for one in pixels.split(BATCH):
        x = normalised(one, made.mean, made.std).contiguous(memory_format=torch.channels_last)
        x = made.trunk(x, end=unit)
        found.append(made.layers.pooled(x) if unit == len(made.trunk.units) else positions_last(x).flatten(1))
    return torch.from_numpy(torch.cat(found).numpy().copy())


def losses(made: FinetunedNetwork, names: frozenset[str], x: torch.Tensor, unit: int | None) -> list[float]:
    """Train for some steps from pixels (unit None) or from what reaches a unit; return the loss of each."""
    made.trunk.let_learn(names)
    made.train()
    learners = [parameter for parameter in made.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learners, lr=1e-4)
    found = []
    for step in range(STEPS):
        at = torch.arange(step * BATCH, (step + 1) * BATCH) % len(x)
        value = nn.functional.cross_entropy(made.beyond(x[at], unit), at % 2)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        found.append(value.item())
    return found


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "mobilenet_v2", "efficientnet_lite0"])
@pytest.mark.parametrize("strategy", ["head", "last-block"])
def test_the_boundary_gives_the_losses_of_the_whole_network(name: str, strategy: str) -> None:
    plain, pixels = network(name), pictures()
    names = learning(strategy, plain.trunk)
    boundary = plain.boundary(names, "float32")
    assert boundary is not None
    kept = reached(plain, pixels, boundary.unit)
    assert kept.shape == (len(pixels), int(np.prod(boundary.shape)))
    cut = copy.deepcopy(plain)

    expected = losses(plain, names, pixels, None)

    found = losses(cut, names, kept, boundary.unit)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert len(set(found)) == STEPS


@pytest.mark.parametrize("name", ["vgg16", "timm:test_vit", "torchvision:swin_t"])
def test_flattened_activations_get_their_shape_back(name: str) -> None:
    made = FinetunedNetwork(EmbeddingRequest(backbone=name, weights="none"), LAYERS, 2).eval()
    with torch.inference_mode():
        last = made.trunk(torch.rand(1, 3, *[made.preprocessing.size_px] * 2))
    assert torch.equal(from_flat(positions_last(last).flatten(1), tuple(last.shape[1:])), last)


def test_a_boundary_is_named_as_the_embedding_that_holds_it() -> None:
    made = network("efficientnet_lite0")
    last = made.boundary(learning("last-block", made.trunk))
    assert last is not None
    assert (last.tap, last.pool, last.dtype, last.shape) == ("blocks.4.2", "flatten", "float16", (112, 3, 3))
    head = made.boundary(frozenset())
    assert head is not None
    assert (head.tap, head.pool, head.dtype, head.shape) == ("last", "avg", "float32", (1280,))
    assert head.operations > last.operations > 0
    assert made.boundary(learning("all", made.trunk)) is None
