"""Damaged array files, and arrays that do not fit their labels: reported in one line."""

from pathlib import Path

import h5py
import numpy as np
import pytest

import featx
from featx.errors import DataError
from featx.images.readers import read_source
from featx.specs.recipe import load_recipe
from tests.images.listings import NOISE, refused


def recipe_of(folder: Path, data: str) -> Path:
    (folder / "featx.toml").write_text(f'[data]\nsource = "."\n{data}\n[targets.y]\ncolumn = "y"\n')
    return folder / "featx.toml"


def refused_recipe(recipe: Path) -> str:
    study_recipe = load_recipe(recipe)
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as error_info:
        read_source(study_recipe.data, study_recipe.folder)
    return str(error_info.value)


def test_different_numbers_of_images_and_labels_are_reported(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = NOISE, [0, 1, 0, 1, 0]
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "a.h5#x"\nlabels = { y = "a.h5#y" }')
    assert refused_recipe(recipe) == (
        "data.arrays: 'a.h5#x' has 6 rows and 'a.h5#y' has shape (5,); expected as many labels as images"
    )


def test_a_missing_dataset_is_reported_with_the_datasets(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["deep/y"], file["note"] = NOISE, [0] * 6, "no array"
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "a.h5#X"\nlabels = { y = "a.h5#deep/y" }')
    assert refused_recipe(recipe) == f"data.arrays: {tmp_path / 'a.h5'} has no dataset 'X'; datasets: 'deep/y', 'x'"
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "b.h5#x"')
    assert f"data.arrays: '{tmp_path / 'b.h5'}' does not exist" in refused_recipe(recipe)


def test_arrays_without_rows_hold_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=NOISE[:0], y=np.zeros((0, 2)))
    assert "no usable images in" in refused(tmp_path / "a.npz")


def test_a_dataset_without_images_is_reported_with_its_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=NOISE.reshape(6, -1), y=[0, 1] * 3)
    recipe = recipe_of(tmp_path, '[[data.arrays]]\nimages = "a.npz#x"\nlabels = { y = "a.npz#y" }')
    assert refused_recipe(recipe) == (
        "data.arrays: 'a.npz#x' has shape (6, 432), expected (n, h, w) or (n, h, w, channels)"
    )


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.h5"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_array_file_is_reported(name: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.npz":
        np.savez(path, x=NOISE, y=[0, 1] * 3)
    elif name == "a.npy":
        np.save(path, NOISE)
    else:
        with h5py.File(path, "w") as file:
            file["x"], file["y"] = NOISE, [0, 1] * 3
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert refused(path).startswith(f"{path} cannot be read as arrays, it may be truncated: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\x08\x03" + np.array([100, 9, 9], ">u4").tobytes() + bytes(81), "shape (100, 9, 9) needs 8100 bytes, f"),
        (b"\0\0\x08\x03" + np.array([2**31, 2**31, 9], ">u4").tobytes(), "bytes, found 0"),
        (b"\0\0\x08\x03\0\0", ""),
        (b"\0\0\x07\x01\0\0\0\0", "it does not have the header of an IDX file"),
        (b"PK\3\4", "it does not have the header of an IDX file"),
    ],
    ids=["too short", "absurdly large", "header cut off", "unknown type", "no IDX"],
)
def test_an_idx_file_that_contradicts_its_header_is_reported(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    message = refused(tmp_path)
    assert "train-images-idx3-ubyte cannot be read as arrays, it may be truncated: " in message
    assert reason in message


def test_a_row_with_nan_is_unreadable_and_other_rows_are_embedded(toy_home: Path) -> None:
    values = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    values[3, 0, 0] = np.nan
    np.savez("a.npz", x=values, y=[0, 1] * 6)
    Path("featx.toml").unlink()
    featx.init("a.npz")
    recipe = Path("featx.toml")
    recipe.write_text(recipe.read_text().replace('"efficientnet_lite0"', '"toy"\nweights = "none"'))
    extraction = featx.extract()
    assert (extraction.n_embedded, extraction.failures) == (11, [("a.npz#3", "unreadable", "holds nan or infinity")])
