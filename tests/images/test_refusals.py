"""Formats that are known and not read: one line with the way out.

Modules: images.containers.refusals.
"""

import gzip
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from featx.errors import DataError
from featx.images.init import recognise
from tests.layouts import on_disk, write_tar, write_zip

PICKLE = pickle.dumps({"data": [1, 2, 3]}, protocol=2)


def refused(source: Path) -> str:
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as error_info:
        recognise(str(source), None)
    return str(error_info.value)


@pytest.mark.parametrize(("name", "kind"), [("photos.7z", "7z"), ("photos.RAR", "RAR")])
def test_other_archives_are_named_with_the_way_out(name: str, kind: str, tmp_path: Path) -> None:
    path = on_disk(tmp_path, {name: b"7z\xbc\xaf\x27\x1c"}) / name
    expected = f"{path} is a {kind} archive, which is not read; unpack it and pass the folder, or pack it again as zip"
    assert refused(path).startswith(expected)
    assert refused(tmp_path).startswith(expected)


def test_pickles_of_cifar_are_never_loaded(tmp_path: Path) -> None:
    files = {f"cifar-10-batches-py/{name}": PICKLE for name in ("data_batch_1", "test_batch", "batches.meta")}
    on_disk(tmp_path, files)
    expected = (
        "is a Python pickle of CIFAR-10, which is never loaded because a pickle can run any program; use the binary"
    )
    assert expected in refused(tmp_path / "cifar-10-batches-py")
    assert expected in refused(write_tar(tmp_path / "cifar-10-python.tar.gz", files))


def test_other_pickles_are_named(tmp_path: Path) -> None:
    on_disk(tmp_path, {"train.pkl": PICKLE})
    assert f"{tmp_path / 'train.pkl'} may be a Python pickle, which is never loaded" in refused(tmp_path)


def test_compressed_array_files_are_named(tmp_path: Path) -> None:
    on_disk(tmp_path, {"x.h5.gz": gzip.compress(b"x")})
    assert f"{tmp_path / 'x.h5.gz'} is compressed; unpack it, for example with 'gzip -dk x.h5.gz'" in refused(tmp_path)


def test_files_beside_images_do_not_explain_missing_labels(tmp_path: Path) -> None:
    on_disk(tmp_path, {"0.png": b"x", "notes.7z": b"7z"})
    assert recognise(str(tmp_path), None).reader == "images"


@pytest.mark.parametrize("name", ["fer2013.csv", "deep/tiles.h5", "train.mat"])
def test_containers_in_an_archive_are_named(name: str, tmp_path: Path) -> None:
    message = refused(write_zip(tmp_path / "a.zip", {name: b"a,b\n1,2\n"}))
    assert message == (
        f"{tmp_path / 'a.zip'} holds {name!r}, which is read from a disk only; unpack the archive and pass the folder"
    )


def test_the_arrays_of_a_file_without_images_are_listed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["y"] = np.zeros((4, 64)), [0, 1, 0, 1]
    message = refused(tmp_path / "a.h5")
    assert (
        "a.h5 holds no images with labels: found 'features' (4, 64), 'y' (4,); expected images (n, h, w) or" in message
    )


def test_a_cell_array_of_matlab_is_named(tmp_path: Path) -> None:
    cells = np.empty((2, 1), dtype=object)
    cells[:, 0] = [np.zeros((8, 8)), np.zeros((9, 9))]
    scipy.io.savemat(tmp_path / "a.mat", {"images": cells, "y": [[0.0], [1.0]]})
    message = refused(tmp_path / "a.mat")
    assert "found 'y' (2, 1), 'images' is a cell array of MATLAB; expected images (n, h, w) or" in message
