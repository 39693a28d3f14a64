"""Trees of files under names: folders, archives and object stores have one interface for readers."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.files.atomic import change_time_ns
from featx.images.contents import FileState, file_uri, unicode_name
from featx.images.names import IMAGE_SUFFIXES, SYSTEM_FILE_INITIALS, file_suffix, is_image_name, non_image_rule
from featx.images.system_files import system_folder_rule, system_path_rule

EMPTY_FOLDER = "is an empty folder"
UNLISTABLE = "cannot be listed"


class Entry(NamedTuple):
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
    def folder(self) -> str:
        """Name of the folder that holds it; empty for the top of the tree."""
        return self.name.rpartition("/")[0]

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


class Entries(list[Entry]):
    """The files of a tree; properties of all of them are computed once, at the first use."""

    @cached_property
    def suffixes(self) -> list[str]:
        """(n,) suffix of each file, in lower case; empty if it has none."""
        # Few names end in different ways. The character before the point marks hidden files, which have no suffix; of a
        # name without a point, or that begins with its only one, the last characters are taken, which hold none.
        ends = [entry.name[entry.name.rfind(".") - 1 :] for entry in self]
        suffix_of_end = {end: file_suffix(end) for end in set(ends)}
        return [suffix_of_end[end] for end in ends]

    @cached_property
    def _have_image_names(self) -> list[bool]:
        return [
            suffix in IMAGE_SUFFIXES
            and (entry.name[entry.name.rfind("/") + 1] not in SYSTEM_FILE_INITIALS or is_image_name(entry.name))
            for entry, suffix in zip(self, self.suffixes, strict=True)
        ]

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        """The files by their names."""
        return {entry.name: entry for entry in self}

    @cached_property
    def image_names(self) -> list[str]:
        """Names of the files that are called like images, ignored or not."""
        return [entry.name for entry in compress(self, self._have_image_names)]

    @property
    def images(self) -> "Entries":
        """The images, readable or not."""
        return self._images if self.others else self

    @cached_property
    def _images(self) -> "Entries":
        return Entries(entry for entry in compress(self, self._have_image_names) if entry.outcome != "ignored")

    @cached_property
    def others(self) -> list[Entry]:
        """The files that are no images."""
        if all(self._have_image_names) and not any(entry.outcome for entry in self):
            return []
        pairs = zip(self, self._have_image_names, strict=True)
        return [entry for entry, is_image in pairs if not is_image or entry.outcome == "ignored"]

    @cached_property
    def _others_by_suffix(self) -> dict[str, list[Entry]]:
        entries_by_suffix: dict[str, list[Entry]] = {}
        for entry in self.others:
            if not entry.outcome:
                entries_by_suffix.setdefault(file_suffix(entry.name), []).append(entry)
        return entries_by_suffix

    def readable(self, *suffixes: str) -> list[Entry]:
        """Return the readable files, other than images, with one of some suffixes."""
        return [entry for suffix in suffixes for entry in self._others_by_suffix.get(suffix, ())]

    def where(self, is_selected: Sequence[bool]) -> "Entries":
        """Return the files with a true value: the same list, with all that is known about it, if no value is false."""
        return self if all(is_selected) else Entries(compress(self, is_selected))

    @property
    def folders(self) -> list[str]:
        """The folders that hold the files, in the order of their first files; empty for the top of the tree."""
        return self._folders[1]

    @property
    def folder_codes(self) -> NDArray[np.intp]:
        """(n,) position in `folders` of the folder that holds each file."""
        return self._folders[0]

    @cached_property
    def _folders(self) -> tuple[NDArray[np.intp], list[str]]:
        return encode_texts([entry.name.rpartition("/")[0] for entry in self])


def encode_texts(texts: Sequence[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Return the code of each text, and the different texts in the order of their codes."""
    codes, unique_texts = pd.factorize(np.array(texts, dtype=object))
    return codes, unique_texts.tolist()


class Tree(Protocol):
    """The interface of a tree of files under names."""

    @property
    def place(self) -> str:
        """The path or URL of the tree."""

    @property
    def prefix(self) -> str:
        """The text that ids begin with before the name: an archive's own name, empty for other trees."""

    def entries(self) -> Entries:
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
    def _sorted_entries(self) -> Entries:
        # No character is smaller than NUL: files of one folder stay together.
        entries = Entries(sorted(self.entries_by_name.values(), key=lambda entry: entry.name.replace("/", "\0")))
        rules = [system_path_rule(f"{folder}/") for folder in entries.folders]
        if not any(rules):
            return entries
        return Entries(
            entry._replace(outcome="ignored", reason=rules[code]) if rules[code] else entry
            for entry, code in zip(entries, entries.folder_codes, strict=True)
        )

    def entries(self) -> Entries:
        """Return all files, sorted folder by folder; those in folders that are not searched are ignored."""
        return self._sorted_entries

    def entry(self, name: str) -> Entry:
        """Return one file by its name; its outcome is ``missing`` if there is no such file."""
        return self.entries_by_name.get(name.removeprefix("./"), Entry(name, "", None, "missing", self.missing_reason))

    def siblings(self, names: list[str]) -> Iterator[Entry]:
        """Yield all files of the folders that hold `names`, without the folders below them."""
        folders = {name.removeprefix("./").rpartition("/")[0] for name in names}
        entries = self.entries()
        are_named = np.array([folder in folders for folder in entries.folders], dtype=bool)
        return iter(entries.where(are_named[entries.folder_codes].tolist()))


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

    def entries(self) -> Entries:
        """Return all files, sorted folder by folder; not those below links, hidden folders and system folders."""
        return self._entries

    @cached_property
    def _entries(self) -> Entries:
        return Entries(self._walk(Path(self.place).absolute(), ""))

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
            elif rule := system_folder_rule(child.name):
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
    return Entry(name, file_uri(path), (state.st_size, change_time_ns(state)))
