"""Arrays in numpy's npy format; the header is compared with the size of the file before memory is allocated."""

import math
import re
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

# numpy warns of these names of types, which no file that it wrote contains. Filters of warnings are not used, because
# several threads read files.
DEPRECATED_TYPE = re.compile(rb"""['"][<>|=]?a\d*['"]""")
# numpy refuses longer headers.
MAX_HEADER_BYTES = 10_000


def map_npy(stream: IO[bytes], n_bytes: int) -> NDArray[Any]:
    """Return the array of an npy file, mapped into memory: values are read from the disk when they are used.

    Parameters
    ----------
    stream
        Open file at its beginning; it may have no name.
    n_bytes
        Size of the file.

    Raises
    ------
    ValueError
        it is not an npy file, or its shape does not fit its size.
    """
    shape, fortran_order, dtype = _read_header(stream)
    offset = stream.tell()
    _check_header(shape, dtype, n_bytes - offset)
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(stream, dtype, "r", offset, shape, "F" if fortran_order else "C")


def read_npy(stream: IO[bytes], n_bytes: int) -> NDArray[Any]:
    """Return the array of an npy file, read into memory.

    Parameters
    ----------
    stream
        Open file at its beginning.
    n_bytes
        Size of the file.

    Raises
    ------
    ValueError
        it is not an npy file, or its shape does not fit its size.
    """
    shape, fortran_order, dtype = _read_header(stream)
    _check_header(shape, dtype, n_bytes - stream.tell())
    return np.frombuffer(stream.read(), dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(stream)
    start = stream.tell()
    length = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
    if DEPRECATED_TYPE.search(stream.read(min(length, MAX_HEADER_BYTES))):
        raise ValueError("its header names a deprecated type")
    stream.seek(start)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it has version {version} of the npy format, expected (1, 0) or (2, 0)")
    try:
        shape, fortran_order, dtype = readers[version](stream)
    # numpy parses the header as Python.
    except (SyntaxError, TokenError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from error
    return shape, fortran_order, dtype


def _check_header(shape: tuple[int, ...], dtype: np.dtype[Any], n_bytes: int) -> None:
    if dtype.hasobject:
        raise ValueError("it holds Python objects, expected arrays of numbers; save it again without them")
    if any(n < 0 for n in shape):
        raise ValueError(f"it has shape {shape}, expected no negative lengths")
    if (expected_bytes := math.prod(shape) * dtype.itemsize) != n_bytes:
        raise ValueError(f"shape {shape} of {dtype} needs {expected_bytes} bytes, found {n_bytes}")
