"""Open zip and tar files, from a path or a stream, whose members are read one by one."""

import io
import lzma
import tarfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import IO, Protocol

from featx.errors import DataError, ReadError
from featx.images.containers.zip_directory import EMPTY_ZIP, find_zip_problem, read_directory
from featx.images.contents import check_size
from featx.images.names import file_suffix
from featx.images.unpacking import UNPACKERS, read_chunks, unpack

ARCHIVE_ERRORS = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile,
                  tarfile.TarError, zlib.error, lzma.LZMAError, MemoryError, OverflowError)  # fmt: skip
# Flag of a member of a zip whose name is UTF-8; other names are decoded as cp437.
UTF8_FLAG = 0x800
# Number of members of one tar; each takes about 1 KiB of memory.
MAX_TAR_MEMBERS = 10_000_000


class Archive(Protocol):
    """The interface of an open archive; several threads may read its members."""

    def members(self) -> dict[str, str]:
        """Return the reason why each member but folders cannot be read, or ``""``, by the member's name."""

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises
        ------
        KeyError
            there is no such member.
        """

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes in chunks, whatever its size; errors are those of `read`."""


class ZipArchive:
    """A zip file.

    Parameters
    ----------
    path
        Path of the file.
    stream
        Content of the file; None opens the path.
    """

    def __init__(self, path: str, stream: IO[bytes] | None = None) -> None:
        self._stream: IO[bytes] = stream or Path(path).open("rb")  # noqa: SIM115 (a finalizer closes it)
        weakref.finalize(self, self._stream.close)
        self._directory = read_directory(self._stream)
        self._file = zipfile.ZipFile(self._stream if self._directory is None else io.BytesIO(EMPTY_ZIP))
        if self._directory is not None:
            self._file.fp = self._stream
        # Empty if the directory was read without `zipfile`.
        self._infos = {_decoded_name(info): info for info in self._file.infolist()}

    def members(self) -> dict[str, str]:
        """Return why each member cannot be read, by its name: encryption, or an unknown compression."""
        if self._directory is not None:
            problems = self._directory.problems
        else:
            problems = {
                name: find_zip_problem(info.flag_bits, info.compress_type) for name, info in self._infos.items()
            }
        # Programs of Windows write folders with a backslash.
        return {name: problem for name, problem in problems.items() if not name.endswith(("/", "\\"))}

    def _info(self, name: str) -> zipfile.ZipInfo:
        return self._infos[name] if self._directory is None else self._directory.info(name)

    def read(self, name: str) -> bytes:
        """Return a member's bytes, once its size has been checked."""
        info = self._info(name)
        check_size(info.file_size)
        return self._file.read(info)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes in chunks."""
        with self._file.open(self._info(name)) as stream:
            yield from read_chunks(stream)


def _decoded_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a member; some programs write UTF-8 without the flag that says so.

    Examples
    --------
    >>> _decoded_name(zipfile.ZipInfo("caf├⌐")), _decoded_name(zipfile.ZipInfo("café"))
    ('café', 'café')
    """
    if info.flag_bits & UTF8_FLAG:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


class TarArchive:
    """A tar file, compressed or not; a compressed one is unpacked once, into a temporary file without a name.

    Parameters
    ----------
    path
        Path of the file; its suffix states the compression.
    stream
        Content of the file; None opens the path.
    """

    def __init__(self, path: str, stream: IO[bytes] | None = None) -> None:
        chunks = UNPACKERS.get(file_suffix(path))
        packed_source = stream or path
        self._stream: IO[bytes] = unpack(chunks(packed_source), path) if chunks else stream or Path(path).open("rb")  # noqa: SIM115
        weakref.finalize(self, self._stream.close)
        self._file = tarfile.open(fileobj=self._stream, mode="r:")  # noqa: SIM115 (finalizers close both)
        weakref.finalize(self, self._file.close)
        self._infos = {info.name: info for info in self._members()}
        self._check_end()
        self._lock = Lock()

    def _members(self) -> Iterator[tarfile.TarInfo]:
        for number, info in enumerate(self._file, start=1):
            if number > MAX_TAR_MEMBERS:
                raise tarfile.ReadError(f"it has more than {MAX_TAR_MEMBERS} members")
            yield info

    def _check_end(self) -> None:
        """Raise if no end marker follows the last member: tarfile ends silently at truncated or damaged bytes."""
        self._stream.seek(self._file.offset)
        if self._stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"it has no end marker at byte {self._file.offset}")

    def members(self) -> dict[str, str]:
        """Return ``is not a regular file`` for devices and pipes, ``""`` for other members, by their names."""
        files = [info for info in self._file.getmembers() if not info.isdir()]
        return {
            info.name: "" if info.isreg() or info.islnk() or info.issym() else "is not a regular file" for info in files
        }

    def read(self, name: str) -> bytes:
        """Return a member's bytes, once its size has been checked."""
        with self._lock:
            member = self._extract(name)
            # The target of a link has a size of its own.
            check_size(member.seek(0, io.SEEK_END))
            member.seek(0)
            return member.read()

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a member's bytes in chunks."""
        with self._lock:
            yield from read_chunks(self._extract(name))

    def _extract(self, name: str) -> IO[bytes]:
        info = self._infos[name]
        try:
            member = self._file.extractfile(info)
        except KeyError as error:
            raise ReadError(f"is a link to {info.linkname!r}, which is not in the archive") from error
        except RecursionError as error:
            raise ReadError("is a link that leads to itself") from error
        if member is None:
            raise ReadError(f"is a link to {info.linkname!r}, a folder" if info.issym() else "is not a regular file")
        return member


def make_archive(name: str, path: str, stream: IO[bytes] | None = None) -> Archive:
    """Return an open archive.

    Parameters
    ----------
    name
        Name of the archive, for errors.
    path
        Path of the archive; its suffix states the format.
    stream
        Content of the archive; None opens the path.

    Raises
    ------
    DataError
        it is not an archive, or it is truncated.
    """
    try:
        return ZipArchive(path, stream) if path.lower().endswith(".zip") else TarArchive(path, stream)
    except DataError:
        raise
    except ARCHIVE_ERRORS as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0].rstrip(":")
        raise DataError(f"{name} cannot be read as an archive, it may be truncated: {reason}") from error
