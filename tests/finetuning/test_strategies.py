"""Each strategy trains exactly what it names, in every family of networks; all else keeps its bits.

Modules: finetuning.trunk.
"""

import copy
import threading
from functools import cache

import pytest
import torch
from torch import nn

from featx.errors import DataError, FeatxError, UnknownNameError
from featx.finetuning.strategies import trainable_names
from featx.finetuning.trunk import Trunk
from featx.networks.features import BuiltBackbone, build_backbone
from featx.specs.embedding import EmbeddingRequest, Preprocessing

# Prefixes of the parameters of the last block and of the block before it, by backbone.
FAMILIES = {
    "vgg16": (("features.24.", "features.26.", "features.28."), ("features.17.", "features.19.", "features.21.")),
    "resnet18": (("layer4.",), ("layer3.",)),
    "mobilenet_v2": (
        tuple(f"features.{number}." for number in range(14, 19)),
        tuple(f"features.{number}." for number in range(7, 14)),
    ),
    "efficientnet_lite0": (("blocks.5.", "blocks.6.", "conv_head.", "bn2."), ("blocks.3.", "blocks.4.")),
}
CLASSIFIERS = ("classifier.", "fc.", "head.")


@cache
def cached_trunk(name: str) -> nn.Module:
    """Return a backbone's trunk, to be copied."""
    return Trunk(build_backbone(EmbeddingRequest(backbone=name, weights="none", size_px=64)))


def fresh_trunk(name: str) -> Trunk:
    """Return a fresh trunk."""
    trunk = copy.deepcopy(cached_trunk(name))
    assert isinstance(trunk, Trunk)
    return trunk


def parameters_by_name(trunk: Trunk) -> dict[str, nn.Parameter]:
    """Return the parameters by their names."""
    return {name: parameter for _, name, parameter in trunk.parameters_by_unit()}


def expected_names(name: str, strategy: str, all_names: set[str]) -> set[str]:
    """Return the names that should be trainable, by the layer names of the family."""
    last, second_last = FAMILIES[name]
    prefixes = {"head": (), "last-block": last, "last-2-blocks": last + second_last, "all": ("",), "scratch": ("",)}[
        strategy
    ]
    return {parameter for parameter in all_names if parameter.startswith(prefixes)} if prefixes else set()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("strategy", ["head", "last-block", "last-2-blocks", "all", "scratch"])
def test_a_strategy_trains_what_it_names_and_nothing_else(name: str, strategy: str) -> None:
    trunk = fresh_trunk(name)
    names = trainable_names(strategy, trunk)
    assert names == expected_names(name, strategy, set(parameters_by_name(trunk)))
    assert not any(parameter.startswith(CLASSIFIERS) for parameter in parameters_by_name(trunk))
    state_before = {key: value.clone() for key, value in trunk.state_dict().items()}
    trunk.set_trainable(names)
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    head = nn.Linear(trunk.eval()(x).flatten(1).shape[1], 2)
    trunk.train()
    parameters = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD([*parameters, *head.parameters()], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(trunk(x).flatten(1)), torch.tensor([0, 1, 0, 1])).backward()
        optimiser.step()
    changed_keys = {key for key, value in trunk.state_dict().items() if not torch.equal(value, state_before[key])}
    names_by_id = {id(parameter): parameter_name for parameter_name, parameter in parameters_by_name(trunk).items()}
    trained_names = {names_by_id[id(parameter)] for key, parameter in trunk.named_parameters() if key in changed_keys}
    assert trained_names == names
    trainable_modules = {parameter.rpartition(".")[0] for parameter in names}
    statistics = {key for key in changed_keys if "running_" in key or "num_batches" in key}
    by_key = {key: names_by_id[id(parameter)].rpartition(".")[0] for key, parameter in trunk.named_parameters()}
    for key in statistics:
        assert by_key[f"{key.rpartition('.')[0]}.weight"] in trainable_modules


@pytest.mark.parametrize("name", FAMILIES)
def test_frozen_units_give_the_same_in_training_as_in_prediction(name: str) -> None:
    trunk, x = fresh_trunk(name), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    names = trainable_names("last-block", trunk)
    trunk.set_trainable(names)
    unit = trunk.first_unit(names)
    assert 0 < unit < len(trunk.units)
    trunk.train()
    boundary = trunk(x, end=unit)
    assert not boundary.requires_grad
    assert torch.equal(boundary, trunk(x, end=unit))
    trunk.eval()
    assert torch.equal(boundary, trunk(x, end=unit))
    assert torch.equal(trunk(x), trunk(boundary, start=unit))


def test_blocks_and_layers_can_be_named() -> None:
    trunk = fresh_trunk("resnet18")
    assert (
        trainable_names(["block5", "block4"], trunk)
        == trainable_names("last-2-blocks", trunk)
        == trainable_names(["layer3", "layer4"], trunk)
    )
    assert trainable_names(["layer4.1.conv2"], trunk) == {"layer4.1.conv2.weight"}
    trunk.set_trainable(frozenset({"layer4.1.conv2.weight"}))
    assert trunk.train().units[-1].training
    assert not trunk.units[-1].get_submodule("bn2").training
    assert trunk.first_unit(frozenset({"layer4.1.conv2.weight"})) == len(trunk.units) - 1


class Branching(nn.Module):
    """A network that adds the outputs of two layers, with a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, 2) raw outputs."""
        outputs: torch.Tensor = self.fc(self.last(self.left(x) + self.right(x)).mean((2, 3)))
        return outputs


def test_an_indivisible_network_is_trained_as_a_whole_or_by_layers() -> None:
    preprocessing = Preprocessing(size_px=8, mean=(0, 0, 0), std=(1, 1, 1))
    trunk = Trunk(BuiltBackbone(Branching().eval(), preprocessing, None, "last", threading.Lock()))
    all_names = trainable_names("all", trunk)
    assert {name.split(".")[0] for name in all_names} == {"left", "right", "last"}
    assert trainable_names("head", trunk) == frozenset()
    assert trunk.first_unit(all_names) == 0
    assert trunk.first_unit(frozenset()) == 1
    last_names = trainable_names(["last"], trunk)
    assert last_names
    assert last_names < all_names
    with pytest.raises(DataError, match=r"strategy 'last-block': the network cannot be divided.*name the layers"):
        trainable_names("last-block", trunk)


@pytest.mark.parametrize(
    ("strategy", "error", "message"),
    [
        ("last-9-blocks", DataError, "strategy 'last-9-blocks': the network has 5 blocks; set 'all'"),
        (
            "last-0-blocks",
            UnknownNameError,
            "no strategy, block or layer with parameters is called 'last-0-blocks'; did you mean 'last-N-blocks'",
        ),
        (
            ["block6"],
            UnknownNameError,
            r"called 'block6'; did you mean 'block\d'\? known: head, .*block1, block2, .*block5",
        ),
        (["relu"], UnknownNameError, "no strategy, block or layer with parameters is called 'relu'"),
    ],
)
def test_unknown_names_are_answered_with_existing_ones(
    strategy: str | list[str], error: type[FeatxError], message: str
) -> None:
    with pytest.raises(error, match=message):
        trainable_names(strategy, fresh_trunk("resnet18"))


def test_batch_norm_can_keep_its_statistics_where_its_parameters_learn() -> None:
    trunk = fresh_trunk("efficientnet_lite0")
    for keeps in (False, True):
        trunk.set_trainable(trainable_names("last-block", trunk), keeps_statistics=keeps)
        training = [module.training for module in trunk.train().modules() if isinstance(module, nn.BatchNorm2d)]
        assert any(training) is not keeps
        assert not all(training)
