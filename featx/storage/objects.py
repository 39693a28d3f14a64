"""Stores in object stores: ``s3://bucket/prefix``, and whatever else fsspec can write to.

Nothing can be renamed there, and objects are seen one by one. So a segment's objects are written first and its
``zarr.json`` last; what has no ``zarr.json`` is no segment. To take it away, the ``zarr.json`` goes first.
docs/cache_object_stores.md says what that needs of the store.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.storage.buckets import CLOCK, Bucket, changed_at
from featx.storage.leases import LEASE_S
from featx.storage.places import SUFFIX, Leftover
from featx.storage.shelves import METADATA, PREFIX, Files, SegmentStore

NEAR_BYTES = 1 << 18  # between rows that are asked for together: as long as a request takes on its way
WHOLE_SHARE = 0.5  # of an object, from which all of it is asked for


class ObjectSegmentStore:
    """Objects below a URL."""

    at_once = 16

    def __init__(self, place: str) -> None:
        self.bucket = Bucket(place)
        self.place = self.bucket.place
        self.name = self.place.rpartition("/")[2]
        self._sizes: dict[str, int] = {}  # of what belongs to segments: they never change
        self._ahead: dict[str, bytes] = {}

    def __reduce__(self) -> tuple[type["ObjectSegmentStore"], tuple[str]]:
        return ObjectSegmentStore, (self.place,)

    def header(self) -> bytes | None:
        """See `SegmentStore`."""
        try:
            return self.bucket.get(METADATA)
        except FileNotFoundError:
            found = self.bucket.listed()  # which says as well where there is no such bucket
            if METADATA in found:  # another writer has made the store meanwhile
                return self.bucket.get(METADATA)
            of_nobody = {name for names in unfinished(found).values() for name in names}
            return b"" if found.keys() - of_nobody else None

    def begin(self, header: bytes) -> None:
        """See `SegmentStore`."""
        self.bucket.create(METADATA, header)

    def segments(self) -> list[str]:
        """See `SegmentStore`."""
        found = self.bucket.listed()
        self._sizes = {name: int(info["size"]) for name, info in found.items() if name.startswith(PREFIX)}
        return whole_segments(found)

    def has(self, segment: str) -> bool:
        """See `SegmentStore`."""
        return self.bucket.info(f"{segment}/{METADATA}") is not None

    def read(self, file: str) -> bytes:
        """See `SegmentStore`."""
        if file in self._ahead:
            return self._ahead.pop(file)
        n_bytes = self._sizes.get(file)
        if n_bytes is None:
            return self.bucket.get(file)
        return self.bucket.ranges(file, [0], [n_bytes])[0] if n_bytes else b""

    def expect(self, files: Sequence[str]) -> None:
        """See `SegmentStore`."""
        self._ahead |= self.bucket.several({file: self._sizes[file] for file in files if self._sizes.get(file)})

    def n_bytes(self, file: str) -> int:
        """See `SegmentStore`."""
        if file not in self._sizes:
            info = self.bucket.info(file)
            if info is None:
                raise FileNotFoundError(f"{self.place}/{file}")
            self._sizes[file] = int(info["size"])
        return self._sizes[file]

    def content(self, file: str) -> NDArray[np.uint8]:
        """See `SegmentStore`."""
        return np.frombuffer(self.read(file), dtype=np.uint8)

    def rows(
        self, file: str, dtype: np.dtype[Any], shape: tuple[int, int], at: NDArray[np.intp]
    ) -> Iterator[NDArray[Any]]:
        """See `SegmentStore`; rows that lie near one another are asked for together."""
        wanted, place = np.unique(at, return_inverse=True)
        row_bytes = dtype.itemsize * shape[1]
        runs = np.split(wanted, np.flatnonzero((np.diff(wanted) - 1) * row_bytes > NEAR_BYTES) + 1)
        if sum(int(run[-1] - run[0]) + 1 for run in runs) > WHOLE_SHARE * shape[0]:
            runs = [wanted]
        starts, ends = [int(run[0]) * row_bytes for run in runs], [(int(run[-1]) + 1) * row_bytes for run in runs]
        found = self.bucket.ranges(file, starts, ends)
        blocks = [np.frombuffer(content, dtype=dtype).reshape(-1, shape[1]) for content in found]
        rows = [block[run - run[0]] for block, run in zip(blocks, runs, strict=True)]
        yield np.concatenate(rows)[place]

    def publish(self, segment: str, files: Files) -> None:
        """See `SegmentStore`.

        Raises
        ------
        FileNotFoundError
            somebody has removed the store meanwhile.
        """
        inside = {f"{segment}/{name}": content for name, content in files.items() if name != METADATA}
        start = time.time()
        self.bucket.put(inside)
        if time.time() - start > LEASE_S / 2:  # this machine slept, and was perhaps taken for dead
            self.bucket.put(inside)
        self.bucket.put({f"{segment}/{METADATA}": files[METADATA]})
        if self.bucket.info(METADATA) is None:
            self.withdraw(segment)
            raise FileNotFoundError(f"{self.place}/{METADATA}")

    def withdraw(self, segment: str) -> None:
        """See `SegmentStore`."""
        names = [name for name in self.bucket.listed() if name.startswith(f"{segment}/")]
        self.bucket.delete([f"{segment}/{METADATA}", *(name for name in names if name != f"{segment}/{METADATA}")])

    def remove(self) -> None:
        """Take the whole store away, segment by segment and its header last: what is left meanwhile is a store."""
        found = self.bucket.listed()
        for segment in whole_segments(found):
            self.withdraw(segment)
        self.bucket.delete([METADATA, *(name for name in self.bucket.listed() if name != METADATA)])

    def replace_header(self, header: bytes) -> None:
        """See `SegmentStore`."""
        self.bucket.put({METADATA: header})

    def files(self) -> Iterator[tuple[str, int]]:
        """See `SegmentStore`."""
        for name, info in self.bucket.listed().items():
            yield name, int(info["size"])

    def changed(self) -> float:
        """See `SegmentStore`."""
        return max(map(changed_at, self.bucket.listed().values()), default=0.0)


class ObjectStores:
    """The stores below a URL."""

    def __init__(self, place: str) -> None:
        self.bucket = Bucket(place)
        self.place = self.bucket.place

    def shelves(self) -> list[SegmentStore] | None:
        """See `featx.storage.places.Stores`."""
        names = self.bucket.folders()
        return (
            None if names is None else [ObjectSegmentStore(f"{self.place}/{name}") for name in names if is_store(name)]
        )

    def leftovers(self) -> list[Leftover]:
        """See `featx.storage.places.Stores`; a writer is dead when its newest object is older than a lease."""
        found = self.bucket.listed()
        stores = {name.partition("/")[0] for name in found if is_store(name.partition("/")[0])}
        groups = {name: [name] for name in found if name.startswith(CLOCK)}
        for store in stores:
            inside = {name.removeprefix(f"{store}/"): info for name, info in found.items() if name.startswith(store)}
            groups |= {
                f"{store}/{segment}": [f"{store}/{name}" for name in names]
                for segment, names in unfinished(inside).items()
            }
        if not groups:
            return []
        now = self.bucket.now()
        dead = {
            name: objects
            for name, objects in groups.items()
            if now - max(changed_at(found[one]) for one in objects) > LEASE_S
        }
        return [self._leftover(name, objects, found) for name, objects in sorted(dead.items())]

    def _leftover(self, name: str, objects: list[str], found: dict[str, dict[str, Any]]) -> Leftover:
        def remove() -> None:
            if self.bucket.info(f"{name}/{METADATA}") is None:  # its writer has not finished it meanwhile
                self.bucket.delete(objects)

        return Leftover(name, sum(int(found[one]["size"]) for one in objects), remove)


def is_store(name: str) -> bool:
    """Whether a folder is called like a store."""
    return name.endswith(SUFFIX) and not name.startswith(".")


def whole_segments(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the segments among a store's objects that have a ``zarr.json``, sorted."""
    parts = (name.split("/") for name in found)
    return sorted(one[0] for one in parts if len(one) == 2 and one[0].startswith(PREFIX) and one[1] == METADATA)


def unfinished(found: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Return those of a store's objects that lie where a segment would, which has no ``zarr.json``."""
    whole, groups = set(whole_segments(found)), dict[str, list[str]]()
    for name in found:
        segment, _, inside = name.partition("/")
        if segment.startswith(PREFIX) and inside and segment not in whole:
            groups.setdefault(segment, []).append(name)
    return groups
