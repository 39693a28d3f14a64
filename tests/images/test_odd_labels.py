"""Label files with unusual values: they are read, or reported in one line.

Modules: images.label_columns.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from featx.errors import DataError
from featx.images.init import init
from featx.images.readers import read_source
from featx.specs.recipe import load_recipe
from featx.tables.encoding import encode_target
from featx.tables.manifest import Manifest

NAMES = [f"{number}.png" for number in range(6)]


@pytest.fixture
def images(home: Path) -> Path:
    """A folder of six images without labels."""
    (home / "images").mkdir()
    for name in NAMES:
        Image.new("RGB", (6, 4)).save(home / "images" / name)
    return home / "images"


def labelled(column: str) -> tuple[str, ...]:
    """Write a recipe, read the images by it, store and read the manifest, and return the classes of a column."""
    init("images", target=column, force=True)
    recipe = load_recipe()
    manifest = read_source(recipe.data, recipe.folder).manifest
    manifest.to_frame().to_parquet("manifest.parquet")
    stored_manifest = Manifest.from_frame(pd.read_parquet("manifest.parquet"))
    return encode_target(stored_manifest, column, recipe.targets[column]).names


COLUMNS: dict[str, Any] = {
    "lists": pa.array([[1], [2]] * 3),
    "structs": pa.array([{"a": 1}, {"a": 2}] * 3),
    "maps": pa.array([[("a", 1)], [("b", 2)]] * 3, pa.map_(pa.string(), pa.int64())),
    "bytes": pa.array([b"\xff", b"b"] * 3),
    "decimals": pa.array([1, 2] * 3).cast(pa.decimal128(25, 2)),
    "dates": pa.array([0, 1] * 3, pa.date32()),
    "times": pa.array([0, 1] * 3, pa.timestamp("ns")),
    "durations": pa.array([0, 1] * 3, pa.duration("s")),
    "categories": pa.array(["a", "b"] * 3).dictionary_encode(),
    "unsigned": pa.array([2**63, 1] * 3, pa.uint64()),
    "infinite": pa.array([float("inf"), 1.0] * 3),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_parquet_column_of_any_type_can_be_classes(kind: str, images: Path) -> None:
    parquet.write_table(pa.table({"path": pa.array(NAMES), "y": COLUMNS[kind]}), images / "labels.parquet")
    assert len(labelled("y")) == 2


def test_columns_of_a_parquet_table_may_be_named_by_tuples(images: Path) -> None:
    frame = pd.DataFrame({("a", "path"): NAMES, ("a", "y"): [1, 2] * 3})
    parquet.write_table(pa.Table.from_pandas(frame), images / "labels.parquet")
    assert labelled("('a', 'y')") == ("1", "2")


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_broken_named_table_is_reported_in_one_line(suffix: str, images: Path) -> None:
    (images / f"labels.{suffix}").write_bytes(b'path,y\n0.png,"a\n')
    with pytest.raises(DataError, match=rf"labels\.{suffix} cannot be read as a table: it is not a ") as error:
        init("images", labels=f"images/labels.{suffix}")
    assert len(str(error.value).splitlines()) == 1


MIXED = [
    ("1", '"a"'),
    ("1", "true"),
    (str(2**65), "1"),
    (str(10**400), "1"),
    ("0.5", '"a"'),
]


@pytest.mark.parametrize("values", MIXED, ids=range(len(MIXED)))
def test_annotations_of_mixed_types_become_text(values: tuple[str, str], images: Path) -> None:
    for number, name in enumerate(NAMES):
        (images / name).with_suffix(".json").write_text(values[number % 2])
    assert set(labelled("json")) == {str(json.loads(value)) for value in values}


BROKEN = ["1e400", '{"y": -1e999}', "9" * 5000, "[" * 3000 + "]" * 3000, "{", '{"a": ' * 3000 + "1" + "}" * 3000]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_annotation_is_reported_in_one_line(content: str, images: Path) -> None:
    for name in NAMES:
        (images / name).with_suffix(".json").write_text(content)
    with pytest.raises(DataError, match=r"annotation '0\.json' cannot be read: .*; correct or remove it") as error:
        init("images")
    assert len(str(error.value).splitlines()) == 1


PROTOCOLS = [
    "reference",
    "zip",
    "tar",
    "dir",
    "cached",
    "filecache",
    "simplecache",
    "blockcache",
    "memory",
    "data",
    "jlab",
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_store_that_cannot_be_opened_is_reported_in_one_line(protocol: str, home: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.source: ") as error:
        init(f"{protocol}://x")
    assert len(str(error.value).splitlines()) == 1


def test_a_column_may_have_the_name_of_a_parameter_of_python(images: Path) -> None:
    # This "é" of two characters is replaced by one, so that the column is written anew.
    accented = "cafe\u0301"
    rows = [f"{name},{accented if row % 2 else 'tea'},{row % 3}" for row, name in enumerate(NAMES)]
    (images / "labels.csv").write_text("\n".join(["file,self,other", *rows]))
    assert labelled("self") == ("café", "tea")
