"""Settings that are cheap to vary: all values of one are tried in each trial, for little more than one of them costs.

The regularisation of a linear model is warm-started from the stronger one; fewer trees are a prefix of more; fewer
neighbours are the nearest of more. A kernel's matrix is made from distances that all trials share.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from featx.heads.scaling import Params
from featx.heads.search.fold_cache import FoldCache, Matrix
from featx.heads.solvers import discriminant, newton
from featx.heads.solvers.principal_axes import PrincipalAxes
from featx.tables.target_values import TargetValues

LOOSE = 1e-3  # tolerance of a solver in the search; which C is best shows long before the last digit
LOOSE_MACHINE = 1e-2  # the same of a support vector machine that guesses classes: a fifth of its time goes into a digit
SOON = 4  # values of a path that are no better: where each costs a fit, no more are tried
Outputs = NDArray[np.float64]
Gamma = float | Literal["scale"]
Along = Callable[[Params, FoldCache, Sequence[Any]], Iterator[Outputs]]


@dataclass(frozen=True)
class Path:
    """One cheap setting.

    Attributes
    ----------
    name
        Of the parameter; empty where there is none, and a trial has one value.
    values
        Tried in each trial, in the order in which they are cheap.
    along
        Yields what is answered for a fold's held-out rows with each of some values: (m, k) of classes, the guessed one
        or the likelier ones larger, (m, t) of labels in [0, 1], or (m, t) numbers.
    needs
        Bytes that a fold of n and m rows takes beside its features.
    patience
        Values without a better score after which a fold tries no more; None where the later ones cost nothing.
    cumulative
        Whether each value contains those before it, so that to try these costs nothing.
    """

    name: str
    values: tuple[Any, ...]
    along: Along
    needs: Callable[[int, int], int] = lambda _n, _m: 0
    patience: int | None = None
    cumulative: bool = False


def kernel_bytes(n: int, m: int) -> int:
    """Return what distances (float32) and a kernel (float64, and libsvm's copy) take."""
    return (4 + 8 + 8) * n * (n + m)


def distance_bytes(n: int, m: int) -> int:
    """Return what distances take."""
    return 4 * n * m


def logistic(
    params: Params, work: FoldCache, values: Sequence[float], *, most_steps: int, seed: int
) -> Iterator[Outputs]:
    """Yield a logistic regression's answers for each C, from the smallest on."""
    learn, held = work.scaled(params)
    lessons = work.lessons
    x = learn if len(lessons.at) == len(learn) else learn[lessons.at]
    if work.held.facts.kind == "labels":
        yield from newton.probabilities(_axes(params, work, x, held), lessons.y, lessons.weights, values)
        return
    model = LogisticRegression(tol=LOOSE, warm_start=True, max_iter=most_steps, random_state=seed)
    for value in values:
        yield np.asarray(model.set_params(C=value).fit(x, lessons.y, lessons.weights).predict_proba(held), np.float64)


def _axes(params: Params, work: FoldCache, x: Matrix, held: Matrix) -> PrincipalAxes:
    def make() -> tuple[PrincipalAxes, int]:
        axes = PrincipalAxes.of(x, held)
        return axes, axes.nbytes

    return make()[0] if params["scaling"] == "pca" else work.keep(("axes", params["scaling"]), make)


def discriminants(params: Params, work: FoldCache, values: Sequence[float]) -> Iterator[Outputs]:
    """Yield linear discriminant analysis's answers for each shrinkage, all from one decomposition."""
    learn, held = work.scaled(params)
    y, of_labels = work.lessons.y, work.held.facts.kind == "labels"
    axes = PrincipalAxes.of(learn.astype(np.float64), held.astype(np.float64))
    for found in discriminant.probabilities(axes, list(y.T) if of_labels else [y], learn.shape[1], values):
        yield np.ascontiguousarray(found[:, :, 1].T) if of_labels else found[0]


def ridge(params: Params, work: FoldCache, values: Sequence[float], *, n_rows: int) -> Iterator[Outputs]:
    """Yield ridge's answers for each alpha (in units of the number of rows), all from one decomposition."""
    learn, held = work.scaled(params)
    lessons, facts = work.lessons, work.held.facts
    y = _signed(lessons.y, facts.n_outputs) if facts.kind == "classes" else np.asarray(lessons.y, dtype=np.float64)
    y = 2 * y - 1 if facts.kind == "labels" else y
    x = np.asarray(learn[lessons.at], dtype=np.float64)
    w = np.ones(len(x)) if lessons.weights is None else lessons.weights
    at, offset = np.average(x, axis=0, weights=w), np.average(y, axis=0, weights=w)
    root = np.sqrt(w)[:, None]
    x, y = (x - at) * root, (y - offset) * root
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    spread, basis = eigh(gram, overwrite_a=True)
    inside = basis.T @ (y if wide else x.T @ y)
    outside = (held - at) @ (x.T @ basis if wide else basis)
    for value in values:
        found = outside @ (inside / (np.maximum(spread, 0) + value * n_rows)[:, None]) + offset
        yield _as_answers(found, facts.kind)


def _signed(codes: NDArray[Any], k: int) -> Outputs:
    return np.asarray(2.0 * np.eye(k)[codes] - 1)


def _as_answers(found: Outputs, kind: str) -> Outputs:
    """Return decisions about labels as numbers in [0, 1]; of classes the largest decides, numbers are themselves."""
    return np.asarray(expit(found) if kind == "labels" else found)


def kernel(params: Params, work: FoldCache, values: Sequence[Any], *, machine: Any, gamma: Gamma) -> Iterator[Outputs]:
    """Yield a support vector machine's answers, its kernel made from shared products or distances.

    Parameters
    ----------
    machine
        An unfitted one that takes a kernel's matrix.
    """
    with _kernels(params, work, gamma) as (learn, held):
        yield from _by_kernels(learn, held, work, values, machine)


def _by_kernels(
    learn: Outputs, held: Outputs, work: FoldCache, values: Sequence[Any], machine: Any
) -> Iterator[Outputs]:
    lessons, facts = work.lessons, work.held.facts
    if facts.shares is not None:
        learn, held = learn[np.ix_(lessons.at, lessons.at)], held[:, lessons.at]
    for _ in values:
        if facts.kind == "classes":
            guessed = machine.fit(learn, lessons.y, lessons.weights).predict(held)
            yield np.eye(facts.n_outputs)[guessed]
        elif facts.kind == "labels":
            each = [machine.fit(learn, y, lessons.weights).decision_function(held) for y in lessons.y.T]
            yield np.asarray(expit(np.stack(each, axis=1)))
        else:
            mean, spread = lessons.y.mean(0), np.where(lessons.y.std(0) > 0, lessons.y.std(0), 1.0)
            scaled = ((lessons.y - mean) / spread).T
            each = [machine.fit(learn, y, lessons.weights).predict(held) for y in scaled]
            yield np.stack(each, axis=1) * spread + mean


@contextmanager
def _kernels(params: Params, work: FoldCache, gamma: Gamma) -> Iterator[tuple[Outputs, Outputs]]:
    """Lend both matrices in float64, as libsvm takes them: in float32 they would be copied."""
    n, m = len(work.learn), len(work.held)
    with work.lent((n, n), np.float64) as of_learn, work.lent((m, n), np.float64) as of_held:
        for held, found in ((False, of_learn), (True, of_held)):
            if params["kernel"] == "linear":
                for rows, inner in work.pairs(params, "products", held):
                    found[rows] = inner
            else:
                assert not isinstance(gamma, str)
                for rows, apart in work.pairs(params, "distances", held):
                    found[rows] = np.exp(apart * np.float32(-gamma))
        yield of_learn, of_held


def neighbours(params: Params, work: FoldCache, values: Sequence[int]) -> Iterator[Outputs]:
    """Yield the answers of the nearest k rows, weighted by 1 / distance, for each k."""
    facts = work.held.facts
    targets = np.eye(facts.n_outputs)[work.learn.facts.y] if facts.kind == "classes" else work.learn.facts.y
    found = [_nearest(apart, targets, values) for _, apart in work.pairs(params, "distances", held=True)]
    yield from np.concatenate(found, axis=1)


def _nearest(apart: NDArray[np.float32], targets: NDArray[Any], values: Sequence[int]) -> Outputs:
    """Return (v, m, k) means over the nearest rows, for each number of them."""
    most = min(max(values), apart.shape[1])
    nearest = np.argpartition(apart, most - 1, axis=1)[:, :most]
    inside = np.take_along_axis(apart, nearest, axis=1)
    order = np.argsort(inside, axis=1, kind="stable")
    nearest, inside = np.take_along_axis(nearest, order, axis=1), np.take_along_axis(inside, order, axis=1)
    with np.errstate(divide="ignore"):
        near = 1 / np.sqrt(inside.astype(np.float64))
    near = np.where(np.isinf(near).any(1, keepdims=True), np.isinf(near), near)  # an equal row decides alone
    summed = np.cumsum(near[:, :, None] * targets[nearest], axis=1)
    whole = np.cumsum(near, axis=1)[:, :, None]
    return np.stack([(summed / whole)[:, min(value, most) - 1] for value in values])


def forest(
    params: Params, work: FoldCache, values: Sequence[int], *, build: Callable[[Params], Any]
) -> Iterator[Outputs]:
    """Yield a forest's answers with each number of trees: those of its first ones."""
    lessons, facts = work.lessons, work.held.facts
    grown = build(params | {"n_estimators": max(values)})
    y = lessons.y[:, 0] if facts.kind == "numbers" and lessons.y.shape[1] == 1 else lessons.y
    grown.fit(work.learn.x[lessons.at], y, lessons.weights)
    total, done = np.zeros((len(work.held), facts.n_outputs)), 0
    for value in values:
        for tree in grown.estimators_[done:value]:
            found = tree.tree_.predict(work.held.x)  # (m, k) shares of classes; (m, t, 2) of labels; (m, 1 or t, 1)
            total += found[:, :, 1] if facts.kind == "labels" else found.reshape(total.shape)
        done = value
        yield total / done


def boosting(
    params: Params, work: FoldCache, values: Sequence[int], *, build: Callable[[Params], Any]
) -> Iterator[Outputs]:
    """Yield boosted trees' answers after each number of rounds; columns are binned once for all trials of a fold.

    Rounds are grown when they are asked for: whoever scores the answers decides, by the metric that is searched for and
    with the rows' weights, whether more of them are worth it.
    """
    import xgboost as xgb

    lessons, facts, max_bin = work.lessons, work.held.facts, build(params).get_params()["max_bin"]
    options = training_options(build(params), facts.kind, facts.n_outputs)

    def make() -> tuple[Any, int]:
        x = work.learn.x[lessons.at]
        binned = xgb.QuantileDMatrix(x, lessons.y, weight=lessons.weights, max_bin=max_bin, nthread=options["nthread"])
        return binned, 2 * x.size  # at most two bytes for each number's bin

    learn = work.keep("binned", make)
    grown, margins, done = xgb.Booster(options, [learn]), None, 0
    for value in values:
        for number in range(done, value):
            grown.update(learn, number)
        with _on_cpu(grown, options["device"]):  # where the held-out rows are
            margins = grown.inplace_predict(  # the trees between are added to those before
                work.held.x, iteration_range=(done, value), predict_type="margin", base_margin=margins
            )
        done = value
        yield _likely(np.asarray(margins, np.float64).reshape(len(work.held), -1), facts)


@contextmanager
def _on_cpu(booster: Any, device: str) -> Iterator[None]:
    """Move a booster to the CPU for this block, and back to the device on which it grows."""
    if device != "cpu":
        booster.set_param({"device": "cpu"})
    yield
    if device != "cpu":
        booster.set_param({"device": device})


def _likely(margins: Outputs, facts: TargetValues) -> Outputs:
    """Return what boosted trees' sums mean: probabilities, or numbers as they are."""
    if facts.kind == "numbers":
        return margins
    if facts.kind == "classes" and facts.n_outputs > 2:
        return np.asarray(softmax(margins, axis=1))
    found = np.asarray(expit(margins))
    return found if facts.kind == "labels" else np.hstack([1 - found, found])


def training_options(model: Any, kind: str, n_outputs: int) -> dict[str, Any]:
    """Return a scikit-learn wrapper's settings as training takes them."""
    given = {name: value for name, value in model.get_xgb_params().items() if value is not None}
    given["nthread"] = given.pop("n_jobs", None) or 1
    given["seed"] = given.pop("random_state", 0)
    if kind == "numbers":
        return given | {"objective": "reg:squarederror"}
    if kind == "labels" or n_outputs == 2:
        return given | {"objective": "binary:logistic"}
    return given | {"objective": "multi:softprob", "num_class": n_outputs}
