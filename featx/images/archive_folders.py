"""A folder of several archives without images outside them, read as one tree."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from featx.images.archives import ArchiveTree, archive_stem
from featx.images.names import find_part, is_archive_name, is_image_name, part_of
from featx.images.trees import Entry, FolderTree, ListedTree
from featx.locations import ARCHIVE_SUFFIXES

MIN_ARCHIVES = 2


@dataclass(frozen=True)
class NameConflict:
    """Two archives that hold files of the same name.

    Attributes
    ----------
    first, second
        Names of the archives.
    name
        Name of the first such file.
    """

    first: str
    second: str
    name: str


@dataclass(frozen=True)
class ArchiveFolderTree(ListedTree):
    """The members of the archives in a folder, and its other files.

    Archives whose names are parts are folders with the name of the part: ``train/cat/0.png``. Numbered archives, and
    those with the same folders inside, are one folder: ``cat/0.png``. Each other archive is a folder with its name.

    Attributes
    ----------
    folder
        Path of the folder.
    inside
        Folder of the tree that is chosen; empty for all files.
    prefix
        Text that ids begin with; empty.
    """

    folder: str
    inside: str = ""
    prefix: str = ""
    missing_reason: ClassVar[str] = "there is no such file in the archives of the folder"

    @property
    def place(self) -> str:
        """The folder's path, followed by ``!`` and the chosen folder if there is one."""
        return f"{self.folder}!{self.inside}" if self.inside else self.folder

    @cached_property
    def entries_by_name(self) -> dict[str, Entry]:
        """The members of all archives by name, and the other files of the folder."""
        entries = {entry.name: entry for entry in FolderTree(self.folder).entries()}
        for archive, top in self._tops.items():
            del entries[archive]
            members = [entry._replace(name=top + entry.name) for entry in self._members[archive]]
            entries |= {entry.name: entry for entry in members}
        if not self.inside:
            return entries
        start = f"{self.inside.strip('/')}/"
        member_entries = [
            (name.removeprefix(start), entry) for name, entry in entries.items() if name.startswith(start)
        ]
        return {name: entry._replace(name=name) for name, entry in member_entries}

    @cached_property
    def conflict(self) -> NameConflict | None:
        """Two archives that would be one folder if they did not hold files of the same name; None if there are none."""
        tops = _propose_tops(self._members)
        return _find_conflict(self._members, tops)

    @cached_property
    def _tops(self) -> Mapping[str, str]:
        """The folder of each archive's members, with its ``/``; empty for the top of the tree."""
        if self.conflict is None:
            return _propose_tops(self._members)
        stems = {archive: archive_stem(archive) for archive in self._members}
        counts = Counter(stems.values())
        # cat.zip and cat.tar may hold files of the same name too.
        return {archive: f"{stem if counts[stem] == 1 else archive}/" for archive, stem in stems.items()}

    @cached_property
    def _members(self) -> dict[str, list[Entry]]:
        return {archive: _list_members(self.folder, archive) for archive in list_archives(self.folder)}


def list_archives(folder: str) -> list[str]:
    """Return the names of the archives in a folder."""
    with os.scandir(folder) as children:
        names = [child.name for child in children if child.name.lower().endswith(ARCHIVE_SUFFIXES) and child.is_file()]
    return sorted(filter(is_archive_name, names))


def holds_only_archives(folder: str) -> bool:
    """Whether a folder holds several archives, and no images outside them."""
    if len(list_archives(folder)) < MIN_ARCHIVES:
        return False
    return not any(is_image_name(entry.name) for entry in FolderTree(folder).entries())


def _list_members(folder: str, archive: str) -> list[Entry]:
    """Return the members of an archive, without the folder of its own name that many archives hold."""
    entries = ArchiveTree(str(Path(folder, archive))).entries()
    own_folder = f"{archive_stem(archive)}/"
    if not all(entry.name.startswith(own_folder) for entry in entries):
        return entries
    return [entry._replace(name=entry.name.removeprefix(own_folder)) for entry in entries]


def _propose_tops(members: Mapping[str, Sequence[Entry]]) -> dict[str, str]:
    """Return the folder of each archive's members if no two archives hold files of the same name."""
    images = {archive: [entry.name for entry in entries if entry.is_image] for archive, entries in members.items()}
    image_archives = [archive for archive, names in images.items() if names]
    stems = {archive: archive_stem(archive) for archive in image_archives}
    parts = {archive: part_of(stem) or find_part(stem) for archive, stem in stems.items()}
    stem_tops = {archive: f"{archive_stem(archive)}/" for archive in members}
    if "train" in parts.values() and None not in parts.values():
        return stem_tops | {archive: f"{part}/" for archive, part in parts.items()}
    are_numbered = len({re.sub(r"\d+", "", stem) for stem in stems.values()}) == 1
    tops = [{name.partition("/")[0] for name in images[archive]} for archive in image_archives]
    have_folders = all("/" in name for archive in image_archives for name in images[archive])
    share_folders = have_folders and len(tops) > 1 and bool(set.intersection(*tops))
    return stem_tops | dict.fromkeys(image_archives, "") if are_numbered or share_folders else stem_tops


def _find_conflict(members: Mapping[str, Sequence[Entry]], tops: Mapping[str, str]) -> NameConflict | None:
    archives: dict[str, str] = {}
    for archive, top in tops.items():
        for entry in members[archive]:
            first_archive = archives.setdefault(top + entry.name, archive)
            if first_archive != archive and entry.is_image:
                return NameConflict(first_archive, archive, entry.name)
    return None
