"""Columns of numbers, weights and confidences, and the advice about values that are not numbers."""

import numpy as np
import pandas as pd
import pytest

from featx.errors import DataError
from featx.specs.target import TargetSpec
from featx.tables.encoding import encode_target
from featx.tables.manifest import Manifest

ADVICE = r"set 'decimal' in data\.labels to 'comma' if its commas are decimal commas"


def manifest(**columns: list[object]) -> Manifest:
    ids = np.array(["i0", "i1", "i2"], dtype=object)
    return Manifest(ids, ids, pd.DataFrame(columns, index=ids), np.full(3, "", dtype=object))


@pytest.mark.parametrize(
    ("columns", "spec"),
    [
        ({"y": ["0.5", "1,234", "2"]}, {"kind": "numbers"}),
        ({"y": ["0.5", "-0,25", "1"]}, {"above": 0.5}),
        ({"y": ["0.5", "1,234", "2"]}, {"bins": [1.0]}),
        ({"y": ["0.5", "0,25", "1"]}, {"soft": True}),
        ({"y": ["a", "b", "a"], "w": ["1", "0,5", "1.5"]}, {"weight": "w"}),
        ({"y": ["a", "b", "a"], "w": ["1", "0,5", "1.5"]}, {"confidence": "w"}),
    ],
    ids=["numbers", "threshold", "bins", "probabilities", "weights", "confidences"],
)
def test_a_number_with_a_comma_gives_the_setting_of_decimal_commas(
    columns: dict[str, list[object]], spec: dict[str, object]
) -> None:
    with pytest.raises(DataError, match=ADVICE):
        encode_target(manifest(**columns), "t", TargetSpec.model_validate({"column": "y", **spec}))


@pytest.mark.parametrize("text", ["high", "1,2,3", "01,5", "1.5 %"])
def test_other_values_that_are_no_numbers_keep_the_advice_of_their_column(text: str) -> None:
    with pytest.raises(DataError, match=f"first 'i1' with {text!r}; correct these values"):
        encode_target(manifest(y=["0.5", text, "2"]), "t", TargetSpec(column="y", kind="numbers"))
    with pytest.raises(DataError, match=f"'above' needs numbers, column 'y' holds {text!r}$"):
        encode_target(manifest(y=["0.5", text, "2"]), "t", TargetSpec(column="y", above=1.0))
