"""Parameters that are cheap to vary: each trial tries all values of one of them for little more than the cost of one.

A linear model is warm-started from stronger regularisation; fewer trees are a prefix of more; fewer neighbours are the
nearest of more. The matrix of a kernel is computed from distances that all trials share.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from featx.heads.learning_problems import PROBLEMS
from featx.heads.scaling import WITH_COMPONENTS, Params
from featx.heads.search.fold_cache import FoldCache, Matrix
from featx.heads.solvers import discriminant, newton
from featx.heads.solvers.principal_axes import PrincipalAxes
from featx.tables.ids import Floats, Kind

# Solver tolerances in the search. The best C is clear long before the solver has converged to the default tolerance; a
# support vector machine would spend a fifth of its time on one more digit.
LOGISTIC_SEARCH_TOLERANCE = 1e-3
SVM_SEARCH_TOLERANCE = 1e-2
# Values of a path without a better score after which a fold stops, where each value costs a fit.
PATH_PATIENCE = 4
HeldOutOutputs = Floats
Gamma = float | Literal["scale"]
PathPredictor = Callable[[Params, FoldCache, Sequence[Any]], Iterator[HeldOutOutputs]]


@dataclass(frozen=True)
class ParameterPath:
    """A parameter all of whose values are tried in each trial.

    Attributes
    ----------
    name
        Name of the parameter; empty if there is none, and a trial has one value.
    values
        Values tried in each trial, in the order in which they are cheap.
    predict_path
        Function that yields the outputs for a fold's held-out rows with each of the given values: (m, k) with the
        largest output for the predicted class, (m, t) labels in [0, 1], or (m, t) numbers. None if a Pipeline has to be
        fitted for each value.
    fold_bytes
        Function of n and m that returns the bytes that a fold of so many train and held-out rows needs in addition to
        its features; by default 0.
    patience
        Number of values without a better score after which a fold tries no more; None, the default, if later values
        cost nothing.
    is_cumulative
        Whether each value contains those before it, so that these cost nothing; by default False.
    """

    name: str
    values: tuple[Any, ...]
    predict_path: PathPredictor | None
    fold_bytes: Callable[[int, int], int] = lambda _n, _m: 0
    patience: int | None = None
    is_cumulative: bool = False


def kernel_bytes(n: int, m: int) -> int:
    """Return the bytes of distances in float32, and of a kernel in float64 and libsvm's copy of it."""
    return (4 + 8 + 8) * n * (n + m)


def distance_bytes(n: int, m: int) -> int:
    """Return the bytes of distances in float32."""
    return 4 * n * m


def logistic_path(
    params: Params, fold: FoldCache, values: Sequence[float], *, max_iter: int, seed: int
) -> Iterator[HeldOutOutputs]:
    """Yield the probabilities of a logistic regression for each C, in ascending order."""
    train_x, held_out_x = fold.scaled(params)
    data = fold.training_data
    x = train_x if len(data.row_numbers) == len(train_x) else train_x[data.row_numbers]
    if fold.held_out.targets.kind == "labels":
        axes = _principal_axes(params, fold, x, held_out_x)
        yield from newton.logistic_probabilities(axes, data.y, data.weights, values)
        return
    model = LogisticRegression(tol=LOGISTIC_SEARCH_TOLERANCE, warm_start=True, max_iter=max_iter, random_state=seed)
    for value in values:
        proba = model.set_params(C=value).fit(x, data.y, data.weights).predict_proba(held_out_x)
        yield np.asarray(proba, np.float64)


def _principal_axes(params: Params, fold: FoldCache, x: Matrix, held_out_x: Matrix) -> PrincipalAxes:
    def compute() -> tuple[PrincipalAxes, int]:
        axes = PrincipalAxes.from_features(x, held_out_x)
        return axes, axes.nbytes

    if params["scaling"] in WITH_COMPONENTS:
        return compute()[0]
    return fold.get_or_compute(("axes", params["scaling"]), compute)


def discriminant_path(params: Params, fold: FoldCache, values: Sequence[float]) -> Iterator[HeldOutOutputs]:
    """Yield the probabilities of linear discriminant analysis for each shrinkage, all from one decomposition."""
    train_x, held_out_x = fold.scaled(params)
    y, has_labels = fold.training_data.y, fold.held_out.targets.kind == "labels"
    axes = PrincipalAxes.from_features(train_x.astype(np.float64), held_out_x.astype(np.float64))
    targets = list(y.T) if has_labels else [y]
    for proba in discriminant.discriminant_probabilities(axes, targets, train_x.shape[1], values):
        yield np.ascontiguousarray(proba[:, :, 1].T) if has_labels else proba[0]


