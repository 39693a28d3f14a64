"""What an extraction will write, said before it begins, and refused where the disk does not hold it."""

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from featx.errors import StoreError
from featx.progress import ProgressCallback
from featx.storage.places import CachePlace
from featx.storage.store import EmbeddingStore

ROW_BYTES = 20  # beside the vector: a digest and a checksum


def check_space(
    stores: Sequence[EmbeddingStore], digests: Iterable[str], cache: CachePlace, progress: ProgressCallback
) -> None:
    """Say how much is to be written and how much there is room for.

    Raises
    ------
    StoreError
        the cache may only be read, or it does not fit; names the widest embedding.
    """
    every = list(digests)
    sizes = [_bytes(len(store.missing(every)), store.n_features * store.dtype.itemsize) for store in stores]
    needed = sum(sizes)
    if not needed:
        return
    if cache.folder is not None and not os.access(nearest(cache.folder), os.W_OK):
        raise StoreError(
            f"{cache} may only be read, and lacks {gigabytes(needed)} of vectors: name another cache (paths.cache), or "
            "change its permissions"
        )
    free = room_bytes(cache)
    if needed > free:
        widest = stores[sizes.index(max(sizes))]
        raise StoreError(
            f"the vectors take {gigabytes(needed)}, {gigabytes(free)} are free for {cache}; the widest are of "
            f"{widest.spec.backbone}/{widest.spec.tap}/{widest.spec.pool}, d {widest.n_features}: pool them, or name "
            "another cache (paths.cache)"
        )
    left = "an object store has room" if free == math.inf else f"{gigabytes(free)} are free"
    progress("room", 1, 1, f"{gigabytes(needed)} of vectors; {left}")


def room_bytes(cache: CachePlace) -> float:
    """Return how much a cache has room for: what its disk has left, and without end in an object store."""
    return math.inf if cache.folder is None else free_bytes(cache.folder)


def free_bytes(folder: Path) -> int:
    """Return how much the disk has left that holds a folder, or will."""
    return shutil.disk_usage(nearest(folder)).free


def nearest(folder: Path) -> Path:
    """Return a folder, or what of its parents is there already."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())


def _bytes(n_rows: int, vector_bytes: int) -> int:
    return n_rows * (vector_bytes + ROW_BYTES)


def gigabytes(n_bytes: float) -> str:
    """Write a number of bytes for people.

    Examples
    --------
    >>> gigabytes(1_300_000_000), gigabytes(13_000_000)
    ('1.3 GB', '13.0 MB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
