"""MATLAB files opened without loading them: version 5, whose variables are mapped, and version 7.3, which is HDF5."""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ReadError
from featx.images.containers.hdf5 import Hdf5Datasets
from featx.images.unpacking import CHUNK_BYTES, read_chunks, unpack

HEADER_BYTES = 128
# Start of a compressed variable that holds its flags, dimensions and name.
MAX_VARIABLE_HEADER_BYTES = 4096
MATRIX, COMPRESSED = 14, 15
# Dtype by the number of a storage type, and by the number of a class of arrays.
STORAGE_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASS_DTYPES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
CLASS_NAMES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix", 16: "a function"}
LOGICAL_FLAG, COMPLEX_FLAG = 0x0200, 0x0800
# Containers of version 7.3 for the content of cell arrays and objects.
INTERNAL_GROUPS = ("#refs#", "#subsystem#")
EXPECTED_ARRAY = "expected an array of numbers: save the values again as one, for example with cat(4, images{:})"


@dataclass(frozen=True)
class _Variable:
    """One variable of a file of version 5, without its values.

    Attributes
    ----------
    start
        Position in the file of the variable's element, after the tag.
    n_bytes
        Length of the element.
    is_compressed
        Whether the element is compressed by zlib.
    shape
        Shape of the array, in MATLAB's order.
    dtype, stored_dtype
        Dtype of the array, and the one of its values in the file, which may be smaller.
    offset
        Position of the values in the unpacked element.
    """

    start: int
    n_bytes: int
    is_compressed: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_dtype: np.dtype[Any]
    offset: int


class ConvertedArray:
    """An array whose values are converted to another dtype when they are read.

    Parameters
    ----------
    values
        The stored values.
    dtype
        Dtype of the values that are read.
    """

    def __init__(self, values: NDArray[Any], dtype: np.dtype[Any]) -> None:
        self.values, self.dtype, self.shape, self.ndim = values, dtype, values.shape, values.ndim

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return np.asarray(self.values[index]).astype(self.dtype)


class ReversedDataset:
    """An HDF5 dataset with its axes in reverse order: MATLAB stores the last axis first.

    Parameters
    ----------
    dataset
        The dataset as HDF5 stores it.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.dtype, self.id, self.file = dataset, dataset.dtype, dataset.id, dataset.file
        self.shape, self.ndim = tuple(dataset.shape[::-1]), dataset.ndim
        self.chunks, self.external, self.is_virtual = dataset.chunks, dataset.external, dataset.is_virtual

    def __len__(self) -> int:
        return int(self.shape[0])

    def virtual_sources(self) -> Any:
        """Return the sources of a virtual dataset."""
        return self.dataset.virtual_sources()

    def __getitem__(self, index: Any) -> NDArray[Any]:
        indices = index if isinstance(index, tuple) else (index,)
        if Ellipsis not in indices:
            indices = (*indices, Ellipsis)
        position = indices.index(Ellipsis)
        trailing_indices = indices[position + 1 :]
        full_slices = (slice(None),) * (self.ndim - position - len(trailing_indices))
        values = np.asarray(self.dataset[(*indices[:position], *full_slices, *trailing_indices)[::-1]])
        return values.transpose()


class MatlabDatasets(Mapping[str, Any]):
    """The arrays of a MATLAB file by name.

    Parameters
    ----------
    path
        Path of the file.

    Attributes
    ----------
    skipped
        Reason by name of the variables that are not arrays of numbers.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.skipped: dict[str, str] = {}
        with Path(path).open("rb") as stream:
            head = stream.read(HEADER_BYTES)
            self._is_hdf5 = head.startswith(b"MATLAB 7.3")
            self._datasets = Hdf5Datasets(path) if self._is_hdf5 else None
            self._variables = {} if self._is_hdf5 else dict(self._list_variables(stream, head))
        self._names = self._list_hdf5_names(self._datasets) if self._datasets is not None else list(self._variables)
        self._open: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._open:
            if self._datasets is not None:
                if name not in self._names:
                    raise KeyError(name)
                return ReversedDataset(self._datasets[name])
            variable = self._variables[name]
            try:
                self._open[name] = self._map(variable)
            except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
                reason = str(error) or type(error).__name__
                raise ReadError(
                    f"{self.path} cannot be read as arrays, it may be truncated: variable {name!r}: {reason}"
                ) from error
        return self._open[name]

    def _list_hdf5_names(self, datasets: Hdf5Datasets) -> list[str]:
        names = []
        for name in datasets:
            dataset = datasets[name]
            kind = dataset.attrs.get("MATLAB_class", b"").decode(errors="replace")
            if name.startswith(INTERNAL_GROUPS):
                continue
            if kind == "char" or dataset.dtype.kind not in "biuf":
                self.skipped[name] = _explain_no_array(kind or "no array of numbers")
            else:
                names.append(name)
        for name, group in datasets.file.items():
            kind = group.attrs.get("MATLAB_class", b"") if name not in INTERNAL_GROUPS else b""
            if not hasattr(group, "shape") and kind:
                self.skipped[name] = _explain_no_array(kind.decode(errors="replace"))
        return names

    def _list_variables(self, stream: IO[bytes], head: bytes) -> Iterator[tuple[str, _Variable]]:
        """Yield the arrays of numbers of a file of version 5; the others are added to `skipped`."""
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if order is None:
            raise ValueError("it is not a MATLAB file of version 5 or 7.3")
        n_file_bytes = stream.seek(0, io.SEEK_END)
        position = HEADER_BYTES
        while position + 8 <= n_file_bytes:
            stream.seek(position)
            kind, n_bytes = struct.unpack(f"{order}II", stream.read(8))
            start = position + 8
            if kind not in {MATRIX, COMPRESSED} or start + n_bytes > n_file_bytes:
                raise ValueError(f"it has no complete variable at byte {position}")
            header, tag_bytes = stream.read(min(n_bytes, MAX_VARIABLE_HEADER_BYTES)), 0
            if kind == COMPRESSED:
                header, tag_bytes = zlib.decompressobj().decompress(header, MAX_VARIABLE_HEADER_BYTES), 8
            name, fields = _read_variable_header(header[tag_bytes:], order)
            if isinstance(fields, str):
                if name:
                    self.skipped[name] = fields
            else:
                shape, dtype, stored_dtype, offset = fields
                yield name, _Variable(start, n_bytes, bool(tag_bytes), shape, dtype, stored_dtype, offset + tag_bytes)
            position = start + n_bytes

    def _map(self, variable: _Variable) -> Any:
        if variable.is_compressed:
            with unpack(_unpack_chunks(self.path, variable), self.path) as stream:
                values = _map_values(stream, variable, 0)
        else:
            with Path(self.path).open("rb") as stream:
                values = _map_values(stream, variable, variable.start)
        return values if values.dtype == variable.dtype else ConvertedArray(values, variable.dtype)


