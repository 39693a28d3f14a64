"""Each strategy lets exactly what it names learn, in every family of networks; all else keeps its bits."""

import copy
from functools import cache

import pytest
import torch
from torch import nn

from featx.errors import DataError, FeatxError, UnknownNameError
from featx.finetuning.strategies import learning
from featx.finetuning.trunk import Trunk
from featx.networks.features import build
from featx.specs.embedding import EmbeddingRequest

# (backbone, how its last block's and its last two blocks' parameters begin)
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
def original(name: str) -> nn.Module:
    """Return a backbone's trunk, to be copied."""
    return Trunk(build(EmbeddingRequest(backbone=name, weights="none", size_px=64)))


def trunk(name: str) -> Trunk:
    """Return a fresh trunk."""
    made = copy.deepcopy(original(name))
    assert isinstance(made, Trunk)
    return made


def named(made: Trunk) -> dict[str, nn.Parameter]:
    """Return the parameters by their names."""
    return {name: parameter for _, name, parameter in made.parameters_by_unit()}


def expected(name: str, strategy: str, every: set[str]) -> set[str]:
    """Return what should learn, by the families' own layer names."""
    last, before = FAMILIES[name]
    begin = {"head": (), "last-block": last, "last-2-blocks": last + before, "all": ("",), "scratch": ("",)}[strategy]
    return {one for one in every if one.startswith(begin)} if begin else set()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("strategy", ["head", "last-block", "last-2-blocks", "all", "scratch"])
def test_what_a_strategy_names_learns_and_all_else_keeps_its_bits(name: str, strategy: str) -> None:
    made = trunk(name)
    names = learning(strategy, made)
    assert names == expected(name, strategy, set(named(made)))
    assert not any(one.startswith(CLASSIFIERS) for one in named(made))
    before = {key: value.clone() for key, value in made.state_dict().items()}
    made.let_learn(names)
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    head = nn.Linear(made.eval()(x).flatten(1).shape[1], 2)
    made.train()
    learners = [parameter for parameter in made.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD([*learners, *head.parameters()], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(made(x).flatten(1)), torch.tensor([0, 1, 0, 1])).backward()
        optimiser.step()
    changed = {key for key, value in made.state_dict().items() if not torch.equal(value, before[key])}
    places = {id(parameter): one for one, parameter in named(made).items()}
    learnt = {places[id(parameter)] for key, parameter in made.named_parameters() if key in changed}
    assert learnt == names
    modules_that_learn = {one.rpartition(".")[0] for one in names}
    statistics = {key for key in changed if "running_" in key or "num_batches" in key}
    by_key = {key: places[id(parameter)].rpartition(".")[0] for key, parameter in made.named_parameters()}
    for key in statistics:
        assert by_key[f"{key.rpartition('.')[0]}.weight"] in modules_that_learn


@pytest.mark.parametrize("name", FAMILIES)
def test_what_lies_below_gives_the_same_in_training_as_in_prediction(name: str) -> None:
    made, x = trunk(name), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    names = learning("last-block", made)
    made.let_learn(names)
    cut = made.first_unit(names)
    assert 0 < cut < len(made.units)
    made.train()
    boundary = made(x, end=cut)
    assert not boundary.requires_grad
    assert torch.equal(boundary, made(x, end=cut))
    made.eval()
    assert torch.equal(boundary, made(x, end=cut))
    assert torch.equal(made(x), made(boundary, start=cut))


def test_blocks_and_layers_can_be_named() -> None:
    made = trunk("resnet18")
    assert (
        learning(["block5", "block4"], made) == learning("last-2-blocks", made) == learning(["layer3", "layer4"], made)
    )
    assert learning(["layer4.1.conv2"], made) == {"layer4.1.conv2.weight"}
    made.let_learn(frozenset({"layer4.1.conv2.weight"}))
    assert made.train().units[-1].training
    assert not made.units[-1].get_submodule("bn2").training
    assert made.first_unit(frozenset({"layer4.1.conv2.weight"})) == len(made.units) - 1


def test_a_network_that_cannot_be_parted_learns_as_a_whole_or_by_layers() -> None:
    made = trunk("timm:test_vit")
    every = learning("all", made)
    assert every
    assert not any(one.startswith(CLASSIFIERS) for one in every)
    assert learning("head", made) == frozenset()
    assert made.first_unit(every) == 0
    assert made.first_unit(frozenset()) == 1
    last = learning(["blocks.5"], made)
    assert last
    assert last < every
    with pytest.raises(DataError, match=r"strategy 'last-block': the network cannot be parted.*name the layers"):
        learning("last-block", made)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("last-9-blocks", DataError, "strategy 'last-9-blocks': the network has 5 blocks; say 'all'"),
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
def test_what_does_not_exist_is_answered_with_what_does(
    what: str | list[str], error: type[FeatxError], message: str
) -> None:
    with pytest.raises(error, match=message):
        learning(what, trunk("resnet18"))


def test_batch_norm_can_keep_its_statistics_where_its_parameters_learn() -> None:
    made = trunk("efficientnet_lite0")
    for keeps in (False, True):
        made.let_learn(learning("last-block", made), keeps_statistics=keeps)
        training = [module.training for module in made.train().modules() if isinstance(module, nn.BatchNorm2d)]
        assert any(training) is not keeps
        assert not all(training)
