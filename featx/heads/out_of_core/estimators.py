"""Estimators that learn from rows in passes over the store: linear ones by minibatches, trees from binned pages.

What comes out is scikit-learn's and XGBoost's own, as if it had been fitted in memory.
"""

import ctypes
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import Pipeline

from featx.heads.out_of_core.stored_rows import StoredRows
from featx.heads.scaling import Params, scaler, unscaled
from featx.heads.search.regularisation_paths import training_options

EPOCHS = 8  # of a linear head; the weights are averaged over all but the first
STEP = 25.0  # at first, in units of 1 / the rows' mean squared length; later ones shrink with the root of their number
PAGE_BYTES = 8 << 20  # of rows that are binned at once; XGBoost keeps a partition of its own for each page of bins
BINNED_BY = 4096  # rows whose quantiles are the edges of bins: XGBoost's sketch of all rows takes far more memory


@dataclass(frozen=True)
class Course:
    """What is to be learnt.

    Attributes
    ----------
    y
        (n,) codes of k classes.
    weights
        (n,) how much each row counts; None where all count the same.
    sets
        (s, n) whose rows each of s models learns from.
    """

    rows: StoredRows
    y: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    sets: NDArray[np.bool_]
    n_classes: int

    def weights_of(self, at: NDArray[np.integer]) -> NDArray[np.float64] | None:
        """Return the weights of some rows."""
        return None if self.weights is None else self.weights[at]


InPasses = Callable[[Params, Course], Sequence[Pipeline]]


def linear(params: Params, course: Course, *, build: Callable[[Params], Pipeline], seed: int) -> list[Pipeline]:
    """Return a linear classifier for each set of rows, all of them learnt in the same passes.

    Scaling is learnt in a first pass; in the others each block is one step of all models.
    """
    scalers = _fitted_scalers(params, course)
    models: list[SGDClassifier] = [build(params).steps[-1][1] for _ in course.sets]
    for model, mine, length in zip(models, course.sets, _mean_squared_lengths(scalers, course), strict=True):
        # averaged from the second pass on; with scikit-learn's usual steps some orders of rows cost .007 in accuracy
        model.set_params(average=int(mine.sum()), learning_rate="invscaling", power_t=0.5, eta0=STEP / (length or 1.0))
    rng, classes = np.random.default_rng(seed), np.arange(course.n_classes)
    for _ in range(EPOCHS):
        for at, x in course.rows.shuffled(rng):
            for model, scale, mine in zip(models, scalers, course.sets[:, at], strict=True):
                if mine.any():
                    model.partial_fit(
                        scale.transform(x[mine]), course.y[at[mine]], classes, course.weights_of(at[mine])
                    )
    return [Pipeline([("scale", scale), ("clf", model)]) for scale, model in zip(scalers, models, strict=True)]


def _fitted_scalers(params: Params, course: Course) -> list[Any]:
    """Return a scaler for each set of rows; those that learn something do so in one pass."""
    scalers = [scaler(params, (len(course.y), course.rows.n_features)) for _ in course.sets]
    if params["scaling"] != "standard":
        return [scale.fit(course.rows.x(np.arange(1))) for scale in scalers]
    for at, x in course.rows.blocks():
        for scale, mine in zip(scalers, course.sets[:, at], strict=True):
            if mine.any():
                scale.partial_fit(x[mine])
    return scalers


def _mean_squared_lengths(scalers: Sequence[Any], course: Course) -> NDArray[np.float64]:
    """Return the mean squared length of each set's scaled rows, in one pass."""
    totals = np.zeros(len(course.sets))
    for at, x in course.rows.blocks():
        for number, (scale, mine) in enumerate(zip(scalers, course.sets[:, at], strict=True)):
            if mine.any():
                totals[number] += np.square(scale.transform(x[mine]), dtype=np.float64).sum()
    return np.asarray(totals / course.sets.sum(1))


def trees(params: Params, course: Course, *, build: Callable[[Params], Any], seed: int) -> list[Pipeline]:
    """Return boosted trees for each set of rows.

    The edges of bins are the quantiles of some of the rows; all are binned block by block, and the bins kept on disk.
    """
    import xgboost as xgb

    found = []
    for mine in course.sets:
        model = build(params)
        options = training_options(model, "classes", course.n_classes)
        bins = model.get_params()["max_bin"]
        with tempfile.TemporaryDirectory() as folder:
            batches = _batches(course, mine, Path(folder, "bins"))
            some, threads = _some(mine, seed), options["nthread"]
            x, weights = course.rows.x(some), course.weights_of(some)
            edges = xgb.QuantileDMatrix(x, weight=weights, max_bin=bins, nthread=threads)
            binned = xgb.ExtMemQuantileDMatrix(batches, max_bin=bins, ref=edges, nthread=threads)
            give_back()
            grown = xgb.train(options, binned, params["n_estimators"])
            del binned, batches, edges, x
        give_back()
        model.set_params(n_jobs=1).load_model(grown.save_raw("ubj"))
        found.append(Pipeline([("scale", unscaled().fit(course.rows.x(np.arange(1)))), ("clf", model)]))
    return found


def give_back() -> None:
    """Hand freed memory back to the system, which glibc would keep for each thread that has used it."""
    with suppress(OSError, AttributeError):  # another system's library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _some(mine: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Return the numbers of some rows of a set."""
    rows = np.flatnonzero(mine)
    return np.random.default_rng(seed).choice(rows, min(BINNED_BY, len(rows)), replace=False)


def _batches(course: Course, mine: NDArray[np.bool_], files: Path) -> Any:
    """Return what hands XGBoost the rows of a set, block by block, as often as it asks."""
    import xgboost as xgb

    class Batches(xgb.DataIter):
        def __init__(self) -> None:
            self._blocks = course.rows.blocks(PAGE_BYTES)
            super().__init__(cache_prefix=str(files), release_data=True)

        def reset(self) -> None:
            self._blocks = course.rows.blocks(PAGE_BYTES)

        def next(self, input_data: Callable[..., Any]) -> bool:
            for at, x in self._blocks:
                here = mine[at]
                if here.any():
                    rows = at[here]
                    input_data(data=x[here], label=course.y[rows], weight=course.weights_of(rows))
                    return True
            return False

    return Batches()
