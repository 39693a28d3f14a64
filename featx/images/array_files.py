"""Array files opened without loading them: HDF5, npz, npy and IDX (the format of MNIST)."""

import io
import math
import os
import re
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
from featx.images.contents import FileState
from featx.images.litter import litter_file_rule
from featx.images.npy import map_npy
from featx.images.unpacking import UNPACKERS, check_disk_space, read_chunks, unpack

ARRAY_FILE_NAME = re.compile(r"\.(h5|hdf5|hdf|npz|npy)$|-idx\d-ubyte(\.gz)?$|\.idx\d?-?(ubyte)?(\.gz)?$", re.IGNORECASE)
# Dtype by the code in the header: http://yann.lecun.com/exdb/mnist
IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
ARRAY_ERRORS = (OSError, ValueError, EOFError, KeyError, RuntimeError, TypeError, NotImplementedError, zlib.error,
                zipfile.BadZipFile, MemoryError, OverflowError)  # fmt: skip
CHUNK_CACHE_BYTES = 64 << 20


def is_array_file(name: str) -> bool:
    """Whether a file has the name of an array file."""
    return bool(ARRAY_FILE_NAME.search(name)) and not litter_file_rule(name)


def open_datasets(file: Path, external: bool = False) -> Mapping[str, Any]:
    """Return the arrays of a file by name; the name is ``""`` if the format has none.

    Parameters
    ----------
    file
        Path of the file.
    external
        Whether HDF5 datasets may take their values from other files (external storage, virtual datasets).

    Raises
    ------
    FileNotFoundError
        there is no such file.
    ReadError
        it cannot be read, or takes values from other files.
    """
    state = file_state(file)
    if state is None:
        raise FileNotFoundError(str(file))
    arrays = _open_array_file(str(file), state[1:])
    if external:
        return arrays
    for name, array in arrays.items():
        if external_files := [] if isinstance(array, np.ndarray) else _external_files(array):
            raise ReadError(
                f"{file}: dataset {name!r} takes its values from other files, first {external_files[0]!r}; copy them "
                "into the file, or set 'external = true' in [data] if you trust its author"
            )
    return arrays


@lru_cache(maxsize=8)
def _open_array_file(path: str, state: FileState) -> Mapping[str, Any]:
    suffix = Path(path).suffix.lower()
    try:
        if suffix in {".h5", ".hdf5", ".hdf"}:
            return _open_hdf5(path)
        if suffix == ".npz":
            return _open_npz(path)
        if suffix == ".npy":
            with Path(path).open("rb") as stream:
                return {"": map_npy(stream, state[0])}
        return {"": _open_idx(path)}
    except DataError:
        raise
    except ARRAY_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise ReadError(f"{path} cannot be read as arrays, it may be truncated: {reason}") from error


def _open_npz(path: str) -> dict[str, Any]:
    """Return the arrays of an npz file, each unpacked into a temporary file and mapped."""
    arrays = {}
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            if info.filename.endswith(".npy"):
                check_disk_space(info.file_size, f"{path}, {info.filename}")
                with file.open(info) as member, unpack(read_chunks(member), path) as unpacked:
                    arrays[info.filename.removesuffix(".npy")] = map_npy(unpacked, info.file_size)
    return arrays


def _open_hdf5(path: str) -> dict[str, Any]:
    """Return the datasets of an HDF5 file; links to other files are not followed."""
    import h5py

    file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
    arrays: dict[str, Any] = {}

    def add_dataset(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            arrays[name] = item

    file.visititems(add_dataset)
    return arrays


def _external_files(dataset: Any) -> list[str]:
    """Return the files that an HDF5 dataset takes its values from, other than its own."""
    names = [os.fsdecode(entry[0]) for entry in dataset.external or ()]
    if dataset.is_virtual:
        names += [source.file_name for source in dataset.virtual_sources()]
    return [name for name in dict.fromkeys(names) if name not in {".", dataset.file.filename}]


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