def _explain_no_array(kind: str) -> str:
    names = {"cell": "a cell array", "char": "text", "struct": "a struct"}
    return f"is {names.get(kind, kind)} of MATLAB, {EXPECTED_ARRAY}"


def _read_variable_header(
    header: bytes, order: str
) -> tuple[str, tuple[tuple[int, ...], np.dtype[Any], np.dtype[Any], int] | str]:
    """Return the name of a variable, and its shape, dtypes and the offset of its values, or why it is no array."""
    _, flags, position = _read_element(header, 0, order)
    number = int.from_bytes(flags[:4], "little" if order == "<" else "big")
    class_number = number & 0xFF
    # Objects have no dimensions before their name.
    if class_number not in CLASS_DTYPES and class_number not in CLASS_NAMES:
        return "", f"is an object of MATLAB's class {class_number}"
    _, dimensions, position = _read_element(header, position, order)
    _, name_bytes, position = _read_element(header, position, order)
    name = name_bytes.decode("ascii", "backslashreplace")
    if class_number not in CLASS_DTYPES:
        return name, _explain_no_array(CLASS_NAMES[class_number])
    if number & COMPLEX_FLAG:
        return name, "holds complex numbers, expected real ones"
    shape = tuple(int(n) for n in np.frombuffer(dimensions, f"{order}i4"))
    storage, n_bytes, offset = _read_tag(header, position, order)
    if storage not in STORAGE_DTYPES:
        raise ValueError(f"variable {name!r} has the unknown storage type {storage}")
    stored_dtype = np.dtype(order + STORAGE_DTYPES[storage])
    if any(n < 0 for n in shape) or math.prod(shape) * stored_dtype.itemsize != n_bytes:
        raise ValueError(f"variable {name!r} has shape {shape} of {stored_dtype} and {n_bytes} bytes")
    dtype = np.dtype(np.bool_) if number & LOGICAL_FLAG else np.dtype(CLASS_DTYPES[class_number])
    return name, (shape, dtype, stored_dtype, offset)


def _read_tag(content: bytes, position: int, order: str) -> tuple[int, int, int]:
    """Return storage type, length in bytes and position of the data of an element."""
    first_word, second_word = struct.unpack_from(f"{order}II", content, position)
    if first_word >> 16:
        # Data of up to four bytes are stored in the tag itself.
        return first_word & 0xFFFF, first_word >> 16, position + 4
    return first_word, second_word, position + 8


def _read_element(content: bytes, position: int, order: str) -> tuple[int, bytes, int]:
    """Return the storage type and the data of an element, and the position of the next one."""
    storage, n_bytes, start = _read_tag(content, position, order)
    if start + n_bytes > len(content):
        raise ValueError("a variable's header is longer than expected")
    end = start + n_bytes
    return storage, content[start:end], position + 8 if start == position + 4 else end + -end % 8


def _unpack_chunks(path: str, variable: _Variable) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    n_remaining = variable.n_bytes
    with Path(path).open("rb") as stream:
        stream.seek(variable.start)
        for packed_chunk in read_chunks(stream):
            chunk, n_remaining, unpacked_chunk = packed_chunk[:n_remaining], n_remaining - len(packed_chunk), b""
            # A full chunk of output can leave more output without more input.
            while chunk or len(unpacked_chunk) == CHUNK_BYTES:
                unpacked_chunk = unpacker.decompress(chunk, CHUNK_BYTES)
                yield unpacked_chunk
                chunk = unpacker.unconsumed_tail
            if n_remaining <= 0 or unpacker.eof:
                break
    if not unpacker.eof:
        raise EOFError("a variable ends before the end of its zlib stream")


def _map_values(stream: IO[bytes], variable: _Variable, start: int) -> NDArray[Any]:
    n_file_bytes = stream.seek(0, io.SEEK_END)
    offset = start + variable.offset
    n_bytes = math.prod(variable.shape) * variable.stored_dtype.itemsize
    if offset + n_bytes > n_file_bytes:
        raise ValueError(f"shape {variable.shape} needs {n_bytes} bytes, found {max(0, n_file_bytes - offset)}")
    if not n_bytes:
        return np.zeros(variable.shape, variable.stored_dtype)
    return np.memmap(stream, variable.stored_dtype, "r", offset, variable.shape, "F")
