"""The place of a cache: its stores in a folder or below a URL, and other cached results of a machine in a local folder.

Notes are all other files: digests of files, thumbnails, benchmarks and throughputs of this machine, and
the decoded images of a running training. They are databases and memory maps, which no object store can hold; all of
them can be made again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from featx.errors import DataError
from featx.locations import is_url
from featx.storage.segment_store import SegmentStore
from featx.text.masking import mask_cell

# The end of a store's name.
STORE_SUFFIX = ".zarr"
# The name of the default folder of a cache.
DEFAULT_CACHE_FOLDER = "cache"
LOCAL_SCHEME = "file://"
# A Path removes one of the two slashes of a URL.
URL_AS_PATH = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]", re.IGNORECASE)


@dataclass(frozen=True)
class CachePlace:
    """The place of a cache.

    Attributes
    ----------
    stores
        The folder or the URL of the stores of embeddings.
    local_folder
        The local folder for all other files.
    """

    stores: str
    local_folder: Path

    def __str__(self) -> str:
        return mask_cell(self.stores)

    @property
    def folder(self) -> Path | None:
        """The local folder of stores; None for a URL."""
        return None if is_url(self.stores) else Path(self.stores)

    def absolute(self) -> "CachePlace":
        """Return the same place by absolute paths, for a process with another working directory."""
        stores = self.stores if self.folder is None else str(self.folder.absolute())
        return CachePlace(stores, self.local_folder.absolute())

    def store(self, name: str) -> str:
        """Return the path or URL of a store."""
        return f"{self.stores.rstrip('/')}/{name}" if self.folder is None else str(self.folder / name)


def cache_at(stores: str | Path, local_folder: str | Path | None = None) -> CachePlace:
    """Return the cache at a path or URL.

    Parameters
    ----------
    stores
        The folder or the URL of the stores.
    local_folder
        The local folder for other files. By default it is the folder of local stores, and for a URL ``cache`` in
        the working directory.

    Raises
    ------
    DataError
        the path was a URL once, or the local folder is one.
    """
    if isinstance(stores, Path) and URL_AS_PATH.match(str(stores)):
        raise DataError(f"cache: found {stores!r}, which has lost a slash; name a URL by text, not by a Path")
    if local_folder is not None and is_url(str(local_folder)):
        raise DataError(f"paths.local_cache: found {str(local_folder)!r}, expected a local folder")
    text = str(stores).removeprefix(LOCAL_SCHEME)
    default_folder = DEFAULT_CACHE_FOLDER if is_url(text) else text
    return CachePlace(
        text if is_url(text) else str(Path(text)), Path(default_folder if local_folder is None else local_folder)
    )


@dataclass(frozen=True)
class Leftover:
    """A file, a folder or some objects that a killed writer left.

    Attributes
    ----------
    name
        The name that is shown to users.
    n_bytes
        Total size in bytes.
    remove
        A function that removes it.
    """

    name: str
    n_bytes: int
    remove: Callable[[], None]


class Stores(Protocol):
    """All stores of a cache.

    Attributes
    ----------
    place
        The path or URL of the cache, as text.
    """

    place: str

    def segment_stores(self) -> list[SegmentStore] | None:
        """Return all stores, sorted by name; None where there is no cache."""

    def leftovers(self) -> list[Leftover]:
        """Return what killed writers left, and never what a live writer uses."""