def ridge_path(params: Params, fold: FoldCache, values: Sequence[float], *, n_rows: int) -> Iterator[HeldOutOutputs]:
    """Yield the outputs of ridge regression for each alpha, in units of `n_rows`, all from one decomposition."""
    train_x, held_out_x = fold.scaled(params)
    data, targets = fold.training_data, fold.held_out.targets
    x = np.asarray(train_x[data.row_numbers], dtype=np.float64)
    y = np.asarray(targets.indicators(data.y, targets.n_outputs), dtype=np.float64)
    if targets.kind != "numbers":
        y = 2 * y - 1
    weights = np.ones(len(x)) if data.weights is None else data.weights
    mean, offset = np.average(x, axis=0, weights=weights), np.average(y, axis=0, weights=weights)
    root = np.sqrt(weights)[:, None]
    x, y = (x - mean) * root, (y - offset) * root
    is_wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if is_wide else x.T @ x
    eigenvalues, basis = eigh(gram, overwrite_a=True)
    projected_y = basis.T @ (y if is_wide else x.T @ y)
    projected_x = (held_out_x - mean) @ (x.T @ basis if is_wide else basis)
    for value in values:
        penalised_eigenvalues = np.maximum(eigenvalues, 0) + value * n_rows
        outputs = projected_x @ (projected_y / penalised_eigenvalues[:, None]) + offset
        yield np.asarray(expit(outputs) if targets.kind == "labels" else outputs)


def kernel_path(
    params: Params, fold: FoldCache, values: Sequence[Any], *, machine: Any, gamma: Gamma
) -> Iterator[HeldOutOutputs]:
    """Yield the outputs of a support vector machine whose kernel is computed from shared products or distances.

    Parameters
    ----------
    machine
        Unfitted machine with a precomputed kernel.
    gamma
        Gamma of an RBF kernel; ``scale`` for a linear one.
    """
    data, targets = fold.training_data, fold.held_out.targets
    problem = PROBLEMS[targets.kind]
    with _borrow_kernels(params, fold, gamma) as (train_kernel, held_out_kernel):
        if targets.shares is not None:
            rows = data.row_numbers
            train_kernel, held_out_kernel = train_kernel[np.ix_(rows, rows)], held_out_kernel[:, rows]
        fit = partial(_fit_machine, machine, train_kernel, data.weights)
        for _ in values:
            yield problem.predict_from_kernel(fit, data.y, held_out_kernel, targets.n_outputs)


def _fit_machine(machine: Any, kernel: HeldOutOutputs, weights: Floats | None, y: NDArray[Any]) -> Any:
    return machine.fit(kernel, y, weights)


@contextmanager
def _borrow_kernels(params: Params, fold: FoldCache, gamma: Gamma) -> Iterator[tuple[HeldOutOutputs, HeldOutOutputs]]:
    """Lend the kernels of the train and held-out rows in float64, because libsvm would copy float32."""
    n, m = len(fold.train), len(fold.held_out)
    with fold.borrow((n, n), np.float64) as train_kernel, fold.borrow((m, n), np.float64) as held_out_kernel:
        for held_out, matrix in ((False, train_kernel), (True, held_out_kernel)):
            if params["kernel"] == "linear":
                for rows, products in fold.pairwise_blocks(params, "products", held_out):
                    matrix[rows] = products
            else:
                assert not isinstance(gamma, str)
                for rows, distances in fold.pairwise_blocks(params, "distances", held_out):
                    matrix[rows] = np.exp(distances * np.float32(-gamma))
        yield train_kernel, held_out_kernel


def neighbours_path(params: Params, fold: FoldCache, values: Sequence[int]) -> Iterator[HeldOutOutputs]:
    """Yield the means over the nearest k rows, weighted by 1 / distance, for each k."""
    targets = fold.train.targets
    y = targets.indicators(targets.y, targets.n_outputs)
    blocks = fold.pairwise_blocks(params, "distances", held_out=True)
    yield from np.concatenate([_nearest_means(distances, y, values) for _, distances in blocks], axis=1)


