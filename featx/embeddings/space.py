"""Size of the vectors that an extraction will write, compared with the free space before it begins."""

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from featx.errors import StoreError
from featx.progress import ProgressCallback
from featx.storage.places import CachePlace
from featx.storage.store import EmbeddingStore

# Bytes of a row beside its vector: a digest and a checksum.
ROW_BYTES = 20


def check_space(
    stores: Sequence[EmbeddingStore], digests: Iterable[str], cache: CachePlace, progress: ProgressCallback
) -> None:
    """Check that a cache is writable and has room for the vectors of some images, and report their size as progress.

    Raises
    ------
    StoreError
        the cache is read-only, or has too little room; the message names the embedding with the most features.
    """
    digests = list(digests)
    sizes = [len(store.missing(digests)) * (store.n_features * store.dtype.itemsize + ROW_BYTES) for store in stores]
    required_bytes = sum(sizes)
    if not required_bytes:
        return
    if cache.folder is not None and not os.access(_nearest_existing(cache.folder), os.W_OK):
        raise StoreError(
            f"{cache} is read-only, and {gigabytes(required_bytes)} of vectors are missing: choose another cache "
            "(paths.cache), or change its permissions"
        )
    free_bytes = room_bytes(cache)
    if required_bytes > free_bytes:
        widest_store = stores[sizes.index(max(sizes))]
        raise StoreError(
            f"the vectors need {gigabytes(required_bytes)}, but {cache} has {gigabytes(free_bytes)} of free space; the "
            f"largest embedding is {widest_store.spec.name} with {widest_store.n_features} "
            "features: use a pooling with fewer features, or another cache (paths.cache)"
        )
    free_text = "in an object store" if free_bytes == math.inf else f"{gigabytes(free_bytes)} free"
    progress("disk space", 1, 1, f"{gigabytes(required_bytes)} of vectors, {free_text}")


def room_bytes(cache: CachePlace) -> float:
    """Return the free bytes of a cache's disk; infinite for an object store."""
    return math.inf if cache.folder is None else free_bytes(cache.folder)


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that holds a folder, which need not exist yet."""
    return shutil.disk_usage(_nearest_existing(folder)).free


def _nearest_existing(folder: Path) -> Path:
    """Return a folder if it exists, else its nearest parent that does."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def gigabytes(n_bytes: float) -> str:
    """Write a number of bytes in GB or MB.

    Examples
    --------
    >>> gigabytes(1_300_000_000), gigabytes(13_000_000)
    ('1.3 GB', '13.0 MB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
