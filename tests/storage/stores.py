"""Small stores for tests: rows of three numbers, digests that count."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync

from featx.files.atomic import machine
from featx.locations import is_url
from featx.specs.embedding import EmbeddingSpec, Preprocessing
from featx.storage.segments import as_keys, encoded
from featx.storage.shelves import TRASH, LocalSegmentStore
from featx.storage.store import EmbeddingStore, segment_store_at

D = 3
DEVICE_ROWS = 8
SIZE = Preprocessing(size_px=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SPEC = EmbeddingSpec(backbone="toy", weights_sha256="0" * 64, tap="0.3", pool="avg", preprocessing=SIZE)


def opened(path: Path | str) -> EmbeddingStore:
    return EmbeddingStore(path, SPEC, D)


def numbered(n: int, first: int = 0) -> tuple[list[str], NDArray[np.float32]]:
    """Return digests and rows of the numbers from `first` on."""
    x = np.arange(first * D, (first + n) * D, dtype=np.float32).reshape(n, D)
    return [f"{at:032x}" for at in range(first, first + n)], x


def filled(path: Path | str, n: int = 6) -> EmbeddingStore:
    store = opened(path)
    store.add(*numbered(n), DEVICE_ROWS, {})
    return store


def segments(store: EmbeddingStore) -> list[Path]:
    """Return the folders of a store's segments as they are now."""
    return sorted(Path(str(store)).glob("segment-*"))


def segment_names(store: EmbeddingStore) -> list[str]:
    """Return the names of a store's segments as they are now, wherever it lies."""
    return segment_store_at(str(store)).segments()


@contextmanager
def by_plain_zarr(place: str) -> Iterator[zarr.Group]:
    """Open a store as anybody would who has zarr and no featx."""
    root = zarr.open_group(place, mode="r")
    yield root
    if is_url(place):  # zarr leaves the connection open
        sync(root.store.fs._s3.close())  # type: ignore[attr-defined]


def chunks(segment: Path) -> dict[str, Path]:
    """Return the files that hold a segment's arrays."""
    return {name: next(p for p in (segment / name / "c").rglob("*") if p.is_file()) for name in ("x", "digest", "crc")}


def dead_name(final: str) -> str:
    """Return the private name that a writer which died had for `final`: of this process's number, at another time."""
    return f".{final}.{machine()}-{os.getpid()}-1-{uuid.uuid4().hex[:8]}"


def left_by_dead_writer(path: Path, digests: list[str], x: NDArray[np.float32], n_files: int) -> None:
    """Leave a segment as a writer does that is killed after so many files, or before it could rename the folder."""
    private = path.parent / dead_name(path.name)
    _, files = encoded(as_keys(digests), x, {"device_rows": DEVICE_ROWS})
    for name, content in list(files.items())[:n_files]:
        (private / name).parent.mkdir(parents=True, exist_ok=True)
        (private / name).write_bytes(content)


class KilledError(Exception):
    """Stands for a process that ends in the middle."""


class DyingShelf(LocalSegmentStore):
    """A folder whose process dies as it takes a segment away: after so many others, and before or after the rename."""

    def __init__(self, path: Path, withdrawals: int, *, leaves_trash: bool) -> None:
        super().__init__(path)
        self._withdrawals = withdrawals
        self._leaves_trash = leaves_trash

    def withdraw(self, segment: str) -> None:
        if self._withdrawals == 0:
            if self._leaves_trash:
                (self.path / segment).rename(self.path.parent / dead_name(f"{self.path.name}.{TRASH}"))
            raise KilledError
        self._withdrawals -= 1
        super().withdraw(segment)
