"""All stores of a cache, in a folder or below a URL, and the leftovers of killed writers there."""

import shutil
from pathlib import Path

from featx.storage import leases
from featx.storage.objects import ObjectStores, is_store_name
from featx.storage.places import CachePlace, Leftover, Stores
from featx.storage.segment_store import LocalSegmentStore, SegmentStore


class LocalStores:
    """The stores in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)

    def segment_stores(self) -> list[SegmentStore] | None:
        """Return all stores, sorted by name; None where there is no folder."""
        if not self.folder.is_dir():
            return None
        return [LocalSegmentStore(path) for path in sorted(self.folder.iterdir()) if is_store_name(path.name)]

    def leftovers(self) -> list[Leftover]:
        """Return what killed writers left below the folder."""
        return [self._leftover(path) for path in leases.leftovers(self.folder)]

    @staticmethod
    def _leftover(path: Path) -> Leftover:
        def remove() -> None:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

        return Leftover(path.name, sum(size for _, size in LocalSegmentStore(path).file_sizes()), remove)


def stores_at(place: CachePlace) -> Stores:
    """Return all stores of a cache."""
    if place.folder is not None:
        return LocalStores(place.folder)
    return ObjectStores(place.stores)
