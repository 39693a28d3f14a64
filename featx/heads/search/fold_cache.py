"""One fold of a search, and what its trials share: scaled features, kernels' inputs, neighbours, binned columns."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from featx.heads.folds import Fold, TrainingData, TrainRows
from featx.heads.scaling import Params, fully_scaled

FEW_COLUMNS = 256  # whose products cost less than touching fresh memory for them
NEAR_NUMBERS = 1 << 18  # of pairs that are made at once: they stay near the processor until they are made use of
T = TypeVar("T")
How = Literal["products", "distances"]
Matrix = NDArray[np.float32]


class SharedArrays:
    """Results that are kept for the next trial, those that were not used for longest given up first.

    Parameters
    ----------
    limit
        Bytes that they may take together.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.most = 0  # bytes that were kept at once
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._free: list[NDArray[Any]] = []
        self._lock = Lock()

    def get(self, key: Any, make: Callable[[], tuple[T, int]]) -> T:
        """Return what is kept under `key`; `make` returns it and its bytes where it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                kept: T = self._kept[key][0]
                return kept
        made, size = make()
        with self._lock:
            self._kept[key] = (made, size)
            while len(self._kept) > 1 and self._taken > self.limit:
                self._kept.popitem(last=False)
            self.most = max(self.most, self._taken)
        return made

    @contextmanager
    def lent(self, shape: tuple[int, ...], dtype: type) -> Iterator[NDArray[Any]]:
        """Lend an array of any content: to touch fresh memory takes longer than to fill it with a kernel."""
        size = int(np.prod(shape))
        with self._lock:
            fitting = [at for at, one in enumerate(self._free) if one.dtype == dtype and one.size >= size]
            flat = self._free.pop(fitting[0]) if fitting else np.empty(size, dtype)
        try:
            yield flat[:size].reshape(shape)
        finally:
            with self._lock:
                self._free.append(flat)

    @property
    def _taken(self) -> int:
        return sum(size for _, size in self._kept.values())


class FoldCache:
    """One fold.

    Parameters
    ----------
    name
        Unlike that of any other fold with the same `shared`.

    Attributes
    ----------
    learn, held
        Rows that teach, n of them, class by class as libsvm reads them; and m that are asked for.
    lessons
        Of those that teach.
    """

    def __init__(self, name: Hashable, rows: TrainRows, fold: Fold, shared: SharedArrays) -> None:
        learn, held = fold
        if rows.facts.kind == "classes":
            learn = learn[np.argsort(rows.facts.y[learn], kind="stable")]
        self.learn, self.held = rows.take(learn), rows.take(held)
        self.lessons: TrainingData = self.learn.lessons()
        self._name = name
        self._shared = shared

    def keep(self, what: Any, make: Callable[[], tuple[T, int]]) -> T:
        """Return what trials share of this fold under the name `what`."""
        return self._shared.get((self._name, what), make)

    def lent(self, shape: tuple[int, ...], dtype: type) -> AbstractContextManager[NDArray[Any]]:
        """See `SharedArrays.lent`."""
        return self._shared.lent(shape, dtype)

    def scaled(self, params: Params) -> tuple[Matrix, Matrix]:
        """Return (n, d) and (m, d) features as the setting's scaling, learnt from the former, makes them."""
        way = params["scaling"]
        if way == "none":
            return self.learn.x, self.held.x

        def make() -> tuple[tuple[Matrix, Matrix], int]:
            taught = self.learn.x if self.learn.facts.shares is None else self.learn.x[self.lessons.at]
            step = fully_scaled(way, taught.shape).fit(taught)
            both = tuple(np.ascontiguousarray(step.transform(x), dtype=np.float32) for x in (self.learn.x, self.held.x))
            return (both[0], both[1]), sum(one.nbytes for one in both)

        learn, held = self.keep(("scaled", way), make)
        if way == "pca":  # the first components of all are those of a smaller number
            return learn[:, : params["components"]], held[:, : params["components"]]
        return learn, held

    def pairs(self, params: Params, how: How, held: bool) -> Iterator[tuple[slice, Matrix]]:
        """Yield, for some rows after others, (rows, n) numbers for each of them with each row that teaches.

        Parameters
        ----------
        how
            Dot products or squared Euclidean distances, both of scaled features.
        held
            Of the held-out rows; otherwise of those that teach, with each other.

        Notes
        -----
        They are kept for other trials, but not those of few columns, which are soon made again, nor of principal
        components, of which the next trial takes another number.
        """
        learn, others = self.scaled(params)
        rows = others if held else learn
        steps = list(gen_batches(len(rows), max(1, NEAR_NUMBERS // len(learn))))
        fresh = _pairs(rows, learn, how, steps, itself=not held)
        if params["scaling"] == "pca" or learn.shape[1] <= FEW_COLUMNS:
            yield from fresh
            return

        def make() -> tuple[Matrix, int]:
            whole = np.empty((len(rows), len(learn)), np.float32)
            for step, some in fresh:
                whole[step] = some
            return whole, whole.nbytes

        whole = self.keep((how, held, params["scaling"]), make)
        for step in steps:
            yield step, whole[step]


def _pairs(
    rows: Matrix, learn: Matrix, how: How, steps: Sequence[slice], *, itself: bool
) -> Iterator[tuple[slice, Matrix]]:
    of_rows, of_learn = (np.einsum("ij,ij->i", x, x) for x in (rows, learn))
    for step in steps:
        some = rows[step] @ learn.T
        if how == "distances":
            some *= -2
            some += of_rows[step, None]
            some += of_learn
            np.maximum(some, 0, out=some)
            if itself:
                np.fill_diagonal(some[:, step], 0)
        yield step, some
