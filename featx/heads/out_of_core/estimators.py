"""Estimators fitted in passes over the store: linear ones by minibatches, trees from binned pages.

The results are scikit-learn's and XGBoost's own objects, as after a fit in memory.
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

from featx.heads.out_of_core.stored_rows import RowNumbers, StoredRows
from featx.heads.scaling import Params, identity_transformer, make_scaler
from featx.heads.search.regularisation_paths import training_options
from featx.tables.ids import Floats

# Passes of a linear head; its weights are averaged over all but the first.
N_EPOCHS = 8
# First step in units of 1 / the rows' mean squared length; later steps shrink with the square root of their number.
INITIAL_STEP = 25.0
# Bytes of rows that are binned together; XGBoost keeps a partition of its own for each page of bins.
PAGE_BYTES = 8 << 20
# Rows whose quantiles are the edges of the bins; XGBoost's sketch of all rows takes far more memory.
MAX_ROWS_FOR_BIN_EDGES = 4096


@dataclass(frozen=True)
class OutOfCoreData:
    """Rows in the store with their classes, and the sets of rows that several models are fitted on.

    Attributes
    ----------
    rows
        Vectors of the n rows.
    y
        (n,) codes of k classes.
    weights
        (n,) sample weights; None if all are equal.
    sets
        (s, n) whether each of s models is fitted on the row.
    n_classes
        Number of classes k.
    """

    rows: StoredRows
    y: NDArray[np.int64]
    weights: Floats | None
    sets: NDArray[np.bool_]
    n_classes: int

    def weights_of(self, row_numbers: RowNumbers) -> Floats | None:
        """Return the sample weights of the rows with these numbers; None if all are equal."""
        return None if self.weights is None else self.weights[row_numbers]


OutOfCoreFit = Callable[[Params, OutOfCoreData], Sequence[Pipeline]]


def fit_linear(
    params: Params, data: OutOfCoreData, *, build: Callable[[Params], Pipeline], seed: int
) -> list[Pipeline]:
    """Return a linear classifier for each set of rows; all are fitted in the same passes.

    Scaling is fitted in a first pass; in the others each block is one step of all models.
    """
    scalers = _fit_scalers(params, data)
    models: list[SGDClassifier] = [build(params).steps[-1][1] for _ in data.sets]
    for model, set_mask, length in zip(models, data.sets, _mean_squared_lengths(scalers, data), strict=True):
        # Weights are averaged from the second pass on. With scikit-learn's default steps some orders of the rows cost
        # .007 in accuracy.
        model.set_params(
            average=int(set_mask.sum()), learning_rate="invscaling", power_t=0.5, eta0=INITIAL_STEP / (length or 1.0)
        )
    rng, classes = np.random.default_rng(seed), np.arange(data.n_classes)
    for _ in range(N_EPOCHS):
        for row_numbers, x in data.rows.shuffled(rng):
            for model, scaler, set_mask in zip(models, scalers, data.sets[:, row_numbers], strict=True):
                if set_mask.any():
                    set_rows = row_numbers[set_mask]
                    weights = data.weights_of(set_rows)
                    model.partial_fit(scaler.transform(x[set_mask]), data.y[set_rows], classes, weights)
    return [Pipeline([("scale", scaler), ("clf", model)]) for scaler, model in zip(scalers, models, strict=True)]


def _fit_scalers(params: Params, data: OutOfCoreData) -> list[Any]:
    """Return a fitted scaler for each set of rows; standard scaling takes one pass."""
    scalers = [make_scaler(params, (len(data.y), data.rows.n_features)) for _ in data.sets]
    if params["scaling"] not in ("standard", "standard_l2"):
        return [scaler.fit(data.rows.read(np.arange(1))) for scaler in scalers]
    # Of "standard_l2", only the first step learns.
    base_scalers = [scaler[0] if isinstance(scaler, Pipeline) else scaler for scaler in scalers]
    for row_numbers, x in data.rows.blocks():
        for scaler, set_mask in zip(base_scalers, data.sets[:, row_numbers], strict=True):
            if set_mask.any():
                scaler.partial_fit(x[set_mask])
    return scalers


def _mean_squared_lengths(scalers: Sequence[Any], data: OutOfCoreData) -> Floats:
    """Return the mean squared length of the scaled rows of each set, computed in one pass."""
    totals = np.zeros(len(data.sets))
    for row_numbers, x in data.rows.blocks():
        for number, (scaler, set_mask) in enumerate(zip(scalers, data.sets[:, row_numbers], strict=True)):
            if set_mask.any():
                totals[number] += np.square(scaler.transform(x[set_mask]), dtype=np.float64).sum()
    return np.asarray(totals / data.sets.sum(1))


def fit_trees(params: Params, data: OutOfCoreData, *, build: Callable[[Params], Any], seed: int) -> list[Pipeline]:
    """Return boosted trees for each set of rows.

    The edges of the bins are quantiles of a sample of the rows; all rows are binned block by block into a temporary
    folder.
    """
    return [_fit_trees(build(params), params["n_estimators"], data, set_mask, seed) for set_mask in data.sets]


def _fit_trees(model: Any, n_rounds: int, data: OutOfCoreData, set_mask: NDArray[np.bool_], seed: int) -> Pipeline:
    import xgboost as xgb

    options = training_options(model, "classes", data.n_classes)
    max_bin, n_threads = model.get_params()["max_bin"], options["nthread"]
    with tempfile.TemporaryDirectory() as folder:
        batches = _batches(data, set_mask, Path(folder, "bins"))
        sample = _sample_rows(set_mask, seed)
        x, weights = data.rows.read(sample), data.weights_of(sample)
        edges = xgb.QuantileDMatrix(x, weight=weights, max_bin=max_bin, nthread=n_threads)
        binned_data = xgb.ExtMemQuantileDMatrix(batches, max_bin=max_bin, ref=edges, nthread=n_threads)
        release_memory()
        booster = xgb.train(options, binned_data, n_rounds)
        del binned_data, batches, edges, x
    release_memory()
    model.set_params(n_jobs=1).load_model(booster.save_raw("ubj"))
    return Pipeline([("scale", identity_transformer().fit(data.rows.read(np.arange(1)))), ("clf", model)])


def release_memory() -> None:
    """Return freed memory to the operating system; glibc would keep it for each thread that has used it."""
    # Systems with another C library have no malloc_trim.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _sample_rows(set_mask: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Return the numbers of randomly chosen rows of a set."""
    rows = np.flatnonzero(set_mask)
    return np.random.default_rng(seed).choice(rows, min(MAX_ROWS_FOR_BIN_EDGES, len(rows)), replace=False)


def _batches(data: OutOfCoreData, set_mask: NDArray[np.bool_], cache_prefix: Path) -> Any:
    """Return an iterator that passes the rows of a set to XGBoost block by block, as often as it needs them."""
    import xgboost as xgb

    class Batches(xgb.DataIter):
        def __init__(self) -> None:
            self._blocks = data.rows.blocks(PAGE_BYTES)
            super().__init__(cache_prefix=str(cache_prefix), release_data=True)

        def reset(self) -> None:
            self._blocks = data.rows.blocks(PAGE_BYTES)

        def next(self, input_data: Callable[..., Any]) -> bool:
            for row_numbers, x in self._blocks:
                block_mask = set_mask[row_numbers]
                if block_mask.any():
                    rows = row_numbers[block_mask]
                    input_data(data=x[block_mask], label=data.y[rows], weight=data.weights_of(rows))
                    return True
            return False

    return Batches()
