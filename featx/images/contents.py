"""Digests, size limits and local files of image contents: the bytes of a file, or one row of an array."""

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
# Size in bytes and time of the last change in ns: a file with an unchanged state has unchanged content.
FileState = tuple[int, int]

# Beginnings of the reasons which say that the content of a file is damaged, or no image. Files with other reasons stay
# where they are, among them those that need a setting, a package, a permission or more memory.
EMPTY = "is empty"
UNKNOWN_FORMAT = "is not an image of a known format"
UNDECODABLE = "cannot be decoded"
DAMAGED_DICOM = "cannot be read as DICOM"
DAMAGE_REASONS = (EMPTY, UNKNOWN_FORMAT, UNDECODABLE, DAMAGED_DICOM)
# Size of one image file, packed or unpacked, and of one row of an array.
MAX_IMAGE_BYTES = 1 << 30


def digest(content: Content) -> str:
    """Return 32 hex digits that identify an image: from a file's bytes, or an array's dtype, shape and values."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()[:16].hex()
    values = np.ascontiguousarray(content.astype(content.dtype.newbyteorder("<"), copy=False))
    sha256 = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    is_numeric = values.dtype.kind in "biuf"
    sha256.update(values.reshape(-1).view(np.uint8).data if is_numeric else values.tobytes())
    return sha256.digest()[:16].hex()


def read_quoted_file(quoted_path: str) -> bytes:
    """Return the bytes of a file by its percent-encoded path; errors as in `featx.images.sources.read_content`."""
    return read_file(os.fsdecode(unquote_to_bytes(quoted_path)))


def read_file(path: str) -> bytes:
    """Return a file's bytes; errors are those of `featx.images.sources.read_content`."""
    try:
        file_stat = Path(path).stat()
        if stat.S_ISREG(file_stat.st_mode):
            check_size(file_stat.st_size)
            return Path(path).read_bytes()
    except (FileNotFoundError, ReadError):
        raise
    # A NUL byte in a name raises a ValueError.
    except (OSError, ValueError) as error:
        raise ReadError(getattr(error, "strerror", None) or str(error)) from error
    # Reading a pipe might never end.
    raise ReadError("is not a regular file")


def check_size(n_bytes: int) -> None:
    """Check that a content is not empty, and small enough to be one image.

    Raises
    ------
    ReadError
        it is empty or too large.
    """
    if not n_bytes:
        raise ReadError(EMPTY)
    if reason := oversize_reason(n_bytes):
        raise ReadError(reason)


def oversize_reason(n_bytes: int) -> str:
    """Return the reason why a file or a row is too large to be read as one image; empty if it is not too large."""
    if n_bytes <= MAX_IMAGE_BYTES:
        return ""
    return f"has {n_bytes} bytes, expected at most {MAX_IMAGE_BYTES} for one image"


def file_uri(path: str) -> str:
    """Return the uri of a local file: its absolute path, percent-encoded after ``file:`` if it is not Unicode."""
    return path if _is_unicode(path) else f"file:{quote_from_bytes(os.fsencode(path))}"


def unicode_name(name: str) -> str:
    r"""Return a file name as Unicode: bytes that are not become ``\xNN``.

    Examples
    --------
    >>> unicode_name("caf\udce9.png")
    'caf\\xe9.png'
    """
    if _is_unicode(name):
        return name
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    # No file has a name with other halves of surrogate pairs.
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()


def _is_unicode(name: str) -> bool:
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
