"""Small stores for tests: rows of three numbers, digests that count."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync

from featx.sources import is_url
from featx.specs import EmbeddingSpec, Preprocessing
from featx.storage.store import EmbeddingStore, shelf_at

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
    return shelf_at(str(store)).segments()


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
