"""Tables joined by id: order of rows, checks, and the round trip through Parquet.

Modules: tables.embedding_table, tables.ids, tables.manifest, tables.predictions, tables.truth.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import AlignmentError, DataError
from featx.files.atomic import read_table, write_table
from featx.tables.embedding_table import Embeddings
from featx.tables.ids import as_ids, positions
from featx.tables.manifest import Manifest
from featx.tables.predictions import Predictions, concatenate_predictions
from featx.tables.truth import Truth

quick = settings(max_examples=25)
Table = Manifest | Embeddings | Truth | Predictions
KINDS = ["manifest", "embeddings", "truth", "predictions"]
IDS = [f"image {i}" for i in range(7)]
orders = st.lists(st.sampled_from(IDS), unique=True)


def table(kind: str, ids: list[str]) -> Table:
    """Make a table whose every value follows from its row's id."""
    numbers = np.asarray([IDS.index(name) for name in ids], dtype=np.int64)
    array = np.asarray(ids, dtype=object)
    if kind == "manifest":
        labels = pd.DataFrame({"y": numbers, "name": [f"n{i}" for i in numbers]}, index=pd.Index(array))
        return Manifest(array, array + ".png", labels, array + " digest")
    if kind == "embeddings":
        return Embeddings(array, np.stack([numbers, -numbers], axis=1).astype(np.float32))
    if kind == "truth":
        share = (numbers + 1) / 10
        return Truth(array, numbers % 2, ("a", "b"), numbers / 7, np.stack([share, 1 - share], axis=1), ordered=True)
    share = (numbers + 1) / 10
    part = np.where(numbers < 4, "oof", "val").astype(object)
    return Predictions(array, np.stack([share, 1 - share], axis=1), ("a", "b"), part, numbers)


def content(rows: Table) -> dict[str, object]:
    """Return a table's content as comparable values."""
    return {
        name: value.to_dict("list") | {"index": list(value.index)}
        if isinstance(value, pd.DataFrame)
        else value.tolist()
        if isinstance(value, np.ndarray)
        else value
        for name, value in vars(rows).items()
    }


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(order=orders)
def test_take_returns_whole_rows_in_the_requested_order(kind: str, order: list[str]) -> None:
    assert content(table(kind, IDS).take(order)) == content(table(kind, order))


@pytest.mark.parametrize("kind", KINDS)
def test_take_names_the_first_missing_id(kind: str) -> None:
    with pytest.raises(AlignmentError, match=r"2 of 3 ids are not in the \w+, first 'nowhere'"):
        table(kind, IDS).take([IDS[0], "nowhere", "else"])


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_may_occur_only_once(kind: str) -> None:
    with pytest.raises(DataError, match=r"1 ids occur more than once, first 'image 1'"):
        table(kind, ["image 1", "image 0", "image 1"])


@quick
@given(order=orders)
def test_positions_point_to_the_requested_ids(order: list[str]) -> None:
    assert [IDS[position] for position in positions(IDS, order, "list")] == order


def test_ids_are_kept_in_order() -> None:
    assert as_ids(["b", "a"]).tolist() == ["b", "a"]


def test_parts_of_a_table_must_be_of_one_length() -> None:
    ids = np.asarray(IDS, dtype=object)
    with pytest.raises(AlignmentError, match="differ in length"):
        Manifest(ids, ids[:3], pd.DataFrame(index=pd.Index(ids)), ids)
    with pytest.raises(AlignmentError, match=r"expected x of shape \(7, d\), found \(3, 2\)"):
        Embeddings(ids, np.zeros((3, 2), np.float32))
    with pytest.raises(AlignmentError, match=r"expected x of shape \(7, d\), found \(7,\)"):
        Embeddings(ids, np.zeros(7, np.float32))
    with pytest.raises(AlignmentError, match="expected 7 values, found 3"):
        Truth(ids, np.zeros(3, np.int64), ("a", "b"))
    with pytest.raises(AlignmentError, match="expected 7 weights, found 3"):
        Truth(ids, np.zeros(7, np.int64), ("a", "b"), np.ones(3))
    with pytest.raises(AlignmentError, match=r"expected probabilities of shape \(7, 3\), found \(7, 2\)"):
        Predictions.of_part("val", IDS, np.ones((7, 2)), ("a", "b", "c"))


