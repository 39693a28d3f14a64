"""Encoding of label columns as classes, and the errors for columns that do not fit.

Modules: tables.target_values.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from featx.errors import DataError
from featx.files.column_types import category_text
from featx.specs.target import TargetSpec
from featx.tables.encoding import encode_classes, encode_target
from featx.tables.manifest import Manifest
from featx.tables.target_values import LabelTargets
from featx.tables.truth import Truth

quick = settings(max_examples=25)


def manifest(values: object) -> Manifest:
    """Make a manifest of one label column, ``y``."""
    column = pd.Series(values)
    ids = np.asarray([f"i{i}" for i in range(len(column))], dtype=object)
    labels = pd.DataFrame({"y": column.set_axis(ids)})
    return Manifest(ids, ids, labels, np.full(len(ids), "", dtype=object))


def coded(values: object, **spec: object) -> Truth:
    """Encode one column under the target ``t``."""
    return encode_classes(manifest(values), "t", TargetSpec.model_validate({"column": "y"} | spec))


@quick
@given(st.lists(st.one_of(st.text(), st.integers(-9, 9).map(str)), min_size=2).filter(lambda v: len(set(v)) > 1))
def test_a_code_stands_for_its_own_value_and_classes_are_sorted(values: list[str]) -> None:
    truth = coded(pd.Series(values, dtype=object))
    assert [truth.classes[code] for code in truth.codes] == values
    assert list(truth.classes) == sorted(set(values))


@quick
@given(st.lists(st.integers(-20, 20), min_size=2).filter(lambda v: len(set(v)) > 1))
def test_numbers_are_sorted_as_numbers(values: list[int]) -> None:
    truth = coded(values)
    assert truth.classes == tuple(str(value) for value in sorted(set(values)))
    assert [int(truth.classes[code]) for code in truth.codes] == values
    assert truth.codes.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "classes", "codes"),
    [
        ([-1, 1, 1], ("-1", "1"), [0, 1, 1]),
        ([-1.0, 1.0, 1.0], ("-1", "1"), [0, 1, 1]),
        ([0.0, 0.5, 10.0], ("0", "0.5", "10"), [0, 1, 2]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (pd.Series([3, 1, 3], dtype="Int64"), ("1", "3"), [1, 0, 1]),
        (pd.Categorical(["b", "a", "b"]), ("a", "b"), [1, 0, 1]),
        (pd.Categorical([2.0, 1.0, 2.0]), ("1", "2"), [1, 0, 1]),
        (pd.Series([1.0, "a", 1.0], dtype=object), ("1", "a"), [0, 1, 0]),
        ([1.0, float("inf"), 1.0], ("1", "inf"), [0, 1, 0]),
    ],
    ids=str,
)
def test_values_are_encoded_as_classes(values: object, classes: tuple[str, ...], codes: list[int]) -> None:
    truth = coded(values)
    assert truth.classes == classes
    assert truth.codes.tolist() == codes


def test_classes_set_the_order_of_a_columns_values() -> None:
    truth = coded(["low", "high", "mid"], classes=["low", "mid", "high"])
    assert truth.classes == ("low", "mid", "high")
    assert truth.codes.tolist() == [0, 2, 1]


def test_the_order_of_text_is_stated() -> None:
    with pytest.raises(DataError, match=r"column 'y' holds text, 'high', 'low', 'mid', whose order is not known"):
        coded(["low", "high", "mid"], ordered=True)
    assert coded([10, 9, 10], ordered=True).classes == ("9", "10")
    assert coded([1.5, 0.5], ordered=True, bins=[1]).classes == ("<1", "≥1")


def test_classes_name_sorted_numbers() -> None:
    truth = coded([1, -1, 1], classes=["no", "yes"])
    assert truth.classes == ("no", "yes")
    assert truth.codes.tolist() == [1, 0, 1]


def test_numbers_given_as_classes_are_an_order_and_not_names() -> None:
    truth = coded([1, -1, 1], classes=["1", "-1"])
    assert truth.classes == ("1", "-1")
    assert truth.codes.tolist() == [0, 1, 0]


def test_classes_that_do_not_fit_the_column_are_refused() -> None:
    with pytest.raises(DataError, match=r"targets.t.classes: column 'y' holds 'a', 'b', found names 'a', 'c'"):
        coded(["a", "b"], classes=["a", "c"])
    with pytest.raises(DataError, match=r"holds '1', '2', '3', found names 'a', 'b'"):
        coded([1, 2, 3], classes=["a", "b"])


@quick
@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_above_is_strictly_above(numbers: list[float], above: float) -> None:
    truth = coded([-1.0, *numbers, 2.0], above=above)
    assert truth.codes.tolist() == [0, *(int(number > above) for number in numbers), 1]


def test_the_classes_of_a_threshold_are_named_by_it_or_by_the_recipe() -> None:
    assert coded([0, 1], above=0.5).classes == ("y ≤ 0.5", "y > 0.5")
    assert coded([0, 1], above=0.5, classes=["whole", "broken"]).classes == ("whole", "broken")


def test_a_threshold_reads_numbers_that_came_as_text() -> None:
    assert coded(["0.2", "0.9"], above=0.5).codes.tolist() == [0, 1]
    with pytest.raises(DataError, match="'above' needs numbers, column 'y' holds 'high'"):
        coded(["0.2", "high"], above=0.5)


@pytest.mark.parametrize("gap", [None, np.nan])
def test_images_without_a_label_are_counted_and_the_first_is_named(gap: float | None) -> None:
    with pytest.raises(DataError, match=r"targets\.t: 2 of 4 images have no 'y', first 'i1'"):
        coded(["a", gap, "b", gap])


@pytest.mark.parametrize(
    ("values", "spec", "class_text"),
    [
        (["a", "a"], {}, "'a'"),
        ([3, 3], {}, "'3'"),
        ([1, 2], {"above": 9}, "'y ≤ 9'"),
        ([1, 2], {"above": 0}, "'y > 0'"),
    ],
)
def test_one_class_alone_is_refused(values: object, spec: dict[str, object], class_text: str) -> None:
    with pytest.raises(DataError, match=f"column 'y' gives only one class, {class_text}; expected at least two"):
        coded(values, **spec)


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="gives no images"):
        coded(pd.Series([], dtype=object))


def test_an_unknown_column_is_refused_with_the_existing_ones() -> None:
    with pytest.raises(DataError, match="no label column is called 'z'; columns: y"):
        encode_classes(manifest(["a", "b"]), "t", TargetSpec(column="z"))


def test_measured_numbers_are_not_classes() -> None:
    with pytest.raises(DataError, match=r"column 'y' has 60 values, .*set 'above = …'"):
        coded(np.linspace(0, 1, 60))
    with pytest.raises(DataError, match="has 1001 values"):
        coded([f"v{i}" for i in range(1001)])
    assert len(coded(list(range(60))).classes) == 60  # whole numbers may be


@pytest.mark.parametrize("value", [-1, -1.0, np.float32(-1), np.int8(-1), "-1"])
def test_equal_numbers_have_one_name(value: object) -> None:
    assert category_text(value) == "-1"


def test_strata_of_few_images_join_the_largest_stratum() -> None:
    y = np.random.default_rng(0).random((300, 40)) < 0.4  # an image lacks the rarest labels by chance alone
    codes = LabelTargets(tuple(map(str, range(40))), y.astype(np.int64)).strata()
    counts = np.bincount(codes)
    assert len(counts) > 1
    assert counts.min() >= 10
    single = LabelTargets(("a", "b"), np.eye(2, dtype=np.int64)).strata()
    assert single.tolist() == [0, 0]


def test_the_distance_of_a_probability_from_half_is_a_confidence() -> None:
    truth = coded(["0.0", "0.25", "0.75", "1"], above=0.5, probability_confidence=True)
    assert truth.codes.tolist() == [0, 0, 1, 1]
    assert truth.weights is not None
    assert truth.weights.tolist() == [1.0, 0.5, 0.5, 1.0]
    with pytest.raises(DataError, match=r"targets\.t\.probability_confidence.*probability in \[0, 1\]"):
        coded(["0.0", "0.25", "0.75", "1.5"], above=0.5, probability_confidence=True)
    with pytest.raises(ValidationError, match="expected 'above'"):
        TargetSpec(column="p", probability_confidence=True)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            [1.0, 1.7e308, 3.0],
            r"1 of 3 images have no number within ±1e\+18 in 'y', first 'i1' with '1\.7.*another unit",
        ),
        ([1.0, -1e300, 3.0], r"1 of 3 images have no number within ±1e\+18 in 'y', first 'i1'"),
        ([1e-165, 2e-165, 3e-165], "the numbers in 'y' differ by 2e-165, expected 1e-18 or more; state the column in"),
    ],
)
def test_numbers_whose_squares_are_no_32_bit_floats_are_refused(numbers: list[float], message: str) -> None:
    with pytest.raises(DataError, match=f"targets.t: {message}"):
        encode_target(manifest(numbers), "t", TargetSpec(column="y", kind="numbers"))
    encode_target(manifest([1e-17, -1e18, 1e18]), "t", TargetSpec(column="y", kind="numbers"))
    encode_target(manifest([5.0, 5.0]), "t", TargetSpec(column="y", kind="numbers"))
    assert (
        len(encode_target(manifest(pd.Series([], dtype=float)), "t", TargetSpec(column="y", kind="numbers")).ids) == 0
    )


@pytest.mark.parametrize("weight", [-1.0, 1e308, float("nan"), float("inf")])
def test_weights_are_numbers_within_limits(weight: float) -> None:
    rows = manifest(["a", "b"])
    labels = rows.labels.assign(w=[1.0, weight])
    with pytest.raises(
        DataError, match=r"targets.t.weight: 1 of 2 images have no number from 0 to 1e\+18 in 'w', first"
    ):
        encode_classes(replace(rows, labels=labels), "t", TargetSpec(column="y", weight="w"))


def test_numbers_in_several_notations_are_ordered_and_measured_as_numbers() -> None:
    texts = pd.Series(["10", "0.5", "1", "1.0"], dtype="object")
    assert coded(texts, ordered=True).classes == ("0.5", "1", "1.0", "10")
    measured = pd.Series([f"{number / 7:.3f}" for number in range(80)] + ["1", "1.0"], dtype="object")
    with pytest.raises(DataError, match="has 82 values, which look like measured numbers"):
        coded(measured)
