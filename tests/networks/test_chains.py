"""Networks with a stem: vision transformers as blocks, and with positions for other sizes.

Modules: networks.input_sizes.
"""

import pytest
import torch
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from featx.errors import DataError
from featx.finetuning.network import FinetunedNetwork
from featx.finetuning.strategies import trainable_names
from featx.finetuning.trunk import Trunk
from featx.networks.blocks import group_into_blocks, trace_units
from featx.networks.chains import STEM, find_chain
from featx.networks.features import build_backbone, resolve_network
from featx.networks.input_sizes import set_input_size
from featx.networks.traced_layers import build_on_meta, last_layer
from featx.specs.embedding import EmbeddingRequest
from featx.specs.finetuning import LayersSpec

VIT = EmbeddingRequest(backbone="timm:test_vit", weights="none", size_px=32, precision="fp32")
LAYERS = LayersSpec(hidden=(4,), dropout=0.0)


def small_transformer(size_px: int = 32) -> VisionTransformer:
    """Return torchvision's vision transformer with random positions."""
    torch.manual_seed(0)
    body = VisionTransformer(size_px, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=24, num_classes=5)
    nn.init.normal_(body.encoder.pos_embedding)
    return body.eval()


def test_each_encoder_block_is_a_block() -> None:
    plan, body, layers = build_on_meta("timm:test_vit")
    blocks = group_into_blocks(trace_units(body, last_layer(layers), plan.preprocessing.size_px))
    names = [block.name for block in blocks]
    assert names == [STEM, *(f"blocks.{number}" for number in range(len(names) - 1))]
    # The last normalisation is trained with the last encoder block.
    assert [unit.name for unit in blocks[-1].units] == [names[-1], "norm"]
    in_trunk = [p for name, p in body.named_parameters() if not name.startswith("head")]
    assert sum(block.n_parameters for block in blocks) == sum(p.numel() for p in in_trunk)
    body = small_transformer()
    blocks = group_into_blocks(trace_units(body, "encoder", 32))
    assert [block.name for block in blocks] == [STEM, *(f"encoder.layers.encoder_layer_{i}" for i in range(3))]


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext"])
def test_a_trunk_gives_the_output_of_the_network(name: str) -> None:
    backbone = build_backbone(EmbeddingRequest(backbone=name, weights="none", size_px=64))
    outputs: list[torch.Tensor] = []
    hook = backbone.body.get_submodule(backbone.last).register_forward_hook(
        lambda _m, _x, output: outputs.append(output)
    )
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        backbone.body(x)
        hook.remove()
        trunk = Trunk(backbone).eval()
        torch.testing.assert_close(trunk(x), outputs[0], rtol=0, atol=0)
        for unit in range(1, len(trunk.units)):
            torch.testing.assert_close(trunk(trunk(x, end=unit), start=unit), outputs[0], rtol=0, atol=0)
    n_parameters = sum(parameter.numel() for parameter in trunk.parameters())
    assert n_parameters == sum(parameter.numel() for _, _, parameter in trunk.parameters_by_unit())
    assert n_parameters == sum(block.n_parameters for block in trunk.blocks)


def test_strategies_and_boundaries_name_encoder_blocks() -> None:
    network = FinetunedNetwork(VIT, LAYERS, 2).eval()
    trunk = network.trunk
    n_blocks = len(trunk.blocks)
    last_names = trainable_names("last-block", trunk)
    assert {name.split(".")[0] for name in last_names} == {"blocks", "norm"}
    assert trainable_names(trunk.blocks[-1].name, trunk) == last_names
    assert trainable_names(f"last-{n_blocks}-blocks", trunk) == trainable_names("all", trunk)
    assert {"cls_token", "pos_embed"} < trainable_names(STEM, trunk) < trainable_names("all", trunk)
    assert {name.split(".")[0] for name in trainable_names("patch_embed", trunk)} == {"patch_embed"}
    boundary = network.boundary(last_names)
    assert boundary is not None
    assert boundary.tap == trunk.blocks[-2].name
    assert network.boundary(trainable_names("all", trunk)) is None
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    embedding = resolve_network([VIT.model_copy(update={"tap": boundary.tap, "pool": "flatten"})])
    with torch.inference_mode():
        (x,) = embedding.network(pixels)
        torch.testing.assert_close(network.run_from(x, boundary.unit), network(pixels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size_px", [16, 64])
def test_positions_are_interpolated_for_another_size(size_px: int) -> None:
    body, expected_body = small_transformer(), small_transformer(size_px)
    set_input_size(body, size_px)
    assert {name: value.shape for name, value in body.state_dict().items()} == {
        name: value.shape for name, value in expected_body.state_dict().items()
    }
    # The class token keeps its position, and the mean of the others changes little.
    positions, original = body.encoder.pos_embedding, small_transformer().encoder.pos_embedding
    torch.testing.assert_close(positions[:, 0], original[:, 0])
    with torch.inference_mode():
        assert body(torch.zeros(1, 3, size_px, size_px)).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "size_px", "reason"),
    [
        ("timm:test_vit", 40, "its patches have 16 px, expected a multiple of them"),
        ("timm:mixer_s16_224", 64, "doesn't match model"),
    ],
)
def test_a_size_that_a_network_does_not_take_is_reported_in_one_line(name: str, size_px: int, reason: str) -> None:
    with pytest.raises(DataError, match=f"does not take images of {size_px} × {size_px} px .*{reason}") as error_info:
        FinetunedNetwork(EmbeddingRequest(backbone=name, weights="none", size_px=size_px), LAYERS, 2)
    assert "\n" not in str(error_info.value)


class ChangedInPlace(nn.Module):
    """Layers whose outputs are changed in place, or kept for later, between them."""

    def __init__(self, keeps: bool) -> None:
        super().__init__()
        self.keeps = keeps
        self.first, self.second, self.third, self.last = (nn.Conv2d(3, 3, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, 3, h, w)."""
        first = self.first(x)
        second = self.second(first)
        third = self.third(second + first if self.keeps else second.mul_(2))
        output: torch.Tensor = self.last(third)
        return output


@pytest.mark.parametrize("keeps", [False, True])
def test_layers_with_something_between_them_are_no_chain(keeps: bool) -> None:
    with pytest.raises(DataError, match="cannot be divided into blocks: up to 'last' it does more than run layers"):
        find_chain(ChangedInPlace(keeps).eval(), "last", 8)
