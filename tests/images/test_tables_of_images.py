"""Tables that hold the images themselves: pixels in CSV files, bytes in Parquet files.

Modules: images.containers.parquet_images, images.containers.pixel_tables.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from featx.errors import DataError
from featx.images.digests import identify_image
from featx.images.init import recognise
from featx.images.readers import Listing, read_source
from featx.images.sources import read_content
from featx.locations import label_file_states
from featx.specs.data import ReaderSpec
from tests.layouts import PNGS

GREY: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (9, 12, 12), dtype=np.uint8)
PARTS = ["Training"] * 5 + ["PublicTest"] * 2 + ["PrivateTest"] * 2


def listed(source: Path, reader: str) -> Listing:
    spec = recognise(str(source), None)
    assert spec.reader == reader
    return read_source(spec, Path())


def contents(listing: Listing) -> list[Any]:
    return [read_content(uri) for uri in listing.manifest.uris]


# Pixels in CSV files


def fer(values: NDArray[np.uint8], quote: str = "", ending: str = "\n") -> bytes:
    rows = [
        f"{row % 3},{quote}{' '.join(map(str, pixels.ravel()))}{quote},{PARTS[row]}"
        for row, pixels in enumerate(values)
    ]
    return ending.join(["emotion,pixels,Usage", *rows, ""]).encode()


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_pixels_in_one_cell_are_images_with_their_parts(quote: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_bytes(b"\xef\xbb\xbf" + fer(GREY, quote, ending) + b"\n")
    (tmp_path / "README").touch()
    listing = listed(tmp_path, "pixels")
    assert listing.manifest.ids.tolist() == [f"fer2013.csv#{row}" for row in range(9)]
    assert (np.stack(contents(listing)) == GREY).all()
    assert listing.manifest.labels.to_dict("list") == {
        "emotion": [row % 3 for row in range(9)],
        "split": ["train"] * 5 + ["val"] * 2 + ["test"] * 2,
    }
    assert listing.ignored == {"README": "is not an image: its name has no suffix"}


def test_empty_lines_above_the_header_of_a_pixel_table_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_bytes(b"\xef\xbb\xbf\n \n" + fer(GREY))
    listing = listed(tmp_path, "pixels")
    assert (np.stack(contents(listing)) == GREY).all()
    assert listing.manifest.labels["emotion"].tolist() == [row % 3 for row in range(9)]


def pixel_columns(values: NDArray[np.uint8], names: list[str], labels: list[str] | None) -> bytes:
    header = [*([] if labels is None else ["label"]), *names]
    rows = [
        ",".join([*([] if labels is None else [labels[row]]), *map(str, pixels.ravel())])
        for row, pixels in enumerate(values)
    ]
    return "\n".join([",".join(header), *rows]).encode()


@pytest.mark.parametrize("style", ["pixel{0}", "{1}x{2}"])
def test_one_column_per_pixel_as_kaggle_writes_it(style: str, tmp_path: Path) -> None:
    names = [style.format(n, n // 12 + 1, n % 12 + 1) for n in range(144)]
    labels = ["7", "07", "1", "2", "", "3", "4", "5", "6"]
    (tmp_path / "train.csv").write_bytes(pixel_columns(GREY, names, labels))
    (tmp_path / "test.csv").write_bytes(pixel_columns(GREY[:2], names, None))
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    listing = listed(tmp_path, "pixels")
    assert (np.stack(contents(listing)) == GREY).all()
    assert listing.manifest.labels["label"].fillna("").tolist() == labels
    assert set(listing.manifest.labels["split"]) == {"train"}
    assert listing.ignored == {
        "test.csv": "is a table without labels",
        "sample_submission.csv": "is a table without pixels",
    }


def test_three_channels_are_read_if_the_name_says_so(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    content = pixel_columns(colours, [f"pixel{n:04}" for n in range(432)], list("0101"))
    (tmp_path / "hmnist_12_12_RGB.csv").write_bytes(content)
    assert (np.stack(contents(listed(tmp_path, "pixels"))) == colours).all()
    (tmp_path / "hmnist_12_12_RGB.csv").rename(tmp_path / "other.csv")
    with pytest.raises(DataError, match="other.csv holds 432 pixels in each row; expected a square picture, or three"):
        recognise(str(tmp_path), None)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ("300 " * 144, "has pixels from 300 to 300, expected 0 to 255"),
        ("-1 " * 144, "has pixels from -1 to -1, expected 0 to 255"),
        ("0.5 " * 144, "holds a pixel that is no whole number: invalid literal for int() with base 10: b'0.5'"),
        ("1 " * 143, "has 143 pixels, expected 12 × 12"),
        ("", "has 0 pixels, expected 12 × 12"),
        ("9" * 5000, "holds a pixel that is no whole number"),
    ],
    ids=["large", "negative", "fraction", "few", "none", "digits"],
)
def test_a_row_with_wrong_pixels_is_unreadable(pixels: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(fer(GREY) + f"0,{pixels},Training\n".encode())
    identities = [identify_image(uri) for uri in listed(tmp_path, "pixels").manifest.uris]
    assert [identity.outcome for identity in identities] == [""] * 9 + ["unreadable"]
    assert identities[9].reason.startswith(reason)


def test_a_line_with_missing_cells_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(fer(GREY)[:-30])
    with pytest.raises(DataError, match=r"a.csv: row 9 has 2 cells, the header has 3; expected one line per image"):
        listed(tmp_path, "pixels")


def test_a_changed_csv_file_makes_rows_unreadable_not_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(fer(GREY))
    spec = recognise(str(tmp_path), None)
    uri, states_before = read_source(spec, Path()).manifest.uris[8], label_file_states(spec, Path())
    (tmp_path / "a.csv").write_bytes(fer(GREY)[:-400])
    assert identify_image(uri).outcome == "unreadable"
    assert label_file_states(spec, Path()) != states_before
    (tmp_path / "a.csv").unlink()
    assert identify_image(uri).outcome == "missing"


# Bytes in Parquet files

CLASSES = ["cat", "dog", "eel"]


def write_parquet(path: Path, rows: range, bytes_only: bool = False, **columns: Any) -> None:
    images: list[Any] = [PNGS[row] if bytes_only else {"bytes": PNGS[row], "path": f"{row}.png"} for row in rows]
    features: dict[str, Any] = {"label": {"names": CLASSES, "_type": "ClassLabel"}}
    features["tags"] = {"feature": {"names": CLASSES, "_type": "ClassLabel"}, "_type": "Sequence"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": images, **columns}).replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)


@pytest.mark.parametrize("bytes_only", [False, True])
def test_hugging_face_files_have_named_classes_and_parts(bytes_only: bool, tmp_path: Path) -> None:
    write_parquet(tmp_path / "data/train-00000-of-00002.parquet", range(3), bytes_only, label=[0, 1, 2])
    write_parquet(tmp_path / "data/train-00001-of-00002.parquet", range(3, 5), bytes_only, label=[-1, 1])
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", range(5, 8), bytes_only, label=[2, 2, 0])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "README.md").touch()
    listing = listed(tmp_path, "parquet")
    assert listing.manifest.ids[[0, 7]].tolist() == [
        "data/test-00000-of-00001.parquet#0",
        "data/train-00001-of-00002.parquet#1",
    ]
    assert contents(listing) == [*PNGS[5:8], *PNGS[:5]]
    assert listing.manifest.labels["label"].fillna("").tolist() == ["eel", "eel", "cat", "cat", "dog", "eel", "", "dog"]
    assert listing.manifest.labels["split"].tolist() == ["test"] * 3 + ["train"] * 5
    assert listing.ignored == {
        "other.parquet": "is a Parquet file without a column of images",
        "README.md": "is not an image: its suffix is '.md'",
    }


@pytest.mark.parametrize("drop", [True, False])
def test_an_index_of_labels_is_a_column(drop: bool, tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": [{"bytes": png, "path": None} for png in PNGS[:6]], "label": ["cat", "dog"] * 3})
    frame[::-1].set_index("label", drop=drop).to_parquet(tmp_path / "a.parquet")
    listing = listed(tmp_path, "parquet")
    assert listing.manifest.labels.to_dict("list") == {"label": ["dog", "cat"] * 3}
    assert contents(listing) == PNGS[5::-1]


def test_lists_of_classes_become_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", range(3), tags=[[0, 2], [], None], age=[1.5, 2.5, 3.5])
    labels = listed(tmp_path / "a.parquet", "parquet").manifest.labels
    assert labels.to_dict("list") == {"age": [1.5, 2.5, 3.5], "cat": [1, 0, 0], "dog": [0, 0, 0], "eel": [1, 0, 0]}


def test_a_class_without_a_name_is_reported(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", range(3), label=[0, 1, 3])
    with pytest.raises(DataError, match=r"column 'label' holds 3(\.0)?, but its metadata name 3 classes"):
        listed(tmp_path, "parquet")


def test_rows_without_bytes_are_unreadable(tmp_path: Path) -> None:
    images = [{"bytes": PNGS[0], "path": None}, {"bytes": None, "path": "b.png"}, None]
    pq.write_table(pa.table({"image": images, "y": [0, 1, 0]}), tmp_path / "a.parquet")
    identities = [identify_image(uri) for uri in listed(tmp_path, "parquet").manifest.uris]
    reason = "has no bytes in the Parquet file, only a path or nothing"
    assert [identity.reason for identity in identities] == ["", reason, reason]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_parquet_file_is_reported(share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, range(6), label=[0] * 6)
    spec = ReaderSpec(source=str(path), reader="parquet")
    uris = read_source(spec, Path()).manifest.uris
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"\A.*a.parquet cannot be read as Parquet: [^\n]+\Z"):
        read_source(spec, Path())
    assert identify_image(uris[5]).reason.startswith("cannot be read from its Parquet file: ")
    content[4 : int(len(content) * share / 2)] = bytes(int(len(content) * share / 2) - 4)
    path.write_bytes(content)
    assert {identify_image(uri).outcome for uri in uris} <= {"", "unreadable"}


def test_a_table_of_other_bytes_is_no_source_of_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"hash": [b"\1\2\3", b"\4"], "y": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no reader recognises|no images with labels"):
        recognise(str(tmp_path), None)