def _nearest_means(distances: Matrix, y: NDArray[Any], values: Sequence[int]) -> HeldOutOutputs:
    """Return (v, m, k) means over the nearest rows for each of v numbers of them, from squared distances."""
    max_neighbours = min(max(values), distances.shape[1])
    nearest_rows = np.argpartition(distances, max_neighbours - 1, axis=1)[:, :max_neighbours]
    distances = np.take_along_axis(distances, nearest_rows, axis=1)
    order = np.argsort(distances, axis=1, kind="stable")
    nearest_rows, distances = (
        np.take_along_axis(nearest_rows, order, axis=1),
        np.take_along_axis(distances, order, axis=1),
    )
    with np.errstate(divide="ignore"):
        weights = 1 / np.sqrt(distances.astype(np.float64))
    # Rows at distance 0 are the only ones that count.
    weights = np.where(np.isinf(weights).any(1, keepdims=True), np.isinf(weights), weights)
    sums = np.cumsum(weights[:, :, None] * y[nearest_rows], axis=1)
    totals = np.cumsum(weights, axis=1)[:, :, None]
    return np.stack([(sums / totals)[:, min(value, max_neighbours) - 1] for value in values])


def forest_path(
    params: Params, fold: FoldCache, values: Sequence[int], *, build: Callable[[Params], Any]
) -> Iterator[HeldOutOutputs]:
    """Yield the outputs of the first trees of a forest for each number of trees."""
    data, targets = fold.training_data, fold.held_out.targets
    problem, forest = PROBLEMS[targets.kind], build(params | {"n_estimators": max(values)})
    forest.fit(fold.train.x[data.row_numbers], problem.fit_values(data.y), data.weights)
    total, n_summed = np.zeros((len(fold.held_out), targets.n_outputs)), 0
    for value in values:
        for tree in forest.estimators_[n_summed:value]:
            total += problem.tree_outputs(tree.tree_.predict(fold.held_out.x))
        n_summed = value
        yield total / n_summed


def boosting_path(
    params: Params, fold: FoldCache, values: Sequence[int], *, build: Callable[[Params], Any]
) -> Iterator[HeldOutOutputs]:
    """Yield the outputs of boosted trees after each number of rounds; columns are binned once for all trials of a fold.

    Rounds are grown when the next value is requested: the caller that scores the outputs decides, by the metric of the
    search and the weights of the rows, whether more rounds are worth their cost.
    """
    import xgboost as xgb

    model, data, targets = build(params), fold.training_data, fold.held_out.targets
    max_bin = model.get_params()["max_bin"]
    options = training_options(model, targets.kind, targets.n_outputs)

    def compute() -> tuple[Any, int]:
        x = fold.train.x[data.row_numbers]
        binned_data = xgb.QuantileDMatrix(x, data.y, weight=data.weights, max_bin=max_bin, nthread=options["nthread"])
        # A bin number takes at most two bytes.
        return binned_data, 2 * x.size

    binned_data = fold.get_or_compute("binned", compute)
    booster, margins, n_grown = xgb.Booster(options, [binned_data]), None, 0
    for value in values:
        for round_number in range(n_grown, value):
            booster.update(binned_data, round_number)
        # The held-out rows are in the memory of the CPU. The margins of the new trees are added to those before.
        with _on_cpu(booster, options["device"]):
            margins = booster.inplace_predict(
                fold.held_out.x, iteration_range=(n_grown, value), predict_type="margin", base_margin=margins
            )
        n_grown = value
        yield targets.from_logits(np.asarray(margins, np.float64).reshape(len(fold.held_out), -1))


@contextmanager
def _on_cpu(booster: Any, device: str) -> Iterator[None]:
    """Move a booster to the CPU for this block, and back to the device on which it is grown."""
    if device != "cpu":
        booster.set_param({"device": "cpu"})
    yield
    if device != "cpu":
        booster.set_param({"device": device})


def training_options(model: Any, kind: Kind, n_outputs: int) -> dict[str, Any]:
    """Return the settings of XGBoost's scikit-learn wrapper as options of its training function."""
    options = {name: value for name, value in model.get_xgb_params().items() if value is not None}
    options["nthread"] = options.pop("n_jobs", None) or 1
    options["seed"] = options.pop("random_state", 0)
    return options | PROBLEMS[kind].xgboost_objective(n_outputs)
