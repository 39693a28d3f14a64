"""Inputs of networks that their sections do not state, by which finished outer splits and repeats are recognised."""

from pathlib import Path

import featx
from featx.specs.recipe import load_recipe
from featx.study.study import Study
from featx.workflow.repeats import cost_text, repeat
from featx.workflow.run import stages
from featx.workflow.training_inputs import recipe_embeddings, training_inputs
from tests.recipes import toy_recipe

NETWORK = {"backbone": "toy", "weights": "none", "epochs": 1, "strategy": "head"}
DARK = {"background": "#000000"}


def inputs_of(**sections: object) -> list[dict[str, object]]:
    Path("featx.toml").write_text(toy_recipe(**sections))
    return training_inputs(load_recipe("featx.toml"))


def test_defaults_and_recipes_without_networks_have_no_inputs(home: Path) -> None:
    assert inputs_of(decoding=DARK) == []
    assert inputs_of(finetune=[NETWORK]) == []
    assert inputs_of(finetune=[NETWORK], decoding={"max_bytes": 1000}) == []


def test_the_decoding_and_the_content_of_weights_are_inputs(home: Path) -> None:
    assert inputs_of(finetune=[NETWORK], decoding=DARK) == [DARK]
    sections = {"finetune": [NETWORK | {"weights": "own.pt"}]}
    Path("own.pt").write_bytes(b"first")
    first = inputs_of(**sections)
    assert inputs_of(**sections) == first
    Path("own.pt").write_bytes(b"second")
    assert inputs_of(**sections) != first


def test_embeddings_beside_those_of_the_recipe_are_no_inputs(toy_home: Path) -> None:
    featx.extract()
    inputs = recipe_embeddings(Study.open(None))
    featx.extract(backbones=["efficientnet_lite0"])
    assert len(Study.open(None).locked) == 2
    assert recipe_embeddings(Study.open(None)) == inputs
    assert len(inputs) == 1


def test_outer_splits_are_made_again_after_the_decoding_changed(toy_home: Path) -> None:
    sections = {"embedding": [], "head": [], "finetune": [NETWORK], "split": {"test": 0.2, "val": 0.2, "repeats": 2}}

    def newly_made(**changes: object) -> list[bool]:
        Path("featx.toml").write_text(toy_recipe(**sections | changes))
        return [result.is_new for name, result in stages() if name == "split"]

    assert newly_made() == [True, True]
    assert newly_made() == [False, False]
    assert newly_made(decoding=DARK) == [True, True]


def test_repeats_are_made_again_after_the_decoding_changed(toy_home: Path) -> None:
    sections = {"embedding": [], "head": [], "finetune": [NETWORK]}
    Path("featx.toml").write_text(toy_recipe(**sections))
    featx.extract()
    featx.finetune()
    repeat(None, 2)
    assert cost_text(Study.open(None), 2) == ""
    Path("featx.toml").write_text(toy_recipe(**sections, decoding=DARK))
    featx.leaks()
    assert "2 repeats to make" in cost_text(Study.open(None), 2)
