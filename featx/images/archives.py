"""Zip and tar archives, read without unpacking them."""

import os
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.containers.archive_files import ARCHIVE_ERRORS, Archive, ZipArchive, make_archive
from featx.images.contents import FileState, check_size, unicode_name
from featx.images.names import is_archive_name, is_image_name
from featx.images.trees import Entry, ListedTree
from featx.images.unpacking import unpack
from featx.locations import ARCHIVE_SUFFIXES

# Marks of names, each after a line break, that are not yet relative paths with "/" below the folder of the tree.
UNUSUAL_MARKS = ("\\", "..", "\n/", "\n./")


@lru_cache(maxsize=8)
def _open_archive(path: str, state: FileState) -> Archive:
    return make_archive(path, path)


@lru_cache(maxsize=16)
def _open_nested(path: str, state: FileState, member: str) -> Archive:
    """Return the archive in a member of another archive, unpacked once into a temporary file without a name.

    Raises
    ------
    DataError
        the member cannot be read as an archive.
    """
    name = f"{path}!{member}"
    try:
        stream = unpack(open_archive(path)[0].chunks(member), name)
    except ReadError as error:
        raise DataError(f"{name} {error}") from error
    except DataError:
        raise
    except ARCHIVE_ERRORS as error:
        raise DataError(f"{name} is damaged in its archive: {str(error) or type(error).__name__}") from error
    try:
        archive = make_archive(name, member, stream)
    except DataError:
        stream.close()
        raise
    weakref.finalize(archive, stream.close)
    return archive


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
    return _read_member(lambda: open_archive(path)[0], name)


def read_nested_member(location: str) -> bytes:
    """Return the bytes of ``/path/to/archive//inner.zip//member``.

    Errors are those of `featx.images.sources.read_content`.
    """
    path, _, member_path = location.partition("//")
    inner, _, name = member_path.partition("//")
    return _read_member(lambda: _open_nested(path, open_archive(path)[1], inner), name)


def _read_member(open_file: Callable[[], Archive], name: str) -> bytes:
    try:
        content = open_file().read(name)
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

    @cached_property
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
        entries = _make_entries(archive, f"member:{path}//", state)
        _check_readable(self.archive, entries)
        if not any(is_image_name(name) for name in entries):
            entries = _expand_nested(path, entries)
        prefix = self._inside_prefix
        if not prefix:
            return entries
        member_entries = [(name[len(prefix) :], entry) for name, entry in entries.items() if name.startswith(prefix)]
        return {name: entry._replace(name=name) for name, entry in member_entries}


def _make_entries(archive: Archive, uri: str, state: FileState | None) -> dict[str, Entry]:
    """Return the members of an archive by name; `uri` is that of the archive, up to the names of its members."""
    members = archive.members()
    is_zip = isinstance(archive, ZipArchive)
    text = "\n" + "\n".join(members)
    # An archive may have millions of members, and most have plain names.
    if unicode_name(text) == text and not any(members.values()) and not any(mark in text for mark in UNUSUAL_MARKS):
        return {member: Entry(member, uri + member, state) for member in members}
    entries = [
        _make_entry(member, uri + unicode_name(member), state, reason, is_zip) for member, reason in members.items()
    ]
    return {entry.name: entry for entry in entries}


def _make_entry(member: str, uri: str, state: FileState | None, reason: str, is_zip: bool) -> Entry:
    """Return the entry of a member; its name is Unicode, relative, and has ``/`` between folders."""
    name = unicode_name(member)
    # A zip from Windows may have backslashes, which no zip should have.
    name = (name.replace("\\", "/") if is_zip else name).removeprefix("./").lstrip("/")
    if not reason and member != unicode_name(member):
        reason = "has a name that is not Unicode"
    if ".." in name and ".." in name.split("/"):
        return Entry(name, uri, state, "ignored", "its path leads out of its folder in the archive")
    return Entry(name, uri, state, "unreadable" if reason else "", reason)


def _check_readable(place: str, entries: Mapping[str, Entry]) -> None:
    """Check that the members of an archive are not all unreadable for one reason.

    Raises
    ------
    DataError
        they are.
    """
    reasons = {entry.reason for entry in entries.values() if entry.outcome != "ignored"}
    if len(reasons) == 1 and (reason := reasons.pop()):
        raise DataError(
            f"{place}: each of its {len(entries)} members {reason}; unpack it with another program, for example 7-Zip, "
            "and pass the folder"
        )


def _expand_nested(path: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the members with those of the archives among them; an archive is a folder with the name of its stem.

    Raises
    ------
    DataError
        an inner archive cannot be read, two of them hold images of the same name, or they hold only further archives.
    """
    inner_archives = [
        name
        for name, entry in entries.items()
        if is_archive_name(name) and not entry.outcome and "//" not in entry.uri.partition("//")[2]
    ]
    expanded_entries = {name: entry for name, entry in entries.items() if name not in inner_archives}
    archives_by_name: dict[str, str] = {}
    for archive in inner_archives:
        stem = archive_stem(archive)
        for entry in _list_nested_members(path, archive, entries[archive]):
            name = f"{stem}/{entry.name}"
            if name in expanded_entries and entry.is_image:
                first_archive = archives_by_name.get(name, name)
                raise DataError(
                    f"{first_archive!r} and {archive!r} in {path} hold images of the same name, first {name!r}; unpack "
                    f"{Path(path).name}, rename one of them, and pass the folder"
                )
            # Other files, such as those of macOS, may have one name in several archives.
            name = f"{archive}/{entry.name}" if name in expanded_entries else name
            expanded_entries[name] = entry._replace(name=name)
            archives_by_name[name] = archive
    deep_archives = [name for name in archives_by_name if is_archive_name(name)]
    if deep_archives and not any(is_image_name(name) for name in expanded_entries):
        archive = archives_by_name[deep_archives[0]]
        inner_name = deep_archives[0].removeprefix(f"{archive_stem(archive)}/")
        raise DataError(
            f"{path} holds archives inside archives inside it, first '{archive}!{inner_name}'; unpack "
            f"{Path(path).name} and pass the folder"
        )
    return expanded_entries


def _list_nested_members(path: str, name: str, entry: Entry) -> list[Entry]:
    """Return the members of an archive in another one, without the folder of its own name that many archives hold."""
    member = entry.uri.partition("//")[2]
    archive = _open_nested(path, open_archive(path)[1], member)
    members = list(_make_entries(archive, f"nested:{path}//{member}//", entry.state).values())
    own_folder = f"{archive_stem(name).rpartition('/')[2]}/"
    if all(inner_entry.name.startswith(own_folder) for inner_entry in members):
        members = [inner._replace(name=inner.name.removeprefix(own_folder)) for inner in members]
    rule = f"is an archive inside {name!r}; unpack the outer archive to read it"
    return [
        inner._replace(outcome="ignored", reason=rule) if is_archive_name(inner.name) else inner for inner in members
    ]


def archive_stem(name: str) -> str:
    """Return the name of an archive without its suffix.

    Examples
    --------
    >>> archive_stem("photos/cat.tar.gz")
    'photos/cat'
    """
    return name[: -len(next(suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)))]
