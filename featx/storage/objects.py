"""Stores in object stores: ``s3://bucket/prefix``, and every other place that fsspec can write to.

Nothing can be renamed there, and objects become visible one by one. So a segment's objects are written first and its
``zarr.json`` last; a segment without ``zarr.json`` does not count. To remove a segment, its ``zarr.json`` is deleted
first. docs/cache_object_stores.md says what that needs of the store.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.storage.buckets import CLOCK_NAME, Bucket, modified_s_of
from featx.storage.leases import LEASE_S
from featx.storage.places import STORE_SUFFIX, Leftover
from featx.storage.segment_store import METADATA_FILE, SEGMENT_NAME, Files, SegmentStore

# Rows are read together where fewer bytes lie between them: reading these takes as long as one more request.
MAX_GAP_BYTES = 1 << 18
# An object is read as a whole where at least this share of it is needed.
MIN_SHARE_TO_READ_ALL = 0.5


class ObjectSegmentStore:
    """The files of a store as objects below a URL."""

    max_parallel_reads = 16

    def __init__(self, place: str) -> None:
        self.bucket = Bucket(place)
        self.place = self.bucket.place
        self.name = self.place.rpartition("/")[2]
        # Sizes of the objects of segments, which never change.
        self._sizes: dict[str, int] = {}
        self._prefetched: dict[str, bytes] = {}

    def __reduce__(self) -> tuple[type["ObjectSegmentStore"], tuple[str]]:
        return ObjectSegmentStore, (self.place,)

    def read_header(self) -> bytes | None:
        """Return the store's own ``zarr.json``, empty where other objects lie there; None where there is no store."""
        try:
            return self.bucket.get(METADATA_FILE)
        except FileNotFoundError:
            # Listing also raises where there is no such bucket.
            objects = self.bucket.list_objects()
            # Another writer may have created the store meanwhile.
            if METADATA_FILE in objects:
                return self.bucket.get(METADATA_FILE)
            unfinished_names = {name for names in unfinished_segments(objects).values() for name in names}
            return b"" if objects.keys() - unfinished_names else None

    def create(self, header: bytes) -> None:
        """Create an empty store; a store that another writer has created meanwhile stays."""
        self.bucket.create(METADATA_FILE, header)

    def segment_names(self) -> list[str]:
        """Return the names of all complete segments, sorted."""
        objects = self.bucket.list_objects()
        self._sizes = {name: int(info["size"]) for name, info in objects.items() if is_in_segment(name)}
        return complete_segments(objects)

    def has_segment(self, segment: str) -> bool:
        """Return whether a segment has its ``zarr.json``."""
        return self.bucket.info(f"{segment}/{METADATA_FILE}") is not None

    def read(self, file: str) -> bytes:
        """Return an object's content; `FileNotFoundError` where there is none."""
        if file in self._prefetched:
            return self._prefetched.pop(file)
        n_bytes = self._sizes.get(file)
        if n_bytes is None:
            return self.bucket.get(file)
        return self.bucket.read_ranges(file, [0], [n_bytes])[0] if n_bytes else b""

    def prefetch(self, files: Sequence[str]) -> None:
        """Fetch objects that are read next, all at once."""
        self._prefetched |= self.bucket.read_many({file: self._sizes[file] for file in files if self._sizes.get(file)})

    def n_bytes(self, file: str) -> int:
        """Return an object's size in bytes; `FileNotFoundError` where there is none."""
        if file not in self._sizes:
            info = self.bucket.info(file)
            if info is None:
                raise FileNotFoundError(f"{self.place}/{file}")
            self._sizes[file] = int(info["size"])
        return self._sizes[file]

    def read_array(self, file: str) -> NDArray[np.uint8]:
        """Return (n_bytes,) an object's content."""
        return np.frombuffer(self.read(file), dtype=np.uint8)

    def read_rows(
        self, file: str, dtype: np.dtype[Any], shape: tuple[int, int], rows: NDArray[np.intp]
    ) -> Iterator[NDArray[Any]]:
        """Yield the given rows of an array as one block; rows that lie close together are read by one request."""
        unique_rows, positions = np.unique(rows, return_inverse=True)
        row_bytes = dtype.itemsize * shape[1]
        gap_bytes = (np.diff(unique_rows) - 1) * row_bytes
        runs = np.split(unique_rows, np.flatnonzero(gap_bytes > MAX_GAP_BYTES) + 1)
        if sum(int(run[-1] - run[0]) + 1 for run in runs) > MIN_SHARE_TO_READ_ALL * shape[0]:
            runs = [unique_rows]
        starts, ends = [int(run[0]) * row_bytes for run in runs], [(int(run[-1]) + 1) * row_bytes for run in runs]
        contents = self.bucket.read_ranges(file, starts, ends)
        blocks = [np.frombuffer(content, dtype=dtype).reshape(-1, shape[1]) for content in contents]
        run_rows = [block[run - run[0]] for block, run in zip(blocks, runs, strict=True)]
        yield np.concatenate(run_rows)[positions]

    def publish(self, segment: str, files: Files) -> None:
        """Write a segment's objects, its ``zarr.json`` last.

        Raises
        ------
        FileNotFoundError
            somebody has removed the store meanwhile.
        """
        objects = {f"{segment}/{name}": content for name, content in files.items() if name != METADATA_FILE}
        start = time.time()
        self.bucket.put(objects)
        # This machine may have slept for so long that others removed the objects as those of a killed writer.
        if time.time() - start > LEASE_S / 2:
            self.bucket.put(objects)
        self.bucket.put({f"{segment}/{METADATA_FILE}": files[METADATA_FILE]})
        if self.bucket.info(METADATA_FILE) is None:
            self.remove_segment(segment)
            raise FileNotFoundError(f"{self.place}/{METADATA_FILE}")

    def remove_segment(self, segment: str) -> None:
        """Delete a segment's ``zarr.json``, then its other objects."""
        metadata = f"{segment}/{METADATA_FILE}"
        names = [name for name in self.bucket.list_objects() if name.startswith(f"{segment}/")]
        self.bucket.delete([metadata, *(name for name in names if name != metadata)])

    def remove(self) -> None:
        """Remove the whole store, segment by segment and its header last, so that the rest is a store meanwhile."""
        for segment in complete_segments(self.bucket.list_objects()):
            self.remove_segment(segment)
        names = [name for name in self.bucket.list_objects() if name != METADATA_FILE]
        self.bucket.delete([METADATA_FILE, *names])

    def replace_header(self, header: bytes) -> None:
        """Write the store's own ``zarr.json`` again."""
        self.bucket.put({METADATA_FILE: header})

    def file_sizes(self) -> Iterator[tuple[str, int]]:
        """Yield all objects with their sizes in bytes."""
        for name, info in self.bucket.list_objects().items():
            yield name, int(info["size"])

    def modified_s(self) -> float:
        """Return when an object was last written, in seconds since 1970; 0 for a store without objects."""
        return max(map(modified_s_of, self.bucket.list_objects().values()), default=0.0)


