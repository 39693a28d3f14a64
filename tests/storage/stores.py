"""Small stores for tests, with rows of three numbers and counting digests."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync

from featx.files.atomic import machine_id
from featx.locations import is_url
from featx.specs.embedding import EmbeddingSpec, Preprocessing
from featx.storage.segment_store import TRASH_NAME, LocalSegmentStore
from featx.storage.segments import digests_to_keys, encode_segment
from featx.storage.store import EmbeddingStore, segment_store_at

D = 3
DEVICE_ROWS = 8
SIZE = Preprocessing(size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SPEC = EmbeddingSpec(backbone="toy", weights_sha256="0" * 64, tap="0.3", pool="avg", preprocessing=SIZE)


def open_toy_store(path: Path | str) -> EmbeddingStore:
    return EmbeddingStore(path, SPEC, D)


def make_rows(n: int, first: int = 0) -> tuple[list[str], NDArray[np.float32]]:
    """Return (n,) digests and (n, 3) rows that count from `first` on."""
    x = np.arange(first * D, (first + n) * D, dtype=np.float32).reshape(n, D)
    return [f"{number:032x}" for number in range(first, first + n)], x


def make_store(path: Path | str, n: int = 6) -> EmbeddingStore:
    store = open_toy_store(path)
    store.add(*make_rows(n), DEVICE_ROWS, {})
    return store


def segments(store: EmbeddingStore) -> list[Path]:
    """Return the folders of a store's segments."""
    return sorted(Path(str(store)).glob("segment-*"))


def segment_names(store: EmbeddingStore) -> list[str]:
    """Return the names of the segments of a store on a disk or in a bucket."""
    return segment_store_at(str(store)).segment_names()


@contextmanager
def open_with_zarr(place: str) -> Iterator[zarr.Group]:
    """Open a store by zarr, without featx."""
    root = zarr.open_group(place, mode="r")
    yield root
    if is_url(place):  # zarr leaves the connection open
        sync(root.store.fs._s3.close())  # type: ignore[attr-defined]


def chunks(segment: Path) -> dict[str, Path]:
    """Return the files that hold a segment's arrays."""
    return {name: next(p for p in (segment / name / "c").rglob("*") if p.is_file()) for name in ("x", "digest", "crc")}


def dead_name(final: str) -> str:
    """Return a private name of a killed writer for `final`: with this process's id and another start time."""
    return f".{final}.{machine_id()}-{os.getpid()}-1-{uuid.uuid4().hex[:8]}"


def leave_incomplete_segment(path: Path, digests: list[str], x: NDArray[np.float32], n_files: int) -> None:
    """Write an incomplete segment like a writer that is killed after `n_files` files."""
    partial_path = path.parent / dead_name(path.name)
    _, files = encode_segment(digests_to_keys(digests), x, {"device_rows": DEVICE_ROWS})
    for name, content in list(files.items())[:n_files]:
        (partial_path / name).parent.mkdir(parents=True, exist_ok=True)
        (partial_path / name).write_bytes(content)


class KilledWriterError(Exception):
    """The simulated death of a writer."""


class DyingSegmentStore(LocalSegmentStore):
    """A folder whose process dies when it removes a segment, before or after the rename."""

    def __init__(self, path: Path, n_removals: int, *, leaves_trash: bool) -> None:
        super().__init__(path)
        self._n_removals = n_removals
        self._leaves_trash = leaves_trash

    def remove_segment(self, segment: str) -> None:
        if self._n_removals == 0:
            if self._leaves_trash:
                (self.path / segment).rename(self.path.parent / dead_name(f"{self.path.name}.{TRASH_NAME}"))
            raise KilledWriterError
        self._n_removals -= 1
        super().remove_segment(segment)
