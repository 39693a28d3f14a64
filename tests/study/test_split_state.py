"""State of a split: a change of what decides about the parts asks for another extraction."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import featx
from featx.errors import IncompleteError
from featx.files.seals import read_sealed, write_sealed
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

SPLIT = {"test": 0.25, "val": 0.25, "method": "train_test_split"}
AGE = {"column": "age", "kind": "numbers"}
GENERATION = {"column": "age", "bins": [20.0, 40.0]}
STATE = Path("runs/featx/split.json")


def write_recipe(split: dict[str, Any] = SPLIT, **targets: dict[str, Any]) -> None:
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, split=split, targets=targets, head=None))


@pytest.fixture
def table(home: Path) -> None:
    """Write 48 images with ages, weights and a file of a function that splits."""
    ids = make_images(home / "images")
    columns = {
        "path": ids,
        "age": [5 + row % 60 for row in range(len(ids))],
        "sure": [1 + row % 2 for row in range(48)],
    }
    pd.DataFrame(columns).to_csv("images/labels.csv", index=False)
    Path("cuts.py").write_text("def cut(labels, seed):\n    return ['train', 'test'] * 24\n")


def test_a_changed_stratifying_target_asks_for_another_extraction(table: None) -> None:
    write_recipe(generation=GENERATION, age=AGE)
    featx.extract()
    write_recipe(generation=GENERATION | {"bins": [30.0]}, age=AGE)
    message = "target 'generation', by which the split is stratified, changed after the last extraction; run 'featx ext"
    with pytest.raises(IncompleteError, match=message):
        Study.open(None).ids("train")
    (warning,) = [text for text in featx.extract().warnings if "images moved" in text and " test " in text]
    assert warning.endswith("target 'generation', by which the split is stratified, changed")
    write_recipe(age=AGE, generation=GENERATION | {"bins": [30.0]})
    with pytest.raises(IncompleteError, match="target 'age', by which the split is stratified, changed"):
        Study.open(None).ids("train")


def test_weights_and_other_targets_do_not_change_the_split(table: None) -> None:
    write_recipe(generation=GENERATION, age=AGE)
    featx.extract()
    write_recipe(generation=GENERATION | {"weight": "sure"}, age=AGE | {"weight": "sure"})
    assert len(Study.open(None).ids("test")) == 12
    write_recipe(SPLIT | {"stratify": False}, generation=GENERATION)
    featx.extract()
    write_recipe(SPLIT | {"stratify": False}, age=AGE)
    assert len(Study.open(None).ids("test")) == 12


def test_an_extraction_that_recorded_no_strata_stays_valid(table: None) -> None:
    write_recipe(generation=GENERATION)
    featx.extract()
    state = read_sealed(STATE)
    del state["strata"]
    write_sealed(STATE, state)
    assert len(Study.open(None).ids("test")) == 12
    del state["seed"]
    write_sealed(STATE, state)
    with pytest.raises(IncompleteError, match=r"\[split\] changed after the last extraction"):
        Study.open(None).ids("test")


def test_a_changed_function_of_a_split_asks_for_another_extraction(table: None) -> None:
    write_recipe({"cut": "cuts.py:cut", "val": 0}, generation=GENERATION)
    featx.extract()
    assert len(Study.open(None).ids("test")) == 24
    Path("cuts.py").write_text("def cut(labels, seed):\n    return ['train', 'train', 'test'] * 16\n")
    with pytest.raises(
        IncompleteError, match="the file of split.cut = 'cuts.py:cut' changed after the last extraction"
    ):
        Study.open(None).ids("test")
