"""What an image is: 128 bits of SHA-256 over its file's bytes."""

import hashlib
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from featx.errors import ReadError


@dataclass(frozen=True)
class Identity:
    """What was learnt of one file by reading its bytes.

    Attributes
    ----------
    digest
        32 hex digits; empty where the file could not be read.
    outcome
        ``missing`` or ``unreadable`` then, and why; both empty otherwise.
    """

    digest: str = ""
    outcome: str = ""
    reason: str = ""


def digest(data: bytes) -> str:
    """32 hex digits of an image's bytes."""
    return hashlib.sha256(data).digest()[:16].hex()


def read_bytes(uri: str) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    FileNotFoundError
        there is none.
    ReadError
        it is no regular file (a pipe would never end), is empty, or may not be read.
    """
    try:
        path = Path(uri)
        data = path.read_bytes() if stat.S_ISREG(path.stat().st_mode) else None
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # a NUL byte in a name is a ValueError
        raise ReadError(getattr(error, "strerror", None) or str(error)) from error
    if data is None:
        raise ReadError("is not a regular file")
    if not data:
        raise ReadError("is empty")
    return data


def identify(uri: str) -> Identity:
    """Read one file and say what it is, or why it cannot be read."""
    try:
        return Identity(digest(read_bytes(uri)))
    except FileNotFoundError:
        if Path(uri).is_symlink():
            return Identity(outcome="unreadable", reason="is a link to nothing")
        return Identity(outcome="missing", reason="there is no such file")
    except ReadError as error:
        return Identity(outcome="unreadable", reason=str(error))


def identify_all(uris: Sequence[str]) -> Iterator[Identity]:
    """Yield the identity of each file, in order; files are read by a few threads."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield from pool.map(identify, uris, chunksize=64)