class ObjectStores:
    """The stores below a URL."""

    def __init__(self, place: str) -> None:
        self.bucket = Bucket(place)
        self.place = self.bucket.place

    def segment_stores(self) -> list[SegmentStore] | None:
        """Return all stores, sorted by name; None where there is no object."""
        names = self.bucket.list_folders()
        if names is None:
            return None
        return [ObjectSegmentStore(f"{self.place}/{name}") for name in names if is_store_name(name)]

    def leftovers(self) -> list[Leftover]:
        """Return what killed writers left: those whose newest object is older than `LEASE_S`."""
        infos = self.bucket.list_objects()
        stores = {name.partition("/")[0] for name in infos if is_store_name(name.partition("/")[0])}
        groups = {name: [name] for name in infos if CLOCK_NAME.fullmatch(name)}
        for store in stores:
            store_infos = {
                name.removeprefix(f"{store}/"): info for name, info in infos.items() if name.startswith(f"{store}/")
            }
            groups |= {
                f"{store}/{segment}": [f"{store}/{name}" for name in names]
                for segment, names in unfinished_segments(store_infos).items()
            }
        if not groups:
            return []
        now_s = self.bucket.current_time_s()
        dead_groups = {
            group: names
            for group, names in groups.items()
            if now_s - max(modified_s_of(infos[name]) for name in names) > LEASE_S
        }
        return [self._leftover(group, names, infos) for group, names in sorted(dead_groups.items())]

    def _leftover(self, group: str, names: list[str], infos: dict[str, dict[str, Any]]) -> Leftover:
        def remove() -> None:
            # The writer may have completed its segment meanwhile.
            if self.bucket.info(f"{group}/{METADATA_FILE}") is None:
                self.bucket.delete(names)

        return Leftover(group, sum(int(infos[name]["size"]) for name in names), remove)


def is_store_name(name: str) -> bool:
    """Return whether a folder has the name of a store."""
    return name.endswith(STORE_SUFFIX) and not name.startswith(".")


def is_in_segment(name: str) -> bool:
    """Return whether an object belongs to a segment."""
    segment, _, member_name = name.partition("/")
    return bool(member_name) and SEGMENT_NAME.fullmatch(segment) is not None


def complete_segments(objects: dict[str, dict[str, Any]]) -> list[str]:
    """Return the segments among a store's objects that have a ``zarr.json``, sorted."""
    parts = (name.split("/") for name in objects)
    return sorted(
        path[0] for path in parts if len(path) == 2 and SEGMENT_NAME.fullmatch(path[0]) and path[1] == METADATA_FILE
    )


def unfinished_segments(objects: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Return the segments without a ``zarr.json`` among a store's objects: segment → its objects."""
    complete, groups = set(complete_segments(objects)), dict[str, list[str]]()
    for name in objects:
        segment = name.partition("/")[0]
        if is_in_segment(name) and segment not in complete:
            groups.setdefault(segment, []).append(name)
    return groups
