"""Splits by a function that the recipe names, and its mistakes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.errors import DataError
from featx.specs.split import SplitSpec
from featx.study.splits import split
from featx.tables.manifest import Manifest
from featx.tables.truth import Truth

CODE = """
import numpy as np
import pandas as pd

def by_site(labels, seed):
    return np.where(labels["site"] == "c", "test", "train")

def by_id(labels, seed):
    parts = pd.Series("train", index=labels.index[::-1])
    parts[labels.index[seed]] = "val"
    return parts

def short(labels, seed):
    return ["train"]

def unknown(labels, seed):
    return ["train"] * (len(labels) - 1) + ["holdout"]

def nothing(labels, seed):
    return ["test"] * len(labels)

def broken(labels, seed):
    return labels["sight"]

def ending(labels, seed):
    raise SystemExit(2)

def printing(labels, seed):
    print("parts of", len(labels), "images")
    return by_site(labels, seed)

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cuts.py").write_text(CODE)
    (tmp_path / "ending.py").write_text("raise SystemExit")
    return tmp_path


def parts_of(cut: str, folder: Path, **keys: object) -> "pd.Series[str]":
    """Return the parts of twelve images of three sites."""
    ids = np.array([f"{number:02}.png" for number in range(12)], dtype=object)
    labels = pd.DataFrame({"site": list("abc") * 4}, index=pd.Index(ids))
    manifest = Manifest(ids, ids, labels, np.full(12, "", dtype=object))
    truth = Truth(ids, np.arange(12) % 2, ("no", "yes"))
    return split(manifest, truth, SplitSpec.model_validate({"cut": cut, "val": 0, **keys}), folder)


def test_parts_are_those_that_the_function_returns(folder: Path) -> None:
    parts = parts_of("cuts.py:by_site", folder)
    assert parts.tolist() == ["train", "train", "test"] * 4
    by_id = parts_of("cuts.py:by_id", folder, seed=5)
    assert by_id.index[by_id == "val"].tolist() == ["05.png"]
    assert parts_of("cuts.py:by_id", folder, seed=6)["06.png"] == "val"


def test_parts_that_the_function_does_not_name_are_cut_from_train(folder: Path) -> None:
    parts = parts_of("cuts.py:by_site", folder, val=0.25, method="train_test_split")
    assert parts.value_counts().to_dict() == {"train": 6, "test": 4, "val": 2}


@pytest.mark.parametrize(
    ("cut", "problem"),
    [
        ("cuts.py:short", r"cuts\.py:short failed \(ValueError: .* that returns 12 parts"),
        ("cuts.py:unknown", r"returns 'holdout' for 1 images, first '11\.png'; expected train, val or test"),
        ("cuts.py:nothing", "returns 'train' for no image"),
        ("cuts.py:broken", r"cuts\.py:broken failed \(KeyError: 'sight'\)"),
        ("cuts.py:ending", r"cuts\.py:ending failed \(SystemExit: 2\); expected a function"),
        ("ending.py:cut", r"ending\.py cannot be imported \(SystemExit: SystemExit\)"),
        ("cuts.py:number", r"cuts\.py has no function 'number'"),
        ("other.py:cut", r"other\.py cannot be imported .*; expected FILE\.py:FUNCTION"),
        ("no_such_package:cut", "no_such_package cannot be imported"),
    ],
)
def test_mistakes_are_named(cut: str, problem: str, folder: Path) -> None:
    with pytest.raises(DataError, match=f"split.cut: {problem}|{problem}"):
        parts_of(cut, folder)


def test_what_the_function_prints_is_no_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(parts_of("cuts.py:printing", folder)) == 12
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "parts of 12 images\n")
