"""The content of one image, the bytes of a file or one row of an array: its digest, its limits, local files."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from featx.errors import ReadError

Content = bytes | NDArray[Any]
State = tuple[int, int]  # size in bytes, mtime in ns: while a file has the same, it has the same content

REFUSED = "the object store refuses"
MOST_BYTES = 1 << 30  # of one image file, packed or unpacked


def digest(content: Content) -> str:
    """32 hex digits of an image: of a file's bytes, or of an array's dtype, shape and values."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()[:16].hex()
    values = np.ascontiguousarray(content.astype(content.dtype.newbyteorder("<"), copy=False))
    found = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    is_plain = values.dtype.kind in "biuf"
    found.update(values.reshape(-1).view(np.uint8).data if is_plain else values.tobytes())
    return found.digest()[:16].hex()


def read_quoted_file(rest: str) -> bytes:
    """Return the bytes of a file whose percent-encoded path is `rest`; errors are those of `sources.read`."""
    return read_file(os.fsdecode(unquote_to_bytes(rest)))


def read_file(path: str) -> bytes:
    """Return a file's bytes; errors are those of `sources.read`."""
    try:
        found = Path(path).stat()
        if stat.S_ISREG(found.st_mode):
            check_size(found.st_size)
            return Path(path).read_bytes()
    except (FileNotFoundError, ReadError):
        raise
    except (OSError, ValueError) as error:  # a NUL byte in a name is a ValueError
        raise ReadError(getattr(error, "strerror", None) or str(error)) from error
    raise ReadError("is not a regular file")  # a pipe would never end


def check_size(n_bytes: int) -> None:
    """Refuse what is empty, or too large to be one image.

    Raises
    ------
    ReadError
        it is.
    """
    if not n_bytes:
        raise ReadError("is empty")
    if reason := too_large(n_bytes):
        raise ReadError(reason)


def too_large(n_bytes: int) -> str:
    """Say why a file or a row of an array is not read as one image; empty where its size allows it."""
    return f"has {n_bytes} bytes, expected at most {MOST_BYTES} for one image" if n_bytes > MOST_BYTES else ""


def file_uri(path: str) -> str:
    """Return the uri of a local file, its absolute path where that is Unicode."""
    return path if _is_text(path) else f"file:{quote_from_bytes(os.fsencode(path))}"


def text_of(name: str) -> str:
    r"""Return a file name as Unicode: bytes that are none become ``\xNN``.

    Examples
    --------
    >>> text_of("caf\udce9.png")
    'caf\\xe9.png'
    """
    return name if _is_text(name) else os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
