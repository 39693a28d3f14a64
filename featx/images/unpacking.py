"""Decompression of files into temporary files without a name, limited by the free space of the disk."""

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO

from featx.errors import DataError

# Free space that must remain on the disk of temporary files.
MIN_FREE_BYTES = 1 << 30
# Memory of the dictionary of xz: ``xz -9`` needs 65 MiB.
MAX_XZ_BYTES = 256 << 20
CHUNK_BYTES = 1 << 20


def check_disk_space(n_bytes: int, name: str) -> None:
    """Check that the disk of temporary files has space for more bytes.

    Parameters
    ----------
    n_bytes
        Number of bytes to write.
    name
        Name of the file that is unpacked, for errors.

    Raises
    ------
    DataError
        less than `MIN_FREE_BYTES` would remain free.
    """
    folder = tempfile.gettempdir()
    if n_bytes > (available_bytes := max(0, shutil.disk_usage(folder).free - MIN_FREE_BYTES)):
        raise DataError(
            f"{name} takes {n_bytes} bytes or more once unpacked, {folder} has space for {available_bytes} "
            f"({MIN_FREE_BYTES} must remain free); set $TMPDIR to a folder on a larger disk"
        )


def unpack(chunks: Iterator[bytes], name: str) -> IO[bytes]:
    """Write chunks into a temporary file without a name, and return it at its beginning.

    Parameters
    ----------
    chunks
        The unpacked content.
    name
        Name of the file that is unpacked, for errors.

    Raises
    ------
    DataError
        the disk has too little free space.
    """
    unpacked_file = tempfile.TemporaryFile()  # noqa: SIM115 (stays open as long as it is in use)
    try:
        for chunk in chunks:
            check_disk_space(len(chunk), name)
            unpacked_file.write(chunk)
        unpacked_file.flush()
    except BaseException:
        unpacked_file.close()
        raise
    unpacked_file.seek(0)
    return unpacked_file


def read_chunks(stream: io.BufferedIOBase | IO[bytes]) -> Iterator[bytes]:
    """Yield the content of an open file in chunks of `CHUNK_BYTES`."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _gzip_chunks(file: str | IO[bytes]) -> Iterator[bytes]:
    with gzip.open(file, "rb") as stream:
        yield from read_chunks(stream)


def _bz2_chunks(file: str | IO[bytes]) -> Iterator[bytes]:
    with bz2.open(file, "rb") as stream:
        yield from read_chunks(stream)


def _xz_chunks(file: str | IO[bytes]) -> Iterator[bytes]:
    """Yield the content of an xz file, with a memory limit that `lzma.open` does not have."""
    with Path(file).open("rb") if isinstance(file, str) else nullcontext(file) as stream:
        packed_chunk = stream.read(CHUNK_BYTES)
        while packed_chunk:
            unpacker = lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES)
            while not unpacker.eof:
                if unpacker.needs_input and not packed_chunk:
                    packed_chunk = stream.read(CHUNK_BYTES)
                    if not packed_chunk:
                        raise EOFError("the file ends before the end of the xz stream")
                yield unpacker.decompress(packed_chunk, CHUNK_BYTES)
                packed_chunk = b""
            packed_chunk = (unpacker.unused_data or stream.read(CHUNK_BYTES)).lstrip(b"\0")


UNPACKERS: dict[str, Callable[[str | IO[bytes]], Iterator[bytes]]] = {
    ".gz": _gzip_chunks,
    ".tgz": _gzip_chunks,
    ".bz2": _bz2_chunks,
    ".tbz2": _bz2_chunks,
    ".xz": _xz_chunks,
    ".txz": _xz_chunks,
}