@pytest.mark.parametrize("row", [[0.5, 0.6], [np.nan, 1.0], [np.inf, 0.0]])
def test_probabilities_must_be_finite_and_sum_to_one(row: list[float]) -> None:
    ids = np.asarray(["a", "b"], dtype=object)
    with pytest.raises(DataError, match="1 of 2 rows of probabilities"):
        Predictions(ids, np.asarray([[0.5, 0.5], row]), ("x", "y"), ids, np.zeros(2, np.int64))


def test_probabilities_of_a_part_are_scaled_to_sum_to_one_in_float64() -> None:
    third = np.asarray([[1 / 3, 1 / 3, 1 / 3 + 1e-4]], dtype=np.float32)
    scaled_rows = Predictions.of_part("val", ["a"], third, "xyz")
    assert scaled_rows.proba.dtype == np.float64
    assert scaled_rows.proba.sum() == pytest.approx(1, abs=1e-15)
    assert (scaled_rows.part.tolist(), scaled_rows.fold.tolist(), scaled_rows.classes) == (
        ["val"],
        [-1],
        ("x", "y", "z"),
    )


def test_an_unknown_column_is_refused_with_the_existing_ones() -> None:
    manifest = table("manifest", IDS)
    assert isinstance(manifest, Manifest)
    with pytest.raises(DataError, match="no label column is called 'z'; columns: y, name"):
        manifest.column("z")


@pytest.mark.parametrize("ids", [IDS, []], ids=["seven rows", "no row"])
@pytest.mark.parametrize("kind", ["manifest", "predictions"])
def test_tables_survive_a_round_trip_through_parquet(kind: str, ids: list[str], tmp_path: Path) -> None:
    written_table = table(kind, ids)
    assert isinstance(written_table, Manifest | Predictions)
    write_table(tmp_path / "t.parquet", written_table.to_frame())
    restored_table = type(written_table).from_frame(read_table(tmp_path / "t.parquet", "featx extract"))
    assert content(restored_table) == content(written_table)


@quick
@given(order=st.permutations(["a", "b", "c"]))
def test_reordered_classes_keep_each_class_its_column(order: list[str]) -> None:
    rows = Predictions.of_part("val", ["i", "j"], np.asarray([[1, 2, 7], [6, 3, 1]]), "abc")
    ordered_rows = rows.ordered(order)
    assert ordered_rows.classes == tuple(order)
    for name in order:
        assert ordered_rows.proba[:, order.index(name)].tolist() == rows.proba[:, "abc".index(name)].tolist()
    assert [order[code] for code in ordered_rows.codes] == ["c", "a"]


def test_classes_cannot_be_reordered_to_other_classes() -> None:
    rows = Predictions.of_part("val", ["i"], np.ones((1, 2)), "ab")
    with pytest.raises(AlignmentError, match=r"expected the classes \['a', 'c'\], found \['a', 'b'\]"):
        rows.ordered(["a", "c"])


def test_the_first_of_equally_probable_classes_is_predicted() -> None:
    assert Predictions.of_part("val", ["i"], np.ones((1, 3)), "abc").codes.tolist() == [0]


def test_concatenated_tables_have_the_classes_of_the_first_table() -> None:
    first = Predictions.of_part("oof", ["i"], np.asarray([[0.9, 0.1]]), "ab", np.asarray([3]))
    second = Predictions.of_part("val", ["j"], np.asarray([[0.8, 0.2]]), "ba")
    joint_table = concatenate_predictions([first, second])
    assert isinstance(joint_table, Predictions)
    assert joint_table.proba.tolist() == [[0.9, 0.1], [0.2, 0.8]]
    assert (joint_table.ids.tolist(), joint_table.part.tolist(), joint_table.fold.tolist()) == (
        ["i", "j"],
        ["oof", "val"],
        [3, -1],
    )
    assert joint_table.of("val").ids.tolist() == ["j"]
    assert len(joint_table.of("test").ids) == 0
    with pytest.raises(DataError, match="occur more than once, first 'i'"):
        concatenate_predictions([first, first])
