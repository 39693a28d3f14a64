"""Train rows that stay in the store, and are read block by block as often as they are needed."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from featx.errors import IncompleteError
from featx.storage.segments import as_keys, as_text
from featx.storage.store import EmbeddingStore

BLOCK_BYTES = 2 << 20
SLICE = 1 << 16  # digests that are taken over at once: as text they are many times as large
CHUNK_ROWS = 32  # that stay together when rows are shuffled: what is read from a disk at once

Rows = NDArray[np.integer]
Matrix = NDArray[np.float32]


class StoredRows:
    """The vectors of some images in one or more stores, side by side.

    Parameters
    ----------
    stores
        Whose vectors stand side by side.
    digests
        Of the n images.

    Raises
    ------
    IncompleteError
        some are not in a store.
    """

    def __init__(self, stores: Sequence[EmbeddingStore], digests: Sequence[str]) -> None:
        self._stores = stores
        self._keys = np.empty(len(digests), dtype="S16")
        for start in range(0, len(digests), SLICE):
            self._keys[start : start + SLICE] = as_keys(digests[start : start + SLICE])
        places = [_places(store, self._keys) for store in stores]
        for store, place in zip(stores, places, strict=True):
            if n_lost := int((place < 0).sum()):
                raise IncompleteError(f"{n_lost} of {len(digests)} images are not in {store}; run 'featx extract'")
        self._order = np.argsort(places[0], kind="stable").astype(np.int32)
        self.n_features = sum(store.n_features for store in stores)

    def __len__(self) -> int:
        return len(self._keys)

    def x(self, at: Rows) -> Matrix:
        """Return (len(at), d)."""
        digests = as_text(self._keys[at])
        found = [store.read(digests) for store in self._stores]
        return np.hstack(found, dtype=np.float32) if len(found) > 1 else found[0].astype(np.float32, copy=False)

    def blocks(self, n_bytes: int = BLOCK_BYTES) -> Iterator[tuple[Rows, Matrix]]:
        """Yield all row numbers and their vectors, segment by segment, about so many bytes at once."""
        n_rows = self._rows_in(n_bytes)
        for start in range(0, len(self), n_rows):
            at = self._order[start : start + n_rows]
            yield at, self.x(at)

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[Rows, Matrix]]:
        """Yield all rows in an order that mixes them: stores are filled folder by folder, often class by class."""
        chunks = [self._order[start : start + CHUNK_ROWS] for start in range(0, len(self), CHUNK_ROWS)]
        mixed = rng.permutation(len(chunks))
        each = self._rows_in(BLOCK_BYTES) // CHUNK_ROWS
        for start in range(0, len(chunks), each):
            at = np.concatenate([chunks[number] for number in mixed[start : start + each]])
            x = self.x(at)
            within = rng.permutation(len(at))
            yield at[within], x[within]

    def _rows_in(self, n_bytes: int) -> int:
        return max(CHUNK_ROWS, n_bytes // (4 * self.n_features) // CHUNK_ROWS * CHUNK_ROWS)


def _places(store: EmbeddingStore, keys: NDArray[np.bytes_]) -> Rows:
    """Return the place of each row in a store; -1 where it is not there."""
    sorted_at = np.argsort(keys, kind="stable")
    ordered = keys[sorted_at]
    place = np.full(len(keys), -1)
    begin = 0
    for segment in store.segments:
        low = np.searchsorted(ordered, segment.keys)
        high = np.searchsorted(ordered, segment.keys, side="right")
        for copy in range(int((high - low).max(initial=0))):  # equal images stand in several rows
            here = np.flatnonzero(low + copy < high)
            place[sorted_at[low[here] + copy]] = begin + here
        begin += len(segment.keys)
    return place
