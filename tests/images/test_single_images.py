"""One array per image: HDF5 files with one dataset each, and npy files in class folders.

Modules: images.containers.dataset_images, images.containers.npy_folders.
"""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featx.errors import DataError
from featx.images.digests import identify_image
from featx.images.init import recognise
from featx.images.readers import Listing, read_source
from featx.images.sources import read_content
from featx.locations import label_file_states
from tests.layouts import write_zip

PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (6, 16, 18, 3), dtype=np.uint8)
WORDS = ["cat", "dog"] * 3


def listed(source: Path, reader: str) -> Listing:
    spec = recognise(str(source), None)
    assert spec.reader == reader
    return read_source(spec, Path())


def pictures(listing: Listing) -> list[int]:
    """Return the number of the picture that each row leads to."""
    contents = [read_content(uri) for uri in listing.manifest.uris]
    return [next(row for row in range(6) if np.array_equal(PIXELS[row], content)) for content in contents]


def labels_by_picture(listing: Listing, column: str) -> list[Any]:
    rows = pictures(listing)
    return [listing.manifest.labels[column].tolist()[rows.index(picture)] for picture in range(6)]


# One dataset per image


def write_images(file: h5py.File) -> None:
    for row, values in enumerate(PIXELS):
        file[f"images/{row:04}"] = values


