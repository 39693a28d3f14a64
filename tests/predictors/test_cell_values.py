"""True values in the cells of label columns, for all kinds of targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx.predictors.cell_values import CellReader
from featx.specs.target import TargetSpec

LABELS = {"kind": "labels"}
CODES = ["1.1", "1.10", "2"]
CASES: Sequence[tuple[dict[str, Any], Sequence[str], dict[str, list[Any]], list[Any], str]] = [
    ({}, ["cat", "dog"], {"y": ["dog", "Cat", "cat"]}, ["dog", None, "cat"], "one of 'cat', 'dog'"),
    ({}, ["0", "1"], {"y": ["1.0", "?", "0"]}, ["1", None, "0"], "one of '0', '1'"),
    (
        {},
        ["1.1", "1.10", "2"],
        {"y": ["1.10", "1.1", "2.0", "1.100"]},
        ["1.10", "1.1", "2", None],
        "one of '1.1', '1.10', '2'",
    ),
    ({}, CODES, {"y": [1.1, 2.0]}, [None, "2"], "one of '1.1', '1.10', '2'"),
    (
        {**LABELS, "columns": ("a",)},
        ["a"],
        {"a": ["1", "1.0", "0.0"]},
        [("a",), ("a",), ()],
        "0/1, -1/1, false/true or no/yes",
    ),
    ({"map": {"puppy": "dog"}}, ["cat", "dog"], {"y": ["puppy", "cow"]}, ["dog", None], "one of 'cat', 'dog'"),
    ({"above": 5.0}, ["small", "large"], {"y": ["7", "many", "5"]}, ["large", None, "small"], "finite numbers"),
    ({"soft": True}, ["not y", "y"], {"y": [0.2, 1.5, 0.9]}, ["not y", None, "y"], "numbers in [0, 1]"),
    ({"bins": (10.0,)}, ["<10", "≥10"], {"y": ["9", "old", "10"]}, ["<10", None, "≥10"], "one of '<10', '≥10'"),
    (
        {"columns": ("a", "b")},
        ["a", "b"],
        {"a": [1, 1, 0, "x"], "b": [0, 1, 1, 1]},
        ["a", None, "b", None],
        "one 1 in each row of 'a', 'b'",
    ),
    (
        {"kind": "numbers", "columns": ("y", "z")},
        ["y", "z"],
        {"y": ["1e-6", "2", "inf"], "z": [1, "two", 3]},
        [(1e-6, 1.0), None, None],
        "finite numbers",
    ),
    (
        {**LABELS, "columns": ("a*",)},
        ["a1", "a2"],
        {"a1": ["yes", "No", "maybe"], "a2": [1, 0, 1]},
        [("a1", "a2"), (), None],
        "0/1, -1/1, false/true or no/yes",
    ),
    (
        {**LABELS, "columns": ("a", "b"), "above": 2.0},
        ["a", "b"],
        {"a": [3, "x"], "b": [1, 9]},
        [("a",), None],
        "numbers",
    ),
    (
        {**LABELS, "separator": "|"},
        ["x", "y"],
        {"y": ["y|x", "x|z", "x"]},
        [("x", "y"), None, ("x",)],
        "labels among 'x', 'y', separated by '|'",
    ),
]


@pytest.mark.parametrize(("fields", "names", "cells", "values", "expected"), CASES)
def test_rows_that_do_not_fit_have_no_value(
    fields: dict[str, Any], names: Sequence[str], cells: dict[str, list[Any]], values: list[Any], expected: str
) -> None:
    reader = CellReader(TargetSpec(**{"column": "y", **fields}), names, dict(zip(names, names, strict=True)))
    assert set(reader.columns) == set(cells)
    found_values, is_valid = reader.read(pd.DataFrame(cells)[reader.columns])
    assert found_values == values
    assert is_valid.shape == (len(values), len(cells))
    assert np.all(is_valid[[value is not None for value in values]])
    assert reader.expected == expected


def test_values_are_read_by_the_names_that_numbers_have() -> None:
    reader = CellReader(TargetSpec(column="y", classes=("no", "yes")), ["no", "yes"], {"-1": "no", "1": "yes"})
    assert reader.read(pd.DataFrame({"y": [1, 1]}))[0] == ["yes", "yes"]
    assert reader.read(pd.DataFrame({"y": [1, 2]}))[0] == ["yes", None]
