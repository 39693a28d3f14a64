"""Array files opened without loading them: HDF5, MATLAB, npz, npy, IDX (of MNIST) and the binary version of CIFAR."""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.containers.hdf5 import Hdf5Datasets
from featx.images.containers.matlab import MatlabDatasets
from featx.images.contents import FileState
from featx.images.npy import map_npy
from featx.images.system_files import system_file_rule
from featx.images.unpacking import UNPACKERS, check_disk_space, read_chunks, unpack

ARRAY_FILE_NAME = re.compile(
    r"\.(h5|hdf5|hdf|mat|npz|npy)$|-idx\d-ubyte(\.gz)?$|\.idx\d?-?(ubyte)?(\.gz)?$|^(data_batch_\d|test_batch)\.bin$",
    re.IGNORECASE,
)
# Dtype by the code in the header: http://yann.lecun.com/exdb/mnist
IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
# Shape of the images in the binary version of CIFAR-10; one byte before each image is its label.
CIFAR_SHAPE = (3, 32, 32)
ARRAY_ERRORS = (OSError, ValueError, EOFError, KeyError, RuntimeError, TypeError, NotImplementedError, zlib.error,
                zipfile.BadZipFile, MemoryError, OverflowError, struct.error, AttributeError)  # fmt: skip


def is_array_file(name: str) -> bool:
    """Whether a file has the name of an array file."""
    return bool(ARRAY_FILE_NAME.search(name)) and not system_file_rule(name)


def open_datasets(file: Path) -> Mapping[str, Any]:
    """Return the arrays of a file by name; the name is ``""`` if the format has none.

    Parameters
    ----------
    file
        Path of the file.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    ReadError
        it cannot be read.
    """
    return _open(file)[0]


def skipped_datasets(file: Path) -> Mapping[str, str]:
    """Return why arrays of a file cannot be read, by name; errors are those of `open_datasets`."""
    return _open(file)[1]


def _open(file: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    state = file_state(file)
    if state is None:
        raise FileNotFoundError(str(file))
    return _open_array_file(str(file), state[1:])


@lru_cache(maxsize=16)
def _open_array_file(path: str, state: FileState) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    suffix = Path(path).suffix.lower()
    try:
        if suffix in {".h5", ".hdf5", ".hdf"}:
            hdf5 = Hdf5Datasets(path)
            return hdf5, hdf5.skipped
        if suffix == ".mat":
            datasets = MatlabDatasets(path)
            return datasets, datasets.skipped
        if suffix == ".npz":
            return _open_npz(path)
        if suffix == ".npy":
            with Path(path).open("rb") as stream:
                return {"": map_npy(stream, state[0])}, {}
        return (_open_cifar(path) if suffix == ".bin" else {"": _open_idx(path)}), {}
    except DataError:
        raise
    except ARRAY_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise ReadError(f"{path} cannot be read as arrays, it may be truncated: {reason}") from error


def _open_npz(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays of an npz file, each unpacked into a temporary file and mapped, and why others are not."""
    arrays: dict[str, Any] = {}
    skipped_reasons: dict[str, str] = {}
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                continue
            check_disk_space(info.file_size, f"{path}, {info.filename}")
            with file.open(info) as member, unpack(read_chunks(member), path) as unpacked_file:
                try:
                    arrays[name] = map_npy(unpacked_file, info.file_size)
                except ValueError as error:
                    if "Python objects" not in str(error):
                        raise
                    skipped_reasons[name] = str(error).removeprefix("it ")
    if skipped_reasons and not arrays:
        name, reason = next(iter(skipped_reasons.items()))
        raise ValueError(f"array {name!r} {reason}")
    return arrays, skipped_reasons


def _open_idx(path: str) -> NDArray[Any]:
    """Return the array of an IDX file, mapped; a gzipped one is unpacked into a temporary file first."""
    with Path(path).open("rb") as stream:
        is_gzipped = stream.read(2) == b"\x1f\x8b"
    with unpack(UNPACKERS[".gz"](path), path) if is_gzipped else Path(path).open("rb") as stream:
        n_file_bytes = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        head = stream.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in IDX_DTYPES:
            raise ValueError("it does not have the header of an IDX file")
        dtype, n_axes = np.dtype(IDX_DTYPES[head[2]]), head[3]
        shape = tuple(np.frombuffer(stream.read(4 * n_axes), ">u4", n_axes).tolist())
        n_expected, n_bytes = math.prod(shape) * dtype.itemsize, n_file_bytes - stream.tell()
        if n_bytes != n_expected:
            raise ValueError(f"shape {shape} needs {n_expected} bytes, found {n_bytes}")
        return np.memmap(stream, dtype, "r", 4 + 4 * n_axes, shape) if n_expected else np.zeros(shape, dtype)


def _open_cifar(path: str) -> dict[str, Any]:
    """Return images and labels of one file of CIFAR-10's binary version; their names state the part."""
    record_bytes = 1 + math.prod(CIFAR_SHAPE)
    n_images, n_extra_bytes = divmod(Path(path).stat().st_size, record_bytes)
    if n_extra_bytes or not n_images:
        raise ValueError(f"its size is not a multiple of {record_bytes} bytes: one label and 3 × 32 × 32 pixels")
    records = np.memmap(path, np.uint8, "r").reshape(n_images, record_bytes)
    part = "test" if Path(path).name.lower().startswith("test") else "train"
    return {f"{part}_images": records[:, 1:].reshape(n_images, *CIFAR_SHAPE), f"{part}_labels": records[:, 0]}
