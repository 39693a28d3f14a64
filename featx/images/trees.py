"""Trees of files under names: folders, archives and object stores have one interface for readers."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

from featx.images.contents import FileState, file_uri, unicode_name
from featx.images.litter import litter_folder_rule, litter_path_rule
from featx.images.names import is_image_name, non_image_rule

EMPTY_FOLDER = "is an empty folder"
UNLISTABLE = "cannot be listed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in a tree.

    Attributes
    ----------
    name
        Path relative to the tree, with ``/``.
    uri
        Uri that `featx.images.sources.read_content` takes.
    state
        State of the file: the content is unchanged while the state is; None if it has none.
    outcome, reason
        ``missing``, ``unreadable`` or ``ignored`` with the reason, if known without reading; otherwise both are empty.
    """

    name: str
    uri: str
    state: FileState | None = None
    outcome: str = ""
    reason: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it is an image, readable or not."""
        return self.outcome != "ignored" and is_image_name(self.name)

    @property
    def may_hold_images(self) -> bool:
        """Whether it is an image, readable or not, or a folder that cannot be listed."""
        return self.is_image or self.reason.startswith(UNLISTABLE)

    @property
    def non_image_reason(self) -> str:
        """Reason why it is not an image: the known one, or the rule about its name."""
        return self.reason or non_image_rule(self.name)


class Tree(Protocol):
    """The interface of a tree of files under names."""

    @property
    def place(self) -> str:
        """The path or URL of the tree."""

    @property
    def prefix(self) -> str:
        """The text that ids begin with before the name: an archive's own name, empty for other trees."""

    def entries(self) -> list[Entry]:
        """Return all files at any depth, sorted folder by folder; a folder that is not searched is one entry."""

    def entry(self, name: str) -> Entry:
        """Return one file by its name; its outcome is ``missing`` if there is no such file."""

    def siblings(self, names: list[str]) -> Iterator[Entry]:
        """Yield all files of the folders that hold `names`, without the folders below them."""


class ListedTree(ABC):
    """A tree whose files are all listed at the first use.

    Attributes
    ----------
    missing_reason
        Reason that the entry of a missing file gives.
    """

    missing_reason: ClassVar[str]

    @cached_property
    @abstractmethod
    def entries_by_name(self) -> dict[str, Entry]:
        """All files by name; the last one of several with the same name."""

    @cached_property
    def _sorted_entries(self) -> list[Entry]:
        entries = sorted(self.entries_by_name.values(), key=lambda entry: entry.name.split("/"))
        rules = [litter_path_rule(entry.name) for entry in entries]
        return [
            replace(entry, outcome="ignored", reason=rule) if rule else entry
            for entry, rule in zip(entries, rules, strict=True)
        ]

    def entries(self) -> list[Entry]:
        """Return all files, sorted folder by folder; those in folders that are not searched are ignored."""
        return self._sorted_entries

    def entry(self, name: str) -> Entry:
        """Return one file by its name; its outcome is ``missing`` if there is no such file."""
        return self.entries_by_name.get(name.removeprefix("./"), Entry(name, "", None, "missing", self.missing_reason))

    def siblings(self, names: list[str]) -> Iterator[Entry]:
        """Yield all files of the folders that hold `names`, without the folders below them."""
        folders = {name.removeprefix("./").rpartition("/")[0] for name in names}
        return (entry for entry in self.entries() if entry.name.rpartition("/")[0] in folders)


@dataclass(frozen=True)
class FolderTree:
    """A local folder.

    Attributes
    ----------
    place
        Path of the folder.
    prefix
        Text that ids begin with; empty.
    """

    place: str
    prefix: str = ""

    def entries(self) -> list[Entry]:
        """Return all files, sorted folder by folder; links to folders, hidden folders and litter are not searched."""
        return self._entries

    @cached_property
    def _entries(self) -> list[Entry]:
        return list(self._walk(Path(self.place).absolute(), ""))

    def _walk(self, folder: Path, prefix: str) -> Iterator[Entry]:
        try:
            with os.scandir(folder) as iterator:
                children = sorted(iterator, key=lambda child: child.name)
        except OSError as error:
            yield Entry(unicode_name(prefix.rstrip("/")), "", None, "unreadable", f"{UNLISTABLE}: {error.strerror}")
            return
        if not children and prefix:
            yield Entry(unicode_name(prefix.rstrip("/")), "", None, "ignored", EMPTY_FOLDER)
        for child in children:
            name = prefix + child.name
            if not _is_folder(child):
                yield _make_entry(child, unicode_name(name))
            elif child.is_symlink():
                yield Entry(unicode_name(name), "", None, "ignored", "is a link to a folder, which is not followed")
            elif rule := litter_folder_rule(child.name):
                yield Entry(unicode_name(name), "", None, "ignored", rule)
            else:
                yield from self._walk(Path(child.path), f"{name}/")

    def entry(self, name: str) -> Entry:
        """Return one file by its name; its outcome is ``missing`` if there is no such file."""
        return _make_entry(Path(self.place, name).absolute(), name)

    def siblings(self, names: list[str]) -> Iterator[Entry]:
        """Yield all files of the folders that hold `names`, without the folders below them."""
        for folder in sorted({os.path.dirname(name) for name in names}):  # noqa: PTH120 (Path would drop "./")
            path = Path(self.place, folder).absolute()
            if path.is_dir():
                with os.scandir(path) as iterator:
                    yield from (
                        _make_entry(child, unicode_name(f"{folder}/{child.name}" if folder else child.name))
                        for child in sorted(iterator, key=lambda child: child.name)
                        if not _is_folder(child)
                    )


def _is_folder(child: "os.DirEntry[str]") -> bool:
    try:
        return child.is_dir()
    # A loop of links has no target.
    except OSError:
        return False


def _make_entry(file: "os.DirEntry[str] | Path", name: str) -> Entry:
    """Return the entry of one path, from its state alone: the file is not opened."""
    path = file.path if isinstance(file, os.DirEntry) else str(file)
    try:
        state = file.stat()
    except FileNotFoundError:
        if os.path.islink(path):  # noqa: PTH114 (Path raises on names with a NUL byte)
            return Entry(name, file_uri(path), None, "unreadable", "is a broken link")
        return Entry(name, file_uri(path), None, "missing", "there is no such file")
    # A loop of links raises an OSError, a NUL byte in a name a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Entry(name, file_uri(path), None, "unreadable", reason)
    if not stat.S_ISREG(state.st_mode):
        return Entry(name, file_uri(path), None, "unreadable", "is not a regular file")
    return Entry(name, file_uri(path), (state.st_size, state.st_mtime_ns))
