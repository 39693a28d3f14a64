"""One fold of a search, and what its trials share: scaled features, kernels' inputs, neighbours, binned columns."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from featx.heads.rows import Fold, Lessons, TrainRows
from featx.heads.scaling import Params, fully_scaled

T = TypeVar("T")
Matrix = NDArray[np.float32]


class Shared:
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


class FoldWork:
    """One fold.

    Parameters
    ----------
    name
        Unlike that of any other fold with the same `shared`.

    Attributes
    ----------
    learn, held
        Rows that teach, n of them, and m that are asked for.
    lessons
        Of those that teach.
    """

    def __init__(self, name: Hashable, rows: TrainRows, fold: Fold, shared: Shared) -> None:
        self.learn, self.held = (rows.take(at) for at in fold)
        self.lessons: Lessons = self.learn.lessons()
        self._name = name
        self._shared = shared

    def keep(self, what: Any, make: Callable[[], tuple[T, int]]) -> T:
        """Return what trials share of this fold under the name `what`."""
        return self._shared.get((self._name, what), make)

    def lent(self, shape: tuple[int, ...], dtype: type) -> AbstractContextManager[NDArray[Any]]:
        """See `Shared.lent`."""
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

    def products(self, params: Params) -> tuple[Matrix, Matrix]:
        """Return (n, n) and (m, n) dot products of scaled rows."""

        def make() -> tuple[tuple[Matrix, Matrix], int]:
            learn, held = self.scaled(params)
            both = learn @ learn.T, held @ learn.T
            return both, sum(one.nbytes for one in both)

        return self.keep(("products", params["scaling"], params.get("components")), make)

    def squared_distances(self, params: Params) -> tuple[Matrix, Matrix]:
        """Return (n, n) and (m, n) squared Euclidean distances of scaled rows."""

        def make() -> tuple[tuple[Matrix, Matrix], int]:
            learn, held = self.scaled(params)
            of_learn, of_held = (np.einsum("ij,ij->i", x, x) for x in (learn, held))
            both = []
            for x, squares in ((learn, of_learn), (held, of_held)):
                apart = x @ learn.T
                apart *= -2
                apart += squares[:, None]
                apart += of_learn
                both.append(np.maximum(apart, 0, out=apart))
            np.fill_diagonal(both[0], 0)
            return (both[0], both[1]), sum(one.nbytes for one in both)

        return self.keep(("distances", params["scaling"], params.get("components")), make)
