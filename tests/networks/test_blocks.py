"""Units and blocks of every family: in order, complete, and the same function as the network itself."""

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from featx.errors import DataError
from featx.networks.backbones import get_backbone
from featx.networks.blocks import group_into_blocks, trace_chain, trace_units
from featx.networks.traced_layers import build_on_meta, last_layer, trace_layers

FAMILIES = ("vgg16", "resnet18", "mobilenet_v2", "efficientnet_lite0", "efficientnet_b0", "timm:convnext_atto")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_units_in_sequence_give_the_output_of_the_network(name: str) -> None:
    plan = get_backbone(name)
    torch.manual_seed(0)
    body, x = plan.build().eval(), torch.randn(2, 3, 64, 64)
    last = plan.last or last_layer(trace_layers(body, 64))
    outputs: list[torch.Tensor] = []
    body.get_submodule(last).register_forward_hook(lambda _module, _inputs, output: outputs.append(output.clone()))
    names = trace_chain(body, last)
    with torch.inference_mode():
        body(x)
        units = OrderedDict((str(number), body.get_submodule(name)) for number, name in enumerate(names))
        sequential = nn.Sequential(units)(x)
    torch.testing.assert_close(sequential, outputs[-1], rtol=0, atol=0)


def test_networks_run_in_other_threads_while_one_is_traced() -> None:
    """torch.fx replaces the calls of all modules while it traces."""
    plan = get_backbone("mobilenet_v2")
    body, other_body = plan.build().eval(), get_backbone("resnet18").build().eval()
    x, is_over = torch.rand(1, 3, 32, 32), threading.Event()

    def run() -> int:
        n_runs = 0
        with torch.inference_mode():
            while not is_over.is_set():
                other_body(x)
                n_runs += 1
        return n_runs

    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(run)
        try:
            traces = [threads.submit(trace_chain, body, "features.18") for _ in range(30)]
            assert {len(trace.result()) for trace in traces} == {len(trace_chain(body, "features.18"))}
        finally:
            is_over.set()
        assert running.result() > 0


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vgg16", ["features.0", "features.5", "features.10", "features.17", "features.24"]),
        ("resnet50", ["conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0"]),
        ("mobilenet_v2", ["features.0.0", "features.2", "features.4", "features.7", "features.14"]),
        ("efficientnet_lite0", ["conv_stem", "blocks.1.0", "blocks.2.0", "blocks.3.0", "blocks.5.0"]),
    ],
)
def test_a_block_begins_where_the_resolution_is_halved(name: str, layers: list[str]) -> None:
    plan, body, _ = build_on_meta(name)
    blocks = group_into_blocks(trace_units(body, str(plan.last), plan.preprocessing.size_px))

    assert [block.name for block in blocks] == [f"block{number}" for number in range(1, 6)]
    assert [block.layers.split(" ")[0] for block in blocks] == layers
    assert [unit.name for block in blocks for unit in block.units] == trace_chain(body, str(plan.last))


def test_at_constant_resolution_each_layer_with_parameters_is_a_block() -> None:
    with torch.device("meta"):
        body = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1))
    blocks = group_into_blocks(trace_units(body, "3", 16))

    assert [(block.name, len(block.units), block.n_parameters) for block in blocks] == [("1", 3, 112), ("3", 1, 185)]


class Branching(nn.Module):
    """A network that adds the outputs of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, 3, h, w)."""
        output: torch.Tensor = self.last(self.left(x) + self.right(x))
        return output


class ValueDependent(nn.Module):
    """A network whose forward pass depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, 3, h, w)."""
        output: torch.Tensor = self.last(x) if x.sum() > 0 else x
        return output


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (Branching(), "up to 'last' it does more than run layers in sequence"),
        (ValueDependent(), "used as inputs to control flow"),
    ],
)
def test_a_network_that_is_no_chain_is_reported(body: nn.Module, reason: str) -> None:
    with pytest.raises(DataError, match=f"cannot be divided into blocks: .*{reason}"):
        trace_chain(body, "last")
