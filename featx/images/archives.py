"""Zip and tar archives, read without unpacking."""

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
from featx.images.contents import State, check_size, text_of
from featx.images.names import is_archive_name, is_image_name, suffix_of
from featx.images.trees import Entry, FolderTree, NamedEntries
from featx.images.unpacking import UNPACKERS, unpack

BROKEN = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile, tarfile.TarError,
          zlib.error, lzma.LZMAError, MemoryError, OverflowError)  # fmt: skip
# Number of members of one tar; each takes about 1 KiB of memory.
MAX_MEMBERS = 10_000_000


class Archive(Protocol):
    """An open archive; its members may be read by several threads."""

    def members(self) -> Iterator[tuple[str, str]]:
        """Yield each member's name, and why it cannot be read where that is known; folders are left out."""

    def read(self, name: str) -> bytes:
        """Return a member's bytes; KeyError where there is none."""


class ZipArchive:
    """A zip file."""

    def __init__(self, path: str) -> None:
        self._file = zipfile.ZipFile(path)

    def members(self) -> Iterator[tuple[str, str]]:
        """See `Archive`."""
        for info in self._file.infolist():
            if not info.is_dir():
                yield info.filename, "is encrypted" if info.flag_bits & 1 else ""

    def read(self, name: str) -> bytes:
        """See `Archive`."""
        check_size(self._file.getinfo(name).file_size)
        return self._file.read(name)


def _seekable(path: str) -> IO[bytes]:
    """Return a tar as a stream to jump about in; a compressed one is unpacked once, into a file without a name."""
    chunks = UNPACKERS.get(suffix_of(path))
    return Path(path).open("rb") if chunks is None else unpack(chunks(path), path)


class TarArchive:
    """A tar file, compressed or not."""

    def __init__(self, path: str) -> None:
        self._stream = _seekable(path)
        weakref.finalize(self, self._stream.close)
        self._file = tarfile.open(fileobj=self._stream, mode="r:")  # noqa: SIM115 (as above)
        weakref.finalize(self, self._file.close)
        self._infos = {info.name: info for info in self._members()}
        self._check_end()
        self._lock = Lock()

    def _members(self) -> Iterator[tarfile.TarInfo]:
        for number, info in enumerate(self._file, start=1):
            if number > MAX_MEMBERS:
                raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} members")
            yield info

    def _check_end(self) -> None:
        """Raise where no mark follows the last member: what is cut off or damaged there is the end to tarfile."""
        self._stream.seek(self._file.offset)
        if self._stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"no mark of its end stands at byte {self._file.offset}")

    def members(self) -> Iterator[tuple[str, str]]:
        """See `Archive`."""
        for info in self._file.getmembers():
            if not info.isdir():
                yield info.name, "" if info.isreg() or info.islnk() or info.issym() else "is not a regular file"

    def read(self, name: str) -> bytes:
        """See `Archive`."""
        with self._lock:
            member = self._file.extractfile(self._infos[name])
            if member is None:
                raise ReadError("is not a regular file")
            # What a link leads to has a size of its own.
            check_size(member.seek(0, io.SEEK_END))
            member.seek(0)
            return member.read()


@lru_cache(maxsize=8)
def _opened(path: str, state: State) -> Archive:
    try:
        return ZipArchive(path) if path.lower().endswith(".zip") else TarArchive(path)
    except DataError:
        raise
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0].rstrip(":")
        raise DataError(f"{path} cannot be read as an archive, it may be cut off: {reason}") from error


def opened(path: str) -> tuple[Archive, State]:
    """Return an open archive and its state.

    Raises
    ------
    FileNotFoundError
        there is none.
    DataError
        it is none, or is cut off.
    """
    found = file_state(path)
    if found is None:
        raise FileNotFoundError(path)
    return _opened(path, found[1:]), found[1:]


def read_member(rest: str) -> bytes:
    """Return the bytes of ``/path/to/archive//member``; errors are those of `featx.images.sources.read`."""
    path, _, name = rest.partition("//")
    try:
        content = opened(path)[0].read(name)
    except KeyError as error:
        raise FileNotFoundError(name) from error
    except (FileNotFoundError, ReadError):
        raise
    except DataError as error:
        raise ReadError(str(error)) from error
    except BROKEN as error:
        raise ReadError(f"is damaged in its archive: {str(error) or type(error).__name__}") from error
    check_size(len(content))
    return content


@dataclass(frozen=True)
class ArchiveTree(NamedEntries):
    """The members of an archive, or those below one of its folders."""

    archive: str
    inside: str = ""
    nothing: ClassVar[str] = "there is no such file in the archive"

    @property
    def place(self) -> str:
        """See `featx.images.trees.Tree`."""
        return f"{self.archive}!{self.inside}" if self.inside else self.archive

    @property
    def prefix(self) -> str:
        """See `featx.images.trees.Tree`."""
        inside = f"{self.inside.strip('/')}/" if self.inside else ""
        return f"{text_of(Path(self.archive).name)}!{inside}"

    @cached_property
    def named(self) -> dict[str, Entry]:
        """See `featx.images.trees.NamedEntries`."""
        path = os.path.abspath(self.archive)  # noqa: PTH100 (normalised: no '//' inside)
        if path != text_of(path):
            raise DataError(f"the path of {text_of(path)!r} is not Unicode; rename it")
        archive, state = opened(path)
        prefix = f"{self.inside.strip('/')}/" if self.inside else ""
        found: dict[str, Entry] = {}
        for member, trouble in archive.members():
            name = text_of(member).removeprefix("./").lstrip("/")
            if name.startswith(prefix):
                name = name[len(prefix) :]
                trouble = trouble or ("" if member == text_of(member) else "has a name that is not Unicode")
                outcome = "unreadable" if trouble else ""
                found[name] = Entry(name, f"member:{path}//{text_of(member)}", state, outcome, trouble)
        return found


@dataclass(frozen=True)
class ShardsTree(NamedEntries):
    """A folder of archives, as one tree: a member's name begins with its archive's, ``train-000.tar!0001.jpg``."""

    place: str
    prefix: str = ""
    nothing: ClassVar[str] = "there is no such file in the archives"

    def archives(self) -> list[str]:
        """Return the names of the archives that lie in the folder."""
        return sorted(
            child.name for child in Path(self.place).iterdir() if is_archive_name(child.name) and child.is_file()
        )

    def is_all(self) -> bool:
        """Whether the folder holds archives, and no images of its own."""
        return bool(self.archives()) and not any(is_image_name(one.name) for one in FolderTree(self.place).entries())

    @cached_property
    def named(self) -> dict[str, Entry]:
        """See `featx.images.trees.NamedEntries`."""
        archives = self.archives()
        found = {entry.name: entry for entry in FolderTree(self.place).entries() if entry.name not in archives}
        for archive in archives:
            tree = ArchiveTree(str(Path(self.place, archive)))
            named = [replace(entry, name=tree.prefix + entry.name) for entry in tree.entries()]
            found |= {entry.name: entry for entry in named}
        return found
