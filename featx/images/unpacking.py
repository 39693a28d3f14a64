"""Files that are unpacked before they are read: into temporary files without a name, as far as the disk has room."""

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from featx.errors import DataError

# What stays free on the disk that holds temporary files.
RESERVE_BYTES = 1 << 30
# Memory that xz may take for its dictionary: ``xz -9`` needs 65 MiB.
MAX_XZ_BYTES = 256 << 20
CHUNK_BYTES = 1 << 20


def check_room(n_bytes: int, name: str) -> None:
    """Check that a file of a known size can be unpacked.

    Raises
    ------
    DataError
        less than `RESERVE_BYTES` would be left on the disk for temporary files.
    """
    folder = tempfile.gettempdir()
    if n_bytes > (room := max(0, shutil.disk_usage(folder).free - RESERVE_BYTES)):
        raise DataError(
            f"{name} takes {n_bytes} bytes or more once unpacked, {folder} has room for {room} ({RESERVE_BYTES} stay "
            "free); name a larger disk in $TMPDIR"
        )


def unpack(chunks: Iterator[bytes], name: str) -> IO[bytes]:
    """Write chunks into a temporary file without a name, and return it at its beginning.

    Parameters
    ----------
    name
        What is unpacked, for errors.

    Raises
    ------
    DataError
        it leaves too little room on the disk.
    """
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (stays open as long as it is in use)
    try:
        for chunk in chunks:
            check_room(len(chunk), name)
            unpacked.write(chunk)
        unpacked.flush()
    except BaseException:
        unpacked.close()
        raise
    unpacked.seek(0)
    return unpacked


def chunks_of(stream: io.BufferedIOBase | IO[bytes]) -> Iterator[bytes]:
    """Yield the content of an open file."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _gzip_chunks(path: str) -> Iterator[bytes]:
    with gzip.open(path, "rb") as stream:
        yield from chunks_of(stream)


def _bz2_chunks(path: str) -> Iterator[bytes]:
    with bz2.open(path, "rb") as stream:
        yield from chunks_of(stream)


def _xz_chunks(path: str) -> Iterator[bytes]:
    """Yield the content of an xz file, with a limit of memory that `lzma.open` does not have."""
    with Path(path).open("rb") as stream:
        packed = stream.read(CHUNK_BYTES)
        while packed:
            unpacker = lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES)
            while not unpacker.eof:
                if unpacker.needs_input and not packed:
                    packed = stream.read(CHUNK_BYTES)
                    if not packed:
                        raise EOFError("the file ends before the end of the xz stream")
                yield unpacker.decompress(packed, CHUNK_BYTES)
                packed = b""
            packed = (unpacker.unused_data or stream.read(CHUNK_BYTES)).lstrip(b"\0")


UNPACKERS: dict[str, Callable[[str], Iterator[bytes]]] = {
    ".gz": _gzip_chunks,
    ".tgz": _gzip_chunks,
    ".bz2": _bz2_chunks,
    ".tbz2": _bz2_chunks,
    ".xz": _xz_chunks,
    ".txz": _xz_chunks,
}
