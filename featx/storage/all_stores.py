"""All stores of a cache, in a folder or below a URL, and what writers that have died left there."""

import shutil
from pathlib import Path

from featx.storage import leases
from featx.storage.objects import ObjectStores
from featx.storage.places import SUFFIX, CachePlace, Leftover, Stores
from featx.storage.shelves import LocalSegmentStore, SegmentStore


class LocalStores:
    """The stores in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)

    def shelves(self) -> list[SegmentStore] | None:
        """See `Stores`."""
        if not self.folder.is_dir():
            return None
        return [
            LocalSegmentStore(path) for path in sorted(self.folder.glob(f"*{SUFFIX}")) if not path.name.startswith(".")
        ]

    def leftovers(self) -> list[Leftover]:
        """See `Stores`."""
        return [self._leftover(path) for path in leases.leftovers(self.folder)]

    @staticmethod
    def _leftover(path: Path) -> Leftover:
        def remove() -> None:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

        return Leftover(path.name, sum(size for _, size in LocalSegmentStore(path).files()), remove)


def stores_at(place: CachePlace) -> Stores:
    """Return all stores of a cache."""
    if place.folder is not None:
        return LocalStores(place.folder)
    return ObjectStores(place.stores)
