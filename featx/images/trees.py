"""Places that hold files under names: folders, archives, object stores; readers see no difference between them."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

from featx.images.contents import State, file_uri, text_of

EMPTY_FOLDER = "is an empty folder"
CANNOT_LIST = "cannot be listed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in a tree.

    Attributes
    ----------
    name
        Its path relative to the tree, with ``/``.
    uri
        What `featx.images.sources.read` takes.
    state
        While it stays as it is, the content does; None where it cannot be known.
    outcome, reason
        ``missing``, ``unreadable`` or ``ignored``, and why, where it is known without reading; both empty otherwise.
    """

    name: str
    uri: str
    state: State | None = None
    outcome: str = ""
    reason: str = ""


class Tree(Protocol):
    """Files under names."""

    @property
    def place(self) -> str:
        """Where it lies."""

    @property
    def prefix(self) -> str:
        """What an id begins with before the name: an archive's own name, nothing elsewhere."""

    def entries(self) -> list[Entry]:
        """Return all files at any depth, sorted folder by folder; hidden folders and links stand as one entry."""

    def entry(self, name: str) -> Entry:
        """Return one file by its name; its outcome is ``missing`` where there is none."""

    def beside(self, names: list[str]) -> Iterator[Entry]:
        """Yield all files of the folders in which `names` lie, not of those below."""


class NamedEntries(ABC):
    """A tree whose files are all listed at once, and known by name from then on.

    Attributes
    ----------
    nothing
        What is said of a name that is not there.
    """

    nothing: ClassVar[str]

    @cached_property
    @abstractmethod
    def named(self) -> dict[str, Entry]:
        """All files; of several with one name the last."""

    def entries(self) -> list[Entry]:
        """See `Tree`."""
        return sorted(self.named.values(), key=lambda entry: entry.name.split("/"))

    def entry(self, name: str) -> Entry:
        """See `Tree`."""
        return self.named.get(name.removeprefix("./"), Entry(name, "", None, "missing", self.nothing))

    def beside(self, names: list[str]) -> Iterator[Entry]:
        """See `Tree`."""
        folders = {name.removeprefix("./").rpartition("/")[0] for name in names}
        return (entry for entry in self.entries() if entry.name.rpartition("/")[0] in folders)


@dataclass(frozen=True)
class FolderTree:
    """A local folder."""

    place: str
    prefix: str = ""

    def entries(self) -> list[Entry]:
        """See `Tree`."""
        return list(self._below(Path(self.place).absolute(), ""))

    def _below(self, folder: Path, prefix: str) -> Iterator[Entry]:
        try:
            with os.scandir(folder) as found:
                children = sorted(found, key=lambda child: child.name)
        except OSError as error:
            yield Entry(text_of(prefix.rstrip("/")), "", None, "unreadable", f"{CANNOT_LIST}: {error.strerror}")
            return
        if not children and prefix:
            yield Entry(text_of(prefix.rstrip("/")), "", None, "ignored", EMPTY_FOLDER)
        for child in children:
            name = prefix + child.name
            if not _is_folder(child):
                yield _entry(child, text_of(name))
            elif child.is_symlink():
                yield Entry(text_of(name), "", None, "ignored", "a link to a folder is not followed")
            elif child.name.startswith("."):
                yield Entry(text_of(name), "", None, "ignored", "a hidden folder is not looked into")
            else:
                yield from self._below(Path(child.path), f"{name}/")

    def entry(self, name: str) -> Entry:
        """See `Tree`."""
        return _entry(Path(self.place, name).absolute(), name)

    def beside(self, names: list[str]) -> Iterator[Entry]:
        """See `Tree`."""
        for folder in sorted({os.path.dirname(name) for name in names}):  # noqa: PTH120 (Path would drop "./")
            place = Path(self.place, folder).absolute()
            if place.is_dir():
                with os.scandir(place) as found:
                    yield from (
                        _entry(child, text_of(f"{folder}/{child.name}" if folder else child.name))
                        for child in sorted(found, key=lambda child: child.name)
                        if not _is_folder(child)
                    )


def _is_folder(found: "os.DirEntry[str]") -> bool:
    try:
        return found.is_dir()
    except OSError:  # a loop of links
        return False


def _entry(found: "os.DirEntry[str] | Path", name: str) -> Entry:
    """Look at one path without opening it."""
    path = found.path if isinstance(found, os.DirEntry) else str(found)
    try:
        state = found.stat()
    except FileNotFoundError:
        if os.path.islink(path):  # noqa: PTH114 (Path raises on the names that this is about)
            return Entry(name, file_uri(path), None, "unreadable", "is a link to nothing")
        return Entry(name, file_uri(path), None, "missing", "there is no such file")
    except (OSError, ValueError) as error:  # a loop of links, a NUL byte in a name
        reason = getattr(error, "strerror", None) or str(error)
        return Entry(name, file_uri(path), None, "unreadable", reason)
    if not stat.S_ISREG(state.st_mode):
        return Entry(name, file_uri(path), None, "unreadable", "is not a regular file")
    return Entry(name, file_uri(path), (state.st_size, state.st_mtime_ns))
