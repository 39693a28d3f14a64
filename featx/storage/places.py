"""Where a cache lies: its stores in a folder or below a URL, and a machine's own notes in a folder.

Notes are what is no embedding: digests of files, thumbnails, what was tried on this machine and how fast it was, and
the decoded images of a training that runs. They are databases and memory maps, which no object store can hold; all of
them can be made again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from featx.errors import DataError
from featx.locations import is_url
from featx.storage.shelves import SegmentStore
from featx.text.masking import masked

SUFFIX = ".zarr"  # of a store's name
FOLDER = "cache"  # in the working directory
LOCAL = "file://"
SQUEEZED = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]", re.IGNORECASE)  # what a Path makes of a URL


@dataclass(frozen=True)
class CachePlace:
    """Where a cache lies.

    Attributes
    ----------
    stores
        The folder or the URL that the stores of embeddings lie in.
    notes
        The local folder for what is no store.
    """

    stores: str
    notes: Path

    def __str__(self) -> str:
        return masked(self.stores)

    @property
    def folder(self) -> Path | None:
        """The local folder of stores; None where they lie behind a URL."""
        return None if is_url(self.stores) else Path(self.stores)

    def absolute(self) -> "CachePlace":
        """Return the same for a process with another working directory."""
        stores = self.stores if self.folder is None else str(self.folder.absolute())
        return CachePlace(stores, self.notes.absolute())

    def store(self, name: str) -> str:
        """Return where a store lies."""
        return f"{self.stores.rstrip('/')}/{name}" if self.folder is None else str(self.folder / name)


def cache_at(stores: str | Path, notes: str | Path | None = None) -> CachePlace:
    """Return the cache at a path or URL.

    Parameters
    ----------
    notes
        By default they lie beside local stores, and for a URL in ``cache`` in the working directory.

    Raises
    ------
    DataError
        the path was a URL once, or notes are to lie behind one.
    """
    if isinstance(stores, Path) and SQUEEZED.match(str(stores)):
        raise DataError(f"cache: found {stores!r}, which has lost a slash; name a URL by text, not by a Path")
    if notes is not None and is_url(str(notes)):
        raise DataError(f"paths.notes: found {str(notes)!r}, expected a local folder")
    text = str(stores)
    text = text.removeprefix(LOCAL) if text.startswith(LOCAL) else text
    beside = FOLDER if is_url(text) else text
    return CachePlace(text if is_url(text) else str(Path(text)), Path(beside if notes is None else notes))


@dataclass(frozen=True)
class Leftover:
    """What a dead writer left.

    Attributes
    ----------
    name
        As people find it.
    remove
        Removes it.
    """

    name: str
    n_bytes: int
    remove: Callable[[], None]


class Stores(Protocol):
    """All stores of a cache.

    Attributes
    ----------
    place
        As people write it.
    """

    place: str

    def shelves(self) -> list[SegmentStore] | None:
        """Return where each store lies, sorted by name; None where there is no cache."""

    def leftovers(self) -> list[Leftover]:
        """Return what dead writers left, and never what a live one is at."""
