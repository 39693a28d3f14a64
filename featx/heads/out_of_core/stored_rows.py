"""Train rows that stay in the store and are read block by block, as often as they are needed."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from featx.errors import IncompleteError
from featx.storage.segments import digests_to_keys, keys_to_digests
from featx.storage.store import EmbeddingStore

BLOCK_BYTES = 2 << 20
# Digests are converted to keys in batches, because as text they are many times as large.
DIGESTS_PER_BATCH = 1 << 16
# Rows that stay together when rows are shuffled, because they are read from disk together.
CHUNK_ROWS = 32

RowNumbers = NDArray[np.integer]
Matrix = NDArray[np.float32]


class StoredRows:
    """Vectors of n images in one or more stores, concatenated along the features.

    Parameters
    ----------
    stores
        Stores whose vectors are concatenated.
    digests
        Digests of the n images.

    Raises
    ------
    IncompleteError
        A store lacks some of the images.
    """

    def __init__(self, stores: Sequence[EmbeddingStore], digests: Sequence[str]) -> None:
        self._stores = stores
        self._keys = np.empty(len(digests), dtype="S16")
        for start in range(0, len(digests), DIGESTS_PER_BATCH):
            self._keys[start : start + DIGESTS_PER_BATCH] = digests_to_keys(digests[start : start + DIGESTS_PER_BATCH])
        positions = [_store_positions(store, self._keys) for store in stores]
        for store, store_positions in zip(stores, positions, strict=True):
            if n_missing := int((store_positions < 0).sum()):
                raise IncompleteError(f"{n_missing} of {len(digests)} images are not in {store}; run 'featx extract'")
        self._order = np.argsort(positions[0], kind="stable").astype(np.int32)
        self.n_features = sum(store.n_features for store in stores)

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, row_numbers: RowNumbers) -> Matrix:
        """Return the (b, d) vectors of the rows with these numbers."""
        digests = keys_to_digests(self._keys[row_numbers])
        vectors = [store.read(digests) for store in self._stores]
        return np.hstack(vectors, dtype=np.float32) if len(vectors) > 1 else vectors[0].astype(np.float32, copy=False)

    def blocks(self, n_bytes: int = BLOCK_BYTES) -> Iterator[tuple[RowNumbers, Matrix]]:
        """Yield all row numbers and their vectors in the order of the segments, in blocks of about `n_bytes`."""
        n_rows = self._rows_per_block(n_bytes)
        for start in range(0, len(self), n_rows):
            row_numbers = self._order[start : start + n_rows]
            yield row_numbers, self.read(row_numbers)

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[RowNumbers, Matrix]]:
        """Yield all rows in shuffled blocks, because stores are filled folder by folder, often class by class."""
        chunks = [self._order[start : start + CHUNK_ROWS] for start in range(0, len(self), CHUNK_ROWS)]
        chunk_order = rng.permutation(len(chunks))
        chunks_per_block = self._rows_per_block(BLOCK_BYTES) // CHUNK_ROWS
        for start in range(0, len(chunks), chunks_per_block):
            row_numbers = np.concatenate([chunks[number] for number in chunk_order[start : start + chunks_per_block]])
            x = self.read(row_numbers)
            order = rng.permutation(len(row_numbers))
            yield row_numbers[order], x[order]

    def _rows_per_block(self, n_bytes: int) -> int:
        return max(CHUNK_ROWS, n_bytes // (4 * self.n_features) // CHUNK_ROWS * CHUNK_ROWS)


def _store_positions(store: EmbeddingStore, keys: NDArray[np.bytes_]) -> RowNumbers:
    """Return the position of each key in a store, counted over its segments; -1 if it is missing."""
    key_order = np.argsort(keys, kind="stable")
    sorted_keys = keys[key_order]
    positions = np.full(len(keys), -1)
    segment_start = 0
    for segment in store.segments:
        low = np.searchsorted(sorted_keys, segment.keys)
        high = np.searchsorted(sorted_keys, segment.keys, side="right")
        # Equal images occur in several rows.
        for copy in range(int((high - low).max(initial=0))):
            segment_rows = np.flatnonzero(low + copy < high)
            positions[key_order[low[segment_rows] + copy]] = segment_start + segment_rows
        segment_start += len(segment.keys)
    return positions
