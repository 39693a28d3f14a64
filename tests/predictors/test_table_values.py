"""True values in label tables: rows without a valid value are counted."""

import numpy as np
import pandas as pd

from featx.predictors.cell_values import CellReader
from featx.predictors.table_values import TableValues, list_counts
from featx.specs.target import TargetSpec
from featx.tables.manifest import Manifest


def table(**columns: list[object]) -> Manifest:
    """Return a label table with these columns."""
    ids = np.array([f"{row}.png" for row in range(len(next(iter(columns.values()), [])))], dtype=object)
    return Manifest(ids, ids, pd.DataFrame(columns, index=pd.Index(ids, dtype=object)), np.full(len(ids), "", object))


def colours() -> TableValues:
    """Return the empty values of a target of two classes."""
    reader = CellReader(TargetSpec(column="y"), ["blue", "red"], {"blue": "blue", "red": "red"})
    return TableValues("colour", reader, frozenset({*reader.columns, "age"}))


def test_rows_without_a_valid_value_are_one_warning() -> None:
    values = colours()
    values.add(table(y=["red", "pink", None, "pink", "a" * 99, "blue"]))
    assert values.by_image == {"0.png": "red", "5.png": "blue"}
    assert values.warnings() == [
        "4 of 6 rows of the label table have no valid value of 'colour' and are left out of the scores: 'pink' (2), no "
        f"value (1), '{'a' * 30}…' (1); expected one of 'blue', 'red'"
    ]


def test_a_table_without_any_valid_value_is_one_warning() -> None:
    values = colours()
    values.add(table(y=["Red", "Blue"]))
    assert values.by_image == {}
    assert values.warnings() == [
        "all 2 rows of the label table have no valid value of 'colour', so that no scores are shown: 'Red' (1), 'Blue' "
        "(1); expected one of 'blue', 'red'"
    ]


def test_a_table_with_valid_values_or_without_labels_is_no_warning() -> None:
    values = colours()
    values.add(table(y=["red", "blue"]))
    values.add(table())
    values.add(table(age=[1.0]))
    assert values.warnings() == []
    assert values.ids == {"0.png", "1.png"}


def test_a_table_with_labels_of_no_target_is_a_warning() -> None:
    values = colours()
    values.add(table(colour=["red", "blue"], note=["", "x"]))
    assert values.warnings() == [
        "no true values of 'colour' are read from a label table without the columns 'y'; columns found: 'colour', "
        "'note'"
    ]


def test_a_table_with_some_columns_of_the_target_is_a_warning() -> None:
    reader = CellReader(TargetSpec(column="a", columns=("a", "b"), kind="numbers"), ["a", "b"], {})
    values = TableValues("size", reader, frozenset({"a", "b"}))
    values.add(table(a=[1.0]))
    assert values.warnings() == [
        "no true values of 'size' are read from a label table without the columns 'b'; columns found: 'a'"
    ]
    values.add(table(a=[1.0, 2.0], b=["x", 3.0]))
    assert values.by_image == {"1.png": (2.0, 3.0)}
    assert values.invalid_counts["'x'"] == 1


def test_many_values_are_counted() -> None:
    assert list_counts({f"v{n}": 9 - n for n in range(6)}) == "v0 (9), v1 (8), v2 (7), v3 (6) and 2 more"
