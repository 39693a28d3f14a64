"""Training from the boundary gives the same losses as training from pixels, step by step, in single precision.

Modules: finetuning.network.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from featx.finetuning.network import FinetunedNetwork, from_flat
from featx.finetuning.strategies import trainable_names
from featx.networks.features import normalise_pixels
from featx.networks.traced_layers import positions_last
from featx.specs.embedding import EmbeddingRequest
from featx.specs.finetuning import LayersSpec

STEPS, BATCH = 10, 4
LAYERS = LayersSpec(hidden=(16,), dropout=0.0)


def build_network(name: str) -> FinetunedNetwork:
    torch.manual_seed(0)
    network = FinetunedNetwork(EmbeddingRequest(backbone=name, weights="none", size_px=48), LAYERS, 2)
    # The weights are random, but this gives activations the scale that they have after training.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return network.to(memory_format=torch.channels_last)


def random_images() -> torch.Tensor:
    """Return (24, 48, 48, 3) images that differ in coarse structure, which many layers preserve, unlike noise."""
    coarse = torch.rand(24, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, size=48) * 255).to(torch.uint8).permute(0, 2, 3, 1)


@torch.inference_mode()
def activations_at(network: FinetunedNetwork, pixels: torch.Tensor, unit: int) -> torch.Tensor:
    """Return the input of a unit as a store keeps it in float32.

    It is computed batch by batch: torch's convolutions differ in the last bit between batch sizes, and Adam makes steps
    of full size from gradients that are only rounding errors.
    """
    network.trunk.eval()
    batches = []
    for batch in pixels.split(BATCH):
        x = normalise_pixels(batch, network.mean, network.std).contiguous(memory_format=torch.channels_last)
        x = network.trunk(x, end=unit)
        batches.append(network.layers.pooled(x) if unit == len(network.trunk.units) else positions_last(x).flatten(1))
    return torch.from_numpy(torch.cat(batches).numpy().copy())


def train_losses(network: FinetunedNetwork, names: frozenset[str], x: torch.Tensor, unit: int | None) -> list[float]:
    """Train for some steps from pixels (unit None) or from the input of a unit; return the loss of each step."""
    network.trunk.set_trainable(names)
    network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=1e-4)
    losses = []
    for step in range(STEPS):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(x)
        value = nn.functional.cross_entropy(network.run_from(x[rows], unit), rows % 2)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    return losses


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("head", "resnet18"),
        *(("last-block", name) for name in ("vgg16", "resnet18", "mobilenet_v2", "efficientnet_lite0")),
    ],
)
def test_the_boundary_gives_the_losses_of_the_whole_network(strategy: str, name: str) -> None:
    network, pixels = build_network(name), random_images()
    names = trainable_names(strategy, network.trunk)
    boundary = network.boundary(names, "float32")
    assert boundary is not None
    activations = activations_at(network, pixels, boundary.unit)
    assert activations.shape == (len(pixels), int(np.prod(boundary.shape)))
    network_copy = copy.deepcopy(network)

    expected = train_losses(network, names, pixels, None)

    losses = train_losses(network_copy, names, activations, boundary.unit)
    np.testing.assert_allclose(losses, expected, atol=1e-4)
    assert len(set(losses)) == STEPS


@pytest.mark.parametrize("name", ["vgg16", "timm:test_vit", "torchvision:swin_t"])
def test_flattened_activations_get_their_shape_back(name: str) -> None:
    network = FinetunedNetwork(EmbeddingRequest(backbone=name, weights="none"), LAYERS, 2).eval()
    with torch.inference_mode():
        last = network.trunk(torch.rand(1, 3, *[network.preprocessing.size_px] * 2))
    assert torch.equal(from_flat(positions_last(last).flatten(1), tuple(last.shape[1:])), last)


def test_a_boundary_names_the_embedding_that_stores_it() -> None:
    network = build_network("efficientnet_lite0")
    last_boundary = network.boundary(trainable_names("last-block", network.trunk))
    assert last_boundary is not None
    assert (last_boundary.tap, last_boundary.pool, last_boundary.dtype, last_boundary.shape) == (
        "blocks.4.2",
        "flatten",
        "float16",
        (112, 3, 3),
    )
    head = network.boundary(frozenset())
    assert head is not None
    assert (head.tap, head.pool, head.dtype, head.shape) == ("last", "avg", "float32", (1280,))
    assert head.n_operations > last_boundary.n_operations > 0
    assert network.boundary(trainable_names("all", network.trunk)) is None
