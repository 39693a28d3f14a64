"""The built-in heads: the Pipeline of each, and its search space.

Every Pipeline ends in a step called ``clf``, or ``reg`` where it predicts numbers. Where the classifier has no
probabilities of its own, it has to be calibrated (`featx.heads.calibration`).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from featx.heads.head_definition import Head, HeadTask
from featx.heads.out_of_core import estimators
from featx.heads.scaling import Params, make_scaler, suggest_scaling
from featx.heads.search import regularisation_paths
from featx.heads.search.fold_cache import FoldCache
from featx.heads.search.regularisation_paths import PATH_PATIENCE, ParameterPath
from featx.heads.solvers import gpu
from featx.specs.head import Solver

# Iterations of the solver of a logistic regression.
MAX_LOGISTIC_ITERATIONS = 150
INVERSE_PENALTIES = tuple(float(10 ** (exponent / 2)) for exponent in range(-10, 3))
ALPHAS = tuple(float(10 ** (exponent / 2)) for exponent in range(-8, 5))
SHRINKAGES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
N_NEIGHBORS = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 50)
# Tables of fewer numbers than these (rows × columns) are fitted in one thread. XGBoost with two threads took 6 to 40
# times as long as with one on 2,100 × 1,280.
MIN_NUMBERS_FOR_FOREST_THREADS = 100_000
MIN_NUMBERS_FOR_BOOSTING_THREADS = 20_000_000
# Numbers of boosting rounds; to score the trees grown so far costs next to nothing.
BOOSTING_ROUNDS = tuple(range(50, 401, 25))
# Bins of a histogram. 256, the default of XGBoost, takes twice the time on some thousand rows and is no better.
MAX_BIN = 64
SVM_SOLVERS: tuple[Solver, ...] = ("sklearn", "minibatch")
LOGREG_SOLVERS: tuple[Solver, ...] = ("sklearn", "minibatch")
# Megabytes of the kernel cache of an SVM.
SVM_CACHE_MB = 1000
# Constructor parameters that `kernel_path` and `boosting_path` pass to the estimator as they are.
KERNEL_PATH_PARAMS = frozenset(
    {"gamma", "class_weight", "max_iter", "break_ties", "decision_function_shape", "epsilon"}
)
BOOSTING_PATH_PARAMS = frozenset(
    {
        *("gamma", "min_child_weight", "max_delta_step", "max_leaves", "grow_policy", "max_bin", "reg_alpha"),
        *("reg_lambda", "scale_pos_weight", "colsample_bylevel", "colsample_bynode", "random_state", "n_jobs"),
    }
)


def _pipeline(task: HeadTask, params: Params, estimator: Any) -> Pipeline:
    scaler = make_scaler(params, (task.n_rows, task.n_features))
    return Pipeline([("scale", scaler), ("reg" if task.is_regression else "clf", estimator)])


def _path_head(
    task: HeadTask,
    make_estimator: Callable[[Params], Any],
    path: ParameterPath,
    scaling: str = "standard",
    **options: Any,
) -> Head:
    """Return a head of which trials suggest the scaling only; all other parameters are on the path."""
    suggest = partial(suggest_scaling, methods=("none", "standard", "l2", "pca"), max_components=task.max_components)

    def build(params: Params) -> Pipeline:
        return _pipeline(task, params, make_estimator(params))

    return Head(suggest, build, {"scaling": scaling}, path, **options)


def _complexity_by(*names: str) -> Callable[[Params], tuple[float, ...]]:
    """Return a function that orders settings by these parameters in turn.

    A minus before a name means that settings with smaller values fit more closely.
    """

    def complexity(params: Params) -> tuple[float, ...]:
        signs = ((-1, name[1:]) if name.startswith("-") else (1, name) for name in names)
        return tuple(sign * _magnitude(params.get(name, 0)) for sign, name in signs)

    return complexity


def _magnitude(value: Any) -> float:
    """Return the sum of a list, such as the sizes of layers; 0 for text, which is a fixed value such as ``"auto"``."""
    if isinstance(value, str):
        return 0.0
    return float(np.sum(value))


def _sgd_head(task: HeadTask, loss: str) -> Head:
    """Return a linear classifier fitted by stochastic gradient descent; `alpha` is 1 / (C · rows)."""
    lacks_probabilities = loss == "hinge"

    def suggest(trial: optuna.Trial) -> Params:
        return {
            "scaling": trial.suggest_categorical("scaling", ["standard", "l2", "none"]),
            "alpha": trial.suggest_float("alpha", 1e-7, 1e-2, log=True),
        }

    def build(params: Params) -> Pipeline:
        clf = SGDClassifier(loss=loss, alpha=params["alpha"], average=True, random_state=task.random_state)
        return _pipeline(task, params, task.wrap(task.configure(clf)))

    return Head(
        suggest,
        build,
        {"scaling": "standard", "alpha": 1e-5},
        needs_calibration=lacks_probabilities,
        solvers=LOGREG_SOLVERS,
        complexity=_complexity_by("-alpha"),
        fit_out_of_core=partial(estimators.fit_linear, build=build, seed=task.random_state),
    )


def logreg(task: HeadTask) -> Head:
    """Return an L2 logistic regression; every trial tries all C from 1e-5 to 10."""
    task.require_classifier("logreg", "'ridge'")
    if task.solver == "minibatch":
        return _sgd_head(task, "log_loss")

    def make_classifier(params: Params) -> Any:
        return task.wrap(
            LogisticRegression(C=params["C"], max_iter=MAX_LOGISTIC_ITERATIONS, random_state=task.random_state)
        )

    predict_path = partial(regularisation_paths.logistic_path, max_iter=MAX_LOGISTIC_ITERATIONS, seed=task.random_state)
    path = ParameterPath("C", INVERSE_PENALTIES, predict_path, patience=PATH_PATIENCE)
    complexity = _complexity_by("components", "C")
    return _path_head(task, make_classifier, path, solvers=LOGREG_SOLVERS, complexity=complexity)


def ridge(task: HeadTask) -> Head:
    """Return a ridge regression, of classes and labels as -1 and 1.

    The search varies `alpha_per_row`, the penalty ``alpha`` divided by the number of rows.
    """

    def make_estimator(params: Params) -> Any:
        alpha = task.params["alpha"] if "alpha" in task.params else params["alpha_per_row"] * task.n_rows
        if task.is_regression:
            return Ridge(alpha, random_state=task.random_state)
        return task.wrap(RidgeClassifier(alpha, random_state=task.random_state))

    path = ParameterPath("alpha_per_row", ALPHAS, partial(regularisation_paths.ridge_path, n_rows=task.n_rows))
    if "alpha" in task.params:
        path = ParameterPath("", (None,), None)
    complexity = _complexity_by("components", "-alpha_per_row")
    return _path_head(task, make_estimator, path, needs_calibration=True, complexity=complexity)


def svm(task: HeadTask) -> Head:
    """Return a support vector machine with a linear or an RBF kernel; for numbers, support vector regression.

    The search varies `relative_gamma`, the kernel's ``gamma`` in units of 1 / the features' total variance, which is
    scikit-learn's ``scale``; without scaling, ``gamma`` is ``scale``.
    """
    if task.solver == "minibatch":
        task.require_classifier("svm", "solver = 'sklearn'")
        return _sgd_head(task, "hinge")

    def build(params: Params) -> Pipeline:
        machine = make_machine(params, params["kernel"], rbf_gamma(params, task))
        return _pipeline(task, params, task.wrap(machine))

    def make_machine(params: Params, kernel: str, gamma: regularisation_paths.Gamma) -> SVC | SVR:
        options = {"gamma": gamma, "C": params["C"], "cache_size": SVM_CACHE_MB}
        machine = SVR(**options) if task.is_regression else SVC(**options, random_state=task.random_state)
        return task.configure(machine).set_params(kernel=kernel)

    def predict_path(
        params: Params, fold: FoldCache, values: Sequence[Any]
    ) -> Iterator[regularisation_paths.HeldOutOutputs]:
        machine = make_machine(params, "precomputed", "scale")
        # With a precomputed matrix, shrinking costs more than it saves.
        tolerance = regularisation_paths.SVM_SEARCH_TOLERANCE if task.kind == "classes" else machine.tol
        machine.set_params(shrinking=False, tol=tolerance)
        return regularisation_paths.kernel_path(params, fold, values, machine=machine, gamma=rbf_gamma(params, task))

    start = {"kernel": "rbf", "scaling": "standard", "C": 3.0, "relative_gamma": 1.0}
    path = ParameterPath(
        "", (None,), predict_path if _has_known_kernels(task) else None, regularisation_paths.kernel_bytes
    )
    complexity = _complexity_by("components", "relative_gamma", "C")
    return Head(
        partial(_suggest_svm, task=task),
        build,
        start,
        path,
        needs_calibration=True,
        # Scores of more than two classes need one scale for all; a sigmoid for each class fits them less well.
        trial_calibration="temperature" if task.kind == "classes" and task.n_outputs > 2 else "platt",
        solvers=SVM_SOLVERS,
        complexity=complexity,
        path_params=KERNEL_PATH_PARAMS,
    )


def _suggest_svm(trial: optuna.Trial, task: HeadTask) -> Params:
    """Return a kernel, a scaling and the parameters of the kernel."""
    kernel = trial.suggest_categorical("kernel", ["rbf", "linear"])
    params: Params = {"kernel": kernel} | suggest_scaling(trial, ("standard", "l2", "pca"), task.max_components)
    if kernel == "linear":
        return params | {"C": trial.suggest_float("C_linear", 1e-5, 1e-1, log=True)}
    params |= {"C": trial.suggest_float("C", 1e-1, 1e2, log=True)}
    if "gamma" in task.params or params["scaling"] == "none":
        return params
    return params | {"relative_gamma": trial.suggest_float("relative_gamma", 0.1, 3.0, log=True)}


def _has_known_kernels(task: HeadTask) -> bool:
    """Return whether all kernels of a search can be computed from products or distances that trials share."""
    kernels = set(task.candidates("kernel", ("rbf", "linear")))
    gamma, scalings = task.params.get("gamma", 1.0), task.candidates("scaling", ("standard", "l2", "pca"))
    is_gamma_known = not isinstance(gamma, str) and ("gamma" in task.params or "none" not in scalings)
    return kernels == {"linear"} or (kernels <= {"rbf", "linear"} and is_gamma_known)


def rbf_gamma(params: Params, task: HeadTask) -> regularisation_paths.Gamma:
    """Return the fixed gamma of a kernel, or that for features of variance 1, or of total variance 1."""
    if "gamma" in task.params:
        gamma: regularisation_paths.Gamma = task.params["gamma"]
        return gamma
    if "relative_gamma" not in params:
        return "scale"
    # Rows of unit length have the total variance 1 or a little less.
    variances = {"standard": task.n_features, "pca": params.get("components", 0)}
    return float(params["relative_gamma"] / variances.get(params["scaling"], 1))


def rf(task: HeadTask) -> Head:
    """Return a random forest of up to 200 trees; every trial also scores its first 50, 100 and 150.

    Features are not scaled, because scaling does not change a tree. A split considers a fifth to all of √d columns.
    """
    max_share = task.n_features**-0.5
    min_share = max_share / 5

    def suggest(trial: optuna.Trial) -> Params:
        return {
            "max_features": trial.suggest_float("max_features", min_share, max_share, log=True),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 8),
        }

    def make_forest(params: Params) -> Any:
        forest = RandomForestRegressor if task.is_regression else RandomForestClassifier
        n_jobs = task.n_jobs(MIN_NUMBERS_FOR_FOREST_THREADS)
        return task.configure(forest(**params, n_jobs=n_jobs, random_state=task.random_state))

    def build(params: Params) -> Pipeline:
        return _pipeline(task, {"scaling": "none"}, make_forest(params))

    predict_path = partial(regularisation_paths.forest_path, build=make_forest)
    path = ParameterPath("n_estimators", (50, 100, 150, 200), predict_path)
    start = {"max_features": (min_share * max_share) ** 0.5, "min_samples_leaf": 1}
    complexity = _complexity_by("-min_samples_leaf", "n_estimators")
    path_params = frozenset(make_forest({}).get_params(deep=False))
    return Head(suggest, build, start, path, is_single_threaded=False, complexity=complexity, path_params=path_params)


def xgboost(task: HeadTask) -> Head:
    """Return gradient-boosted trees on histograms; each tree uses few columns, as embeddings are wide and redundant.

    A tree uses 3 to 30 % of the columns, and at least 8; of narrow tables up to 100. Steps are so large that most
    settings are at their best within 400 rounds. Trees are grown on a GPU if there is one; such models predict on a CPU
    as well.
    """
    from xgboost import XGBClassifier, XGBRegressor

    min_share = min(1.0, max(0.03, 8 / task.n_features))
    max_share = min(1.0, max(0.3, 100 / task.n_features))

    def suggest(trial: optuna.Trial) -> Params:
        return {
            "max_depth": trial.suggest_int("max_depth", 3, 6),
            "learning_rate": trial.suggest_float("learning_rate", 0.06, 0.3, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", min_share, max_share, log=True),
        }

    def make_trees(params: Params) -> Any:
        trees = XGBRegressor if task.is_regression else XGBClassifier
        options = {"tree_method": "hist", "max_bin": MAX_BIN, "random_state": task.random_state}
        n_jobs = task.n_jobs(MIN_NUMBERS_FOR_BOOSTING_THREADS)
        return task.configure(trees(**params, **options, n_jobs=n_jobs, device="cuda" if gpu.has_gpu() else "cpu"))

    def build(params: Params) -> Pipeline:
        return _pipeline(task, {"scaling": "none"}, make_trees(params))

    start = {
        "max_depth": 4,
        "learning_rate": 0.1,
        "subsample": 0.8,
        "colsample_bytree": max(0.1, (min_share * max_share) ** 0.5),
    }
    predict_path = partial(regularisation_paths.boosting_path, build=make_trees)
    path = ParameterPath("n_estimators", BOOSTING_ROUNDS, predict_path, patience=PATH_PATIENCE, is_cumulative=True)
    return Head(
        suggest,
        build,
        start,
        path,
        complexity=_complexity_by("max_depth", "n_estimators"),
        fit_out_of_core=partial(estimators.fit_trees, build=make_trees, seed=task.random_state),
        path_params=BOOSTING_PATH_PARAMS,
    )


def knn(task: HeadTask) -> Head:
    """Return nearest neighbours weighted by 1 / distance; every trial tries 1 to 50 of them. Takes no weights."""

    def make_estimator(params: Params) -> Any:
        neighbors = KNeighborsRegressor if task.is_regression else KNeighborsClassifier
        return neighbors(params["n_neighbors"], weights="distance", algorithm="brute")

    max_neighbors = min(max(2, task.n_rows // 4), task.max_rows_of_setting)
    values = tuple(k for k in N_NEIGHBORS if k <= max_neighbors)
    path = ParameterPath(
        "n_neighbors", values, regularisation_paths.neighbours_path, regularisation_paths.distance_bytes
    )
    complexity = _complexity_by("components", "-n_neighbors")
    return _path_head(task, make_estimator, path, scaling="l2", accepts_weights=False, complexity=complexity)


def lda(task: HeadTask) -> Head:
    """Return a linear discriminant analysis; every trial tries all shrinkages of the covariance. Takes no weights."""
    task.require_classifier("lda", "'ridge'")

    def make_classifier(params: Params) -> Any:
        return task.wrap(LinearDiscriminantAnalysis(solver="lsqr", shrinkage=params["shrinkage"]))

    path = ParameterPath("shrinkage", SHRINKAGES, regularisation_paths.discriminant_path)
    complexity = _complexity_by("components", "-shrinkage")
    # In single precision, LAPACK finds no decomposition of some covariances of more features than rows.
    return _path_head(task, make_classifier, path, accepts_weights=False, complexity=complexity, needs_double=True)


def mlp(task: HeadTask) -> Head:
    """Return a multi-layer perceptron with one hidden layer; its number of epochs is a hyperparameter.

    scikit-learn's early stopping is not used: it would hold out random rows, copies of which remain in training, and it
    looks at accuracy only.
    """

    def suggest(trial: optuna.Trial) -> Params:
        return suggest_scaling(trial, ("standard", "l2", "pca"), task.max_components) | {
            "hidden_layer_sizes": trial.suggest_categorical("hidden_layer_sizes", [32, 64, 128, 256]),
            "alpha": trial.suggest_float("alpha", 1e-6, 1e-1, log=True),
            "learning_rate_init": trial.suggest_float("learning_rate_init", 1e-4, 1e-2, log=True),
            "max_iter": trial.suggest_int("max_iter", 10, 100, log=True),
        }

    def build(params: Params) -> Pipeline:
        perceptron = (MLPRegressor if task.is_regression else MLPClassifier)(
            hidden_layer_sizes=params["hidden_layer_sizes"],
            alpha=params["alpha"],
            learning_rate_init=params["learning_rate_init"],
            max_iter=params["max_iter"],
            random_state=task.random_state,
        )
        if task.is_regression:
            perceptron = TransformedTargetRegressor(perceptron, transformer=StandardScaler())
        return _pipeline(task, params, perceptron)

    start = {
        "scaling": "standard",
        "hidden_layer_sizes": 64,
        "alpha": 1e-3,
        "learning_rate_init": 1e-3,
        "max_iter": 50,
    }
    complexity = _complexity_by("components", "hidden_layer_sizes", "-alpha", "max_iter")
    return Head(suggest, build, start, complexity=complexity)
