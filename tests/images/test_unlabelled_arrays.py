"""Array files without labels: their rows are images without labels; what could be read wrong is refused."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from featx.errors import DataError
from featx.images.init import init
from featx.images.readers import read_source
from featx.images.sources import read_content
from featx.specs.recipe import load_recipe

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 18, 20, 3), dtype=np.uint8)
GREY = np.ascontiguousarray(PIXELS[:, :18, :18, 0])


def write_hdf5(path: Path, **datasets: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values


def write_single_images(path: Path) -> None:
    write_hdf5(path, **{f"scan{i:02}": values for i, values in enumerate(PIXELS)})


SOURCES: dict[str, tuple[Callable[[Path], None], np.ndarray]] = {
    "HDF5": (lambda d: write_hdf5(d / "a.h5", x=PIXELS), PIXELS),
    "HDF5 with masks": (lambda d: write_hdf5(d / "a.h5", images=PIXELS, masks=PIXELS[..., :1]), PIXELS),
    "HDF5 with something else": (lambda d: write_hdf5(d / "a.h5", x=PIXELS, mean=PIXELS.mean(axis=0)), PIXELS),
    "HDF5 with one dataset for each image": (lambda d: write_single_images(d / "a.h5"), PIXELS),
    "npz": (lambda d: np.savez(d / "a.npz", images=PIXELS), PIXELS),
    "npz of grey images": (lambda d: np.savez(d / "a.npz", GREY), GREY),
    "npz whose last axis counts": (lambda d: np.savez(d / "a.npz", volume=np.moveaxis(GREY, 0, -1)), GREY),
    "npy": (lambda d: np.save(d / "a.npy", PIXELS), PIXELS),
    "two npy files": (
        lambda d: [np.save(d / name, part) for name, part in (("a", PIXELS[:4]), ("b", PIXELS[4:]))] and None,
        PIXELS,
    ),
    "MATLAB": (lambda d: scipy.io.savemat(d / "a.mat", {"X": np.moveaxis(PIXELS, 0, -1)}), PIXELS),
    "parts": (lambda d: np.savez(d / "a.npz", x_train=PIXELS[:7], x_test=PIXELS[7:]), PIXELS),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("is_file", [False, True], ids=["folder", "file"])
def test_arrays_without_labels_are_images(kind: str, is_file: bool, home: Path) -> None:
    make, pixels = SOURCES[kind]
    (home / "d").mkdir()
    make(home / "d")
    files = list((home / "d").iterdir())
    if is_file and len(files) > 1:
        pytest.skip("the source has two files")
    recognition = init(files[0] if is_file else "d")
    recipe = load_recipe()
    listing = read_source(recipe.data, recipe.folder)
    assert (recognition.target, recipe.targets, len(listing)) == ("", {}, len(pixels))
    rows = [np.asarray(read_content(uri)) for uri in listing.manifest.uris]
    assert (np.stack(rows) == pixels).all()
    assert any(sentence.startswith("none: no ") for sentence in recognition.choice)
    assert "dataset with one row for each image" in recognition.warnings[-1]


def test_other_datasets_are_named_in_the_reason(home: Path) -> None:
    write_hdf5(home / "a.h5", x=PIXELS, mean=PIXELS.mean(axis=0))
    assert init("a.h5").choice[-1].endswith("one row of labels for each image; other datasets: a.h5#mean")


@pytest.mark.parametrize("name", ["y", "labels", "class_ids_target"])
def test_labels_of_another_length_are_refused_with_all_shapes(name: str, home: Path) -> None:
    np.savez(home / "a.npz", x=PIXELS, **{name: np.zeros(9)})
    with pytest.raises(DataError, match=rf"found 'x' \(10, 18, 20, 3\), '{name}' \(9,\); expected images"):
        init("a.npz")


def test_arrays_that_are_no_images_are_refused(home: Path) -> None:
    np.savez(home / "a.npz", features=np.zeros((10, 64)), points=np.zeros((10, 5, 2)))
    with pytest.raises(DataError, match=r"holds no images with labels: found 'features' \(10, 64\)"):
        init("a.npz")