def test_groups_of_an_hdf5_file_are_classes_with_parts(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for row, values in enumerate(PIXELS):
            file[f"{'train' if row < 4 else 'test'}/{WORDS[row]}/{row}"] = values
        file["version"] = [1, 2]
    listing = listed(tmp_path / "a.h5", "datasets")
    assert sorted(listing.manifest.ids)[0] == "a.h5#test/cat/4"
    assert labels_by_picture(listing, "class") == WORDS
    assert labels_by_picture(listing, "split") == ["train"] * 4 + ["test"] * 2
    assert listing.ignored == {"a.h5#version": "is a dataset that is not an image"}


def test_attributes_of_datasets_are_labels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_images(file)
        for row in range(6):
            file[f"images/{row:04}"].attrs.update({"label": WORDS[row], "age": row / 2, "CLASS": np.bytes_("IMAGE")})
    (tmp_path / "notes.txt").touch()
    listing = listed(tmp_path, "datasets")
    assert listing.ignored == {"notes.txt": "is not an image: its suffix is '.txt'"}
    assert listing.manifest.ids[0] == "a.h5#images/0000"
    assert sorted(listing.manifest.labels.columns) == ["age", "label"]
    assert labels_by_picture(listing, "label") == WORDS
    assert labels_by_picture(listing, "age") == [0, 0.5, 1, 1.5, 2, 2.5]


@pytest.mark.parametrize("kind", ["twins", "scalars", "numbers", "table"])
def test_label_datasets_beside_the_images_are_joined(kind: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_images(file)
        if kind == "numbers":
            file["labels"] = [0, 1, 0, 1, 0, 1]
        elif kind == "table":
            rows = [(f"{row:04}", row % 2) for row in (3, 1, 0, 2, 5, 4)]
            file["meta"] = np.array(rows, dtype=[("name", h5py.string_dtype()), ("label", "i4")])
        else:
            for row in range(6):
                file[f"labels/{row:04}"] = row % 2 if kind == "scalars" else [row % 2]
    listing = listed(tmp_path / "a.h5", "datasets")
    assert labels_by_picture(listing, "label") == [0, 1, 0, 1, 0, 1]


def read_columns(path: Path) -> dict[str, list[Any]]:
    listing = listed(path, "datasets")
    return {str(name): labels_by_picture(listing, str(name)) for name in listing.manifest.labels.columns}


@pytest.mark.parametrize("names", [("labels", "target"), ("a/labels", "b/labels"), ("y", "sub/class")])
def test_several_label_datasets_keep_their_names(names: tuple[str, str], tmp_path: Path) -> None:
    codes = [0, 1, 0, 1, 0, 1], [5, 5, 5, 6, 6, 6]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_images(file)
        for name, values in zip(names, codes, strict=True):
            file[name] = values
        file["age"] = range(6)
    columns = read_columns(tmp_path / "a.h5")
    short_names = ["labels", "b/labels"] if names[0] == "a/labels" else [Path(name).name for name in names]
    assert columns == {**dict(zip(short_names, codes, strict=True)), "age": list(range(6))}


@pytest.mark.parametrize("is_equal", [True, False])
def test_an_attribute_and_a_dataset_of_one_name_are_two_columns(is_equal: bool, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_images(file)
        for row in range(6):
            file[f"images/{row:04}"].attrs.update({"label": WORDS[row], "age": row % 3})
            file[f"labels/{row:04}"] = WORDS[row if is_equal else 5 - row]
        file["age"] = range(6)
    expected: dict[str, list[Any]] = {"label": WORDS, "age": [0, 1, 2] * 2, "age/age": list(range(6))}
    assert read_columns(tmp_path / "a.h5") == expected | ({} if is_equal else {"labels": WORDS[::-1]})


def test_a_label_array_without_an_order_is_not_used(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for row, values in enumerate(PIXELS):
            file[f"images/{row * 7}"] = values
        file["labels"] = [0, 1] * 3
    with pytest.raises(
        DataError, match=r"a.h5 holds no images with labels: found 'images/0' \(16, 18, 3\), .*, 2 more; e"
    ):
        recognise(str(tmp_path / "a.h5"), None)


def test_encoded_files_in_datasets_are_read_as_bytes(tmp_path: Path) -> None:
    files = []
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for row, values in enumerate(PIXELS):
            stream = io.BytesIO()
            Image.fromarray(values).save(stream, "PNG")
            files.append(stream.getvalue())
            file[f"{WORDS[row]}/{row}.png"] = np.frombuffer(stream.getvalue(), np.uint8)
    listing = listed(tmp_path / "a.h5", "datasets")
    assert sorted(map(bytes, (read_content(uri) for uri in listing.manifest.uris))) == sorted(files)
    assert listing.manifest.labels["class"].value_counts().to_dict() == {"cat": 3, "dog": 3}


def test_a_dataset_that_states_too_many_pixels_is_unreadable(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("cat/0", "dog/1"):
            file.create_dataset(name, (40_000, 40_000), "u1", chunks=(64, 64))
        file["dog/2"] = h5py.ExternalLink("b.h5", "secret")
    listing = listed(tmp_path / "a.h5", "datasets")
    assert listing.manifest.ids.tolist() == ["a.h5#cat/0", "a.h5#dog/1"]
    identity = identify_image(listing.manifest.uris[0])
    assert (identity.outcome, identity.reason[:20]) == ("unreadable", "has 1600000000 bytes")


def test_many_datasets_are_listed_without_comparing_all_pairs(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for row in range(1200):
            file.create_dataset(f"{WORDS[row % 2]}/{row}", data=PIXELS[row % 6].transpose(2, 0, 1))
    assert len(listed(tmp_path / "a.h5", "datasets")) == 1200


# npy files in class folders


def write_npy(folder: Path, prefix: str = "") -> Path:
    for row, values in enumerate(PIXELS):
        part = ("train/" if row < 4 else "test/") if prefix == "parts" else prefix
        path = folder / f"{part}{WORDS[row]}/{row}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    return folder


@pytest.mark.parametrize("prefix", ["", "all/", "parts"])
def test_npy_files_in_class_folders_are_images(prefix: str, tmp_path: Path) -> None:
    write_npy(tmp_path, prefix)
    (tmp_path / "notes.txt").touch()
    listing = listed(tmp_path, "npy_folders")
    assert labels_by_picture(listing, "class") == WORDS
    assert listing.ignored == {"notes.txt": "is not an image: its suffix is '.txt'"}
    assert ("split" in listing.manifest.labels) == (prefix == "parts")
    if prefix == "parts":
        assert labels_by_picture(listing, "split") == ["train"] * 4 + ["test"] * 2


def test_npy_files_in_an_archive_are_images(tmp_path: Path) -> None:
    write_npy(tmp_path / "in")
    files = {
        path.relative_to(tmp_path / "in").as_posix(): path.read_bytes() for path in (tmp_path / "in").rglob("*.npy")
    }
    listing = listed(write_zip(tmp_path / "a.zip", files), "npy_folders")
    assert listing.manifest.ids[0] == "a.zip!cat/0.npy"
    assert labels_by_picture(listing, "class") == WORDS


def test_a_broken_npy_file_is_unreadable_and_never_unpickled(tmp_path: Path) -> None:
    write_npy(tmp_path)
    np.save(tmp_path / "cat" / "0.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "cat" / "2.npy").write_bytes((tmp_path / "cat" / "4.npy").read_bytes()[:200])
    listing = listed(tmp_path, "npy_folders")
    identities = [identify_image(uri) for uri in listing.manifest.uris[:3]]
    assert "holds Python objects" in identities[0].reason
    assert "needs 864 bytes, found 72" in identities[1].reason
    assert identities[2].digest == identify_image(f"npy:{tmp_path / 'cat/4.npy'}").digest != ""


def test_a_changed_hdf5_file_changes_the_label_states(tmp_path: Path) -> None:
    for name, codes in (("a.h5", [0, 1] * 3), ("b", [1, 1, 0] * 2)):
        with h5py.File(tmp_path / name, "w") as file:
            write_images(file)
            file["labels"] = codes
    spec = recognise(str(tmp_path), None)
    states_before = label_file_states(spec, Path())
    assert len(states_before) == 1
    (tmp_path / "b").rename(tmp_path / "a.h5")
    assert label_file_states(spec, Path()) != states_before
