"""Zip and tar archives, read without unpacking them."""

import io
import lzma
import os
import tarfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, ClassVar, Protocol

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.contents import FileState, check_size, unicode_name
from featx.images.names import file_suffix, is_archive_name, is_image_name
from featx.images.trees import Entry, FolderTree, ListedTree
from featx.images.unpacking import UNPACKERS, unpack

ARCHIVE_ERRORS = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile,
                  tarfile.TarError, zlib.error, lzma.LZMAError, MemoryError, OverflowError)  # fmt: skip
# Number of members of one tar; each takes about 1 KiB of memory.
MAX_TAR_MEMBERS = 10_000_000


class Archive(Protocol):
    """The interface of an open archive; several threads may read its members."""

    def members(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each member but folders, and the reason why it cannot be read, or ``""``."""

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises
        ------
        KeyError
            there is no such member.
        """


class ZipArchive:
    """A zip file."""

    def __init__(self, path: str) -> None:
        self._file = zipfile.ZipFile(path)

    def members(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each member, and ``is encrypted`` if it is."""
        for info in self._file.infolist():
            if not info.is_dir():
                yield info.filename, "is encrypted" if info.flag_bits & 1 else ""

    def read(self, name: str) -> bytes:
        """Return a member's bytes, once its size has been checked."""
        check_size(self._file.getinfo(name).file_size)
        return self._file.read(name)


class TarArchive:
    """A tar file, compressed or not; a compressed one is unpacked once, into a temporary file without a name."""

    def __init__(self, path: str) -> None:
        chunks = UNPACKERS.get(file_suffix(path))
        self._stream: IO[bytes] = unpack(chunks(path), path) if chunks else Path(path).open("rb")  # noqa: SIM115
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

    def members(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each member, and ``is not a regular file`` for devices and pipes."""
        for info in self._file.getmembers():
            if not info.isdir():
                yield info.name, "" if info.isreg() or info.islnk() or info.issym() else "is not a regular file"

    def read(self, name: str) -> bytes:
        """Return a member's bytes, once its size has been checked."""
        with self._lock:
            member = self._file.extractfile(self._infos[name])
            if member is None:
                raise ReadError("is not a regular file")
            # The target of a link has a size of its own.
            check_size(member.seek(0, io.SEEK_END))
            member.seek(0)
            return member.read()


@lru_cache(maxsize=8)
def _open_archive(path: str, state: FileState) -> Archive:
    try:
        return ZipArchive(path) if path.lower().endswith(".zip") else TarArchive(path)
    except DataError:
        raise
    except ARCHIVE_ERRORS as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0].rstrip(":")
        raise DataError(f"{path} cannot be read as an archive, it may be truncated: {reason}") from error


def open_archive(path: str) -> tuple[Archive, FileState]:
    """Return an open archive and the state of its file.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    DataError
        it is not an archive, or it is truncated.
    """
    state = file_state(path)
    if state is None:
        raise FileNotFoundError(path)
    return _open_archive(path, state[1:]), state[1:]


def read_member(location: str) -> bytes:
    """Return the bytes of ``/path/to/archive//member``; errors are those of `featx.images.sources.read_content`."""
    path, _, name = location.partition("//")
    try:
        content = open_archive(path)[0].read(name)
    except KeyError as error:
        raise FileNotFoundError(name) from error
    except (FileNotFoundError, ReadError):
        raise
    except DataError as error:
        raise ReadError(str(error)) from error
    except ARCHIVE_ERRORS as error:
        raise ReadError(f"is damaged in its archive: {str(error) or type(error).__name__}") from error
    check_size(len(content))
    return content


@dataclass(frozen=True)
class ArchiveTree(ListedTree):
    """The members of an archive, or those below one of its folders.

    Attributes
    ----------
    archive
        Path of the archive.
    inside
        Folder inside the archive; empty for all members.
    """

    archive: str
    inside: str = ""
    missing_reason: ClassVar[str] = "there is no such file in the archive"

    @property
    def place(self) -> str:
        """The archive's path, followed by ``!`` and the folder inside it if one is chosen."""
        return f"{self.archive}!{self.inside}" if self.inside else self.archive

    @property
    def prefix(self) -> str:
        """The archive's name, ``!`` and the folder inside it; ids begin with them."""
        return f"{unicode_name(Path(self.archive).name)}!{self._inside_prefix}"

    @property
    def _inside_prefix(self) -> str:
        return f"{self.inside.strip('/')}/" if self.inside else ""

    @cached_property
    def entries_by_name(self) -> dict[str, Entry]:
        """The members by their names below the chosen folder."""
        path = os.path.abspath(self.archive)  # noqa: PTH100 (normalised: no '//' inside)
        if path != unicode_name(path):
            raise DataError(f"the path of {unicode_name(path)!r} is not Unicode; rename it")
        archive, state = open_archive(path)
        entries: dict[str, Entry] = {}
        for member, reason in archive.members():
            name = unicode_name(member).removeprefix("./").lstrip("/")
            if not name.startswith(self._inside_prefix):
                continue
            name = name[len(self._inside_prefix) :]
            if not reason and member != unicode_name(member):
                reason = "has a name that is not Unicode"
            outcome = "unreadable" if reason else ""
            if ".." in name.split("/"):
                outcome, reason = "ignored", "its path leads out of its folder in the archive"
            entries[name] = Entry(name, f"member:{path}//{unicode_name(member)}", state, outcome, reason)
        return entries


@dataclass(frozen=True)
class ShardsTree(ListedTree):
    """A folder of archives as one tree: the name of a member begins with its archive's, ``train-000.tar!0001.jpg``.

    Attributes
    ----------
    place
        Path of the folder.
    prefix
        Text that ids begin with; empty.
    """

    place: str
    prefix: str = ""
    missing_reason: ClassVar[str] = "there is no such file in the archives"

    def archives(self) -> list[str]:
        """Return the names of the archives in the folder."""
        return sorted(
            child.name for child in Path(self.place).iterdir() if is_archive_name(child.name) and child.is_file()
        )

    def has_only_archives(self) -> bool:
        """Whether the folder holds archives, and no images outside them."""
        return bool(self.archives()) and not any(is_image_name(file.name) for file in FolderTree(self.place).entries())

    @cached_property
    def entries_by_name(self) -> dict[str, Entry]:
        """The members of all archives, and the folder's other files."""
        archives = self.archives()
        entries = {entry.name: entry for entry in FolderTree(self.place).entries() if entry.name not in archives}
        for archive in archives:
            tree = ArchiveTree(str(Path(self.place, archive)))
            members = [replace(entry, name=tree.prefix + entry.name) for entry in tree.entries()]
            entries |= {entry.name: entry for entry in members}
        return entries
