"""One fold of a search and the arrays that its trials share: scaled features, pairwise products, distances, bins."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from featx.heads.folds import Fold, TrainingData, TrainRows
from featx.heads.scaling import WITH_COMPONENTS, Params, make_full_scaler, take_components

# To multiply so few columns costs less than to write the products to new memory.
MAX_COLUMNS_TO_RECOMPUTE = 256
# Pairs that are computed together, so that they stay in the processor's cache until they are used.
PAIRS_PER_BLOCK = 1 << 18
T = TypeVar("T")
PairMeasure = Literal["products", "distances"]
Matrix = NDArray[np.float32]


class SharedArrays:
    """A thread-safe LRU cache of arrays that trials share, and a pool of buffers.

    Parameters
    ----------
    max_bytes
        Bytes that all cached values may take; the last one is kept even if it is larger.

    Attributes
    ----------
    max_bytes
        The parameter.
    peak_bytes
        Most bytes that the cached values have taken.
    """

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes = max_bytes
        self.peak_bytes = 0
        self._values: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._buffers: list[NDArray[Any]] = []
        self._lock = Lock()

    def get_or_compute(self, key: Any, compute: Callable[[], tuple[T, int]]) -> T:
        """Return the value of `key`; `compute` returns it and its number of bytes if it is not cached."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                cached_value: T = self._values[key][0]
                return cached_value
        value, n_bytes = compute()
        with self._lock:
            self._values[key] = (value, n_bytes)
            while len(self._values) > 1 and self._cached_bytes > self.max_bytes:
                self._values.popitem(last=False)
            self.peak_bytes = max(self.peak_bytes, self._cached_bytes)
        return value

    @contextmanager
    def borrow(self, shape: tuple[int, ...], dtype: type) -> Iterator[NDArray[Any]]:
        """Lend an uninitialised array for a block; new memory would take longer to touch than to fill with a kernel."""
        size = int(np.prod(shape))
        with self._lock:
            buffer_indices = [
                index for index, buffer in enumerate(self._buffers) if buffer.dtype == dtype and buffer.size >= size
            ]
            buffer = self._buffers.pop(buffer_indices[0]) if buffer_indices else np.empty(size, dtype)
        try:
            yield buffer[:size].reshape(shape)
        finally:
            with self._lock:
                self._buffers.append(buffer)

    @property
    def _cached_bytes(self) -> int:
        return sum(n_bytes for _, n_bytes in self._values.values())


class FoldCache:
    """The rows of one fold, and what the trials that are scored on it share.

    Parameters
    ----------
    name
        Name that differs from that of any other fold with the same `shared_arrays`.
    rows
        All rows that are divided into folds.
    fold
        Train and held-out row numbers.
    shared_arrays
        Cache of all folds.

    Attributes
    ----------
    train
        The n train rows; classes are sorted by code, the order in which libsvm reads them.
    held_out
        The m rows that are predicted.
    training_data
        Samples of the train rows to fit on.
    """

    def __init__(self, name: Hashable, rows: TrainRows, fold: Fold, shared_arrays: SharedArrays) -> None:
        train, held_out = fold
        if rows.targets.kind == "classes":
            train = train[np.argsort(rows.targets.y[train], kind="stable")]
        self.train, self.held_out = rows.take(train), rows.take(held_out)
        self.training_data: TrainingData = self.train.training_data()
        self._name = name
        self._shared = shared_arrays

    def get_or_compute(self, key: Any, compute: Callable[[], tuple[T, int]]) -> T:
        """Return the value of `key` for this fold; `compute` returns it and its bytes if it is not cached."""
        return self._shared.get_or_compute((self._name, key), compute)

    def borrow(self, shape: tuple[int, ...], dtype: type) -> AbstractContextManager[NDArray[Any]]:
        """Lend an uninitialised array for a block, as `SharedArrays.borrow` does."""
        return self._shared.borrow(shape, dtype)

    def scaled(self, params: Params) -> tuple[Matrix, Matrix]:
        """Return the (n, d) train and (m, d) held-out features, scaled by a scaler fitted on the former."""
        method = params["scaling"]
        if method == "none":
            return self.train.x, self.held_out.x

        def compute() -> tuple[tuple[Matrix, Matrix], int]:
            x = self.train.x if self.train.targets.shares is None else self.train.x[self.training_data.row_numbers]
            scaler = make_full_scaler(method, x.shape).fit(x)
            train, held_out = (
                np.ascontiguousarray(scaler.transform(rows.x), dtype=np.float32) for rows in (self.train, self.held_out)
            )
            return (train, held_out), train.nbytes + held_out.nbytes

        train, held_out = self.get_or_compute(("scaled", method), compute)
        return take_components(train, params), take_components(held_out, params)

    def pairwise_blocks(self, params: Params, measure: PairMeasure, held_out: bool) -> Iterator[tuple[slice, Matrix]]:
        """Yield slices of rows and the (b, n) products or distances of these rows and all train rows.

        Parameters
        ----------
        measure
            Dot products or squared Euclidean distances, both of scaled features.
        held_out
            Whether the rows are the held-out ones instead of the train rows.

        Notes
        -----
        Other trials reuse the result, except that of few columns, which is recomputed quickly, and that of principal
        components, because the next trial uses another number of them.
        """
        train, held_out_x = self.scaled(params)
        rows = held_out_x if held_out else train
        slices = list(gen_batches(len(rows), max(1, PAIRS_PER_BLOCK // len(train))))
        blocks = _pairwise_blocks(rows, train, measure, slices, is_train=not held_out)
        if params["scaling"] in WITH_COMPONENTS or train.shape[1] <= MAX_COLUMNS_TO_RECOMPUTE:
            yield from blocks
            return

        def compute() -> tuple[Matrix, int]:
            matrix = np.empty((len(rows), len(train)), np.float32)
            for block_rows, block in blocks:
                matrix[block_rows] = block
            return matrix, matrix.nbytes

        matrix = self.get_or_compute((measure, held_out, params["scaling"]), compute)
        for block_rows in slices:
            yield block_rows, matrix[block_rows]


def _pairwise_blocks(
    rows: Matrix, train: Matrix, measure: PairMeasure, slices: Sequence[slice], *, is_train: bool
) -> Iterator[tuple[slice, Matrix]]:
    row_squares, train_squares = (np.einsum("ij,ij->i", x, x) for x in (rows, train))
    for block_rows in slices:
        block = rows[block_rows] @ train.T
        if measure == "distances":
            block *= -2
            block += row_squares[block_rows, None]
            block += train_squares
            np.maximum(block, 0, out=block)
            if is_train:
                np.fill_diagonal(block[:, block_rows], 0)
        yield block_rows, block
