"""Outer splits that are equal are refused before any of them is made."""

from pathlib import Path

import pytest

from featx.errors import DataError
from featx.workflow.run import stages
from tests.recipes import toy_heads, toy_recipe

CODE = """
import numpy as np

def fixed(labels, seed):
    return ["test"] * 10 + ["val"] * 10 + ["train"] * (len(labels) - 20)

def fixed_test(labels, seed):
    return ["test"] * 10 + ["train"] * (len(labels) - 10)

def two_of_three(labels, seed):
    parts = np.full(len(labels), "train", dtype=object)
    parts[seed % 2 :: 10] = "test"
    return parts

def varied(labels, seed):
    parts = np.full(len(labels), "train", dtype=object)
    parts[seed::10] = "test"
    return parts
"""


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        (
            {"cut": "cuts.py:fixed", "repeats": 2},
            r"repeat-00 \(seed 0\) and repeat-01 \(seed 1\) are equal, .*cuts.py:fixed returns depend on .* 'seed'",
        ),
        (
            {"cut": "cuts.py:two_of_three", "seeds": [4, 5, 6], "val": 0},
            r"repeat-00 \(seed 4\) and repeat-02 \(seed 6\) are equal",
        ),
        (
            {"cut": "cuts.py:fixed_test", "repeats": 2, "val": 0.2},
            r"repeat-00 \(seed 0\) and repeat-01 \(seed 1\) have the same test part, as all have",
        ),
        ({"test": 0, "val": 0, "repeats": 2}, r"are equal, expected different ones; set a share 'test' or 'val'"),
    ],
)
def test_equal_splits_are_refused(toy_home: Path, split: dict[str, object], problem: str) -> None:
    Path("cuts.py").write_text(CODE)
    Path("featx.toml").write_text(toy_recipe(split=split, head=toy_heads("logreg")))
    with pytest.raises(DataError, match=f"split: the outer splits .*{problem}"):
        list(stages())
    assert not list(Path("runs/featx").glob("repeat-*"))


def test_splits_by_code_that_uses_its_seed_are_made(toy_home: Path) -> None:
    Path("cuts.py").write_text(CODE)
    split = {"cut": "cuts.py:varied", "repeats": 2, "val": 0}
    Path("featx.toml").write_text(toy_recipe(split=split, head=toy_heads("logreg")))
    assert [name for name, _ in stages()] == ["extract", "split", "split", "splits"]
