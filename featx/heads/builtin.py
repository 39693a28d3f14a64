"""The built-in heads: what each Pipeline is, and the space in which it is searched.

Every Pipeline ends in a step called ``clf``, or ``reg`` where it answers numbers. Where the classifier has no
probabilities of its own, it has to be calibrated (`featx.heads.calibration`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from featx.errors import UnsuitedError
from featx.heads.out_of_core import estimators
from featx.heads.out_of_core.estimators import InPasses
from featx.heads.scaling import Params, scaler, suggested
from featx.heads.search import regularisation_paths
from featx.heads.search.fold_cache import FoldCache
from featx.heads.search.regularisation_paths import Path
from featx.heads.solvers import gpu, intel
from featx.parallel.threads import available_cores
from featx.specs.head import Calibration, Solver
from featx.tables.ids import Kind

MOST_STEPS = 150  # of a logistic regression's solver
HALF_DECADES = tuple(float(10 ** (at / 2)) for at in range(-10, 3))
ALPHAS = tuple(float(10 ** (at / 2)) for at in range(-8, 5))
SHRINKAGES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
NEIGHBOURS = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 50)
SMALL_TABLE = 100_000  # numbers
FEW_FOR_BOOSTING = 20_000_000  # numbers: on 2,100 × 1,280 two of XGBoost's threads took 6 to 40 times the time of one
ROUNDS = tuple(range(50, 401, 25))  # of boosting; to answer after each of them costs next to nothing
MAX_BIN = 64  # of the histograms; 256, the default, costs twice the time on some thousand rows and is no better
SVM_SOLVERS: tuple[Solver, ...] = ("sklearn", "intel", "minibatch")
CACHE_MB = 1000  # of an SVM's kernel


@dataclass(frozen=True)
class HeadTask:
    """What a head is to learn.

    Attributes
    ----------
    n_rows, n_features
        Of the train rows.
    n_outputs
        Classes, labels or numbers.
    random_state
        Seed of everything random in the head.
    kind
        Of the target.
    solver
        What fits a head of which there are several.
    """

    n_rows: int
    n_features: int
    n_outputs: int
    random_state: int
    kind: Kind = "classes"
    solver: Solver = "sklearn"

    def n_jobs(self, small_table: int) -> int:
        """Return the threads worth starting: 1 for fewer numbers, where their waiting for each other costs more.

        Results must not depend on it: only estimators whose threads share no sums may be given more than one.
        """
        return 1 if self.n_rows * self.n_features < small_table else available_cores()

    @property
    def most_components(self) -> int:
        """Principal components that every fold of two or more has."""
        return min(self.n_rows // 2, self.n_features)

    @property
    def of_numbers(self) -> bool:
        """Whether a regressor is needed."""
        return self.kind == "numbers"

    def only(self, head: str, kinds: Sequence[Kind], instead: str) -> None:
        """Refuse what a head cannot learn.

        Raises
        ------
        UnsuitedError
            the target is of none of `kinds`.
        """
        if self.kind not in kinds:
            raise UnsuitedError(
                f"head {head!r} learns {' and '.join(kinds)}, the target is of {self.kind}; use {instead}"
            )


@dataclass(frozen=True)
class Head:
    """A family of Pipelines and how one is chosen.

    Attributes
    ----------
    space
        Asks a trial for what is dear to change.
    build
        Makes the unfitted Pipeline of a whole setting.
    start
        A setting known to be sound: the first trial.
    path
        What is cheap to change, all of whose values every trial tries; None where there is nothing.
    calibrated
        Whether ``clf`` needs calibration to give probabilities.
    weighs
        Whether the estimator takes a weight for each row.
    solvers
        Whose implementations may be asked for.
    one_thread
        Whether folds may run beside each other.
    complexity
        What is larger for a setting that fits more closely; compared between settings of one scaling and kernel.
    in_passes
        Learns from rows that stay in the store; None where that cannot be.
    """

    space: Callable[[optuna.Trial], Params]
    build: Callable[[Params], Pipeline]
    start: Mapping[str, Any]
    path: Path | None = None
    calibrated: bool = False
    weighs: bool = True
    solvers: tuple[Solver, ...] = ("sklearn",)
    one_thread: bool = True
    complexity: Callable[[Params], tuple[float, ...]] | None = None
    in_passes: InPasses | None = None

    @property
    def usual_calibration(self) -> Calibration:
        """How a trial's outputs become probabilities, where its score needs some."""
        return "platt" if self.calibrated else "none"

    def calibrations(self, kind: Kind) -> tuple[Calibration, ...]:
        """Return what may be asked for; several labels can be calibrated where each has an estimator of its own."""
        path = {} if self.path is None else {self.path.name: self.path.values[0]}
        together = kind == "labels" and not isinstance(
            self.build(dict(self.start) | path).steps[-1][1], MultiOutputClassifier
        )
        own: tuple[Calibration, ...] = () if self.calibrated else ("none",)
        return ("auto", *own, *(() if together else ("platt", "isotonic", "temperature")))


def _pipeline(task: HeadTask, params: Params, estimator: Any) -> Pipeline:
    scale = scaler(params, (task.n_rows, task.n_features))
    return Pipeline([("scale", scale), ("reg" if task.of_numbers else "clf", estimator)])


def _each(task: HeadTask, estimator: Any) -> Any:
    """Make an estimator of one column answer all of them; numbers are learnt at mean 0 and variance 1."""
    if task.of_numbers:
        several = MultiOutputRegressor(estimator) if task.n_outputs > 1 else estimator
        return TransformedTargetRegressor(several, transformer=StandardScaler())
    return MultiOutputClassifier(estimator) if task.kind == "labels" else estimator


def _by(*names: str) -> Callable[[Params], tuple[float, ...]]:
    """Return a complexity: settings by these parameters in turn, of those with a minus the smaller ones fit closer."""

    def complexity(params: Params) -> tuple[float, ...]:
        signs = ((-1, name[1:]) if name.startswith("-") else (1, name) for name in names)
        return tuple(sign * float(params.get(name, 0)) for sign, name in signs)

    return complexity


def _by_minibatches(task: HeadTask, loss: str) -> Head:
    """Return a linear classifier by stochastic gradient descent; `alpha` is 1 / (C · rows)."""
    lacks_probabilities = loss == "hinge"

    def space(trial: optuna.Trial) -> Params:
        return {
            "scaling": trial.suggest_categorical("scaling", ["standard", "l2", "none"]),
            "alpha": trial.suggest_float("alpha", 1e-7, 1e-2, log=True),
        }

    def build(params: Params) -> Pipeline:
        clf = SGDClassifier(loss=loss, alpha=params["alpha"], average=True, random_state=task.random_state)
        return _pipeline(task, params, _each(task, clf))

    return Head(
        space,
        build,
        {"scaling": "standard", "alpha": 1e-5},
        calibrated=lacks_probabilities,
        solvers=("sklearn", "minibatch"),
        complexity=_by("-alpha"),
        in_passes=partial(estimators.linear, build=build, seed=task.random_state),
    )


def logreg(task: HeadTask) -> Head:
    """L2 logistic regression; every trial tries all C from 1e-5 to 10."""
    task.only("logreg", ("classes", "labels"), "'ridge'")
    if task.solver == "minibatch":
        return _by_minibatches(task, "log_loss")

    def space(trial: optuna.Trial) -> Params:
        return suggested(trial, ("none", "standard", "l2", "pca"), task.most_components)

    def build(params: Params) -> Pipeline:
        clf = LogisticRegression(C=params["C"], max_iter=MOST_STEPS, random_state=task.random_state)
        return _pipeline(task, params, _each(task, clf))

    along = partial(regularisation_paths.logistic, most_steps=MOST_STEPS, seed=task.random_state)
    path = Path("C", HALF_DECADES, along, patience=regularisation_paths.SOON)
    simple, solvers = _by("components", "C"), SVM_SOLVERS[::2]
    return Head(space, build, {"scaling": "standard"}, path, solvers=solvers, complexity=simple)


def ridge(task: HeadTask) -> Head:
    """Ridge regression, of classes and labels as -1 and 1; `alpha` is in units of the number of rows."""

    def space(trial: optuna.Trial) -> Params:
        return suggested(trial, ("none", "standard", "l2", "pca"), task.most_components)

    def build(params: Params) -> Pipeline:
        alpha = params["alpha"] * task.n_rows
        if task.of_numbers:
            return _pipeline(task, params, Ridge(alpha, random_state=task.random_state))
        return _pipeline(task, params, _each(task, RidgeClassifier(alpha, random_state=task.random_state)))

    along = partial(regularisation_paths.ridge, n_rows=task.n_rows)
    path = Path("alpha", ALPHAS, along)
    return Head(space, build, {"scaling": "standard"}, path, calibrated=True, complexity=_by("components", "-alpha"))


def svm(task: HeadTask) -> Head:
    """Support vector machine with a linear or an RBF kernel; of numbers, support vector regression.

    `gamma` is in units of 1 / the features' total variance, scikit-learn's ``scale``.
    """
    if task.solver == "minibatch":
        task.only("svm", ("classes", "labels"), "solver = 'sklearn'")
        return _by_minibatches(task, "hinge")

    def space(trial: optuna.Trial) -> Params:
        kernel = trial.suggest_categorical("kernel", ["rbf", "linear"])
        params = {"kernel": kernel} | suggested(trial, ("standard", "l2", "pca"), task.most_components)
        if kernel == "linear":
            return params | {"C": trial.suggest_float("C_linear", 1e-5, 1e-1, log=True)}
        rbf = {"C": trial.suggest_float("C", 1e-1, 1e2, log=True)}
        return params | rbf | {"gamma": trial.suggest_float("gamma", 0.1, 3.0, log=True)}

    def build(params: Params) -> Pipeline:
        kinds = (intel.IntelSVR, intel.IntelSVC) if task.solver == "intel" else (SVR, SVC)
        return _pipeline(task, params, _each(task, machine(params, kinds, params["kernel"], gamma_of(params, task))))

    def machine(params: Params, kinds: tuple[Any, Any], kernel: str, gamma: regularisation_paths.Gamma) -> Any:
        how = {"kernel": kernel, "gamma": gamma, "C": params["C"], "cache_size": CACHE_MB}
        return kinds[0](**how) if task.of_numbers else kinds[1](**how, random_state=task.random_state)

    def along(params: Params, work: FoldCache, values: Sequence[Any]) -> Iterator[regularisation_paths.Outputs]:
        on_matrix = machine(params, (SVR, SVC), "precomputed", "scale")
        # with a matrix that is there, shrinking costs more than it saves
        tolerance = regularisation_paths.LOOSE_MACHINE if task.kind == "classes" else on_matrix.tol
        on_matrix.set_params(shrinking=False, tol=tolerance)
        return regularisation_paths.kernel(params, work, values, machine=on_matrix, gamma=gamma_of(params, task))

    if task.solver == "intel":
        intel.check_installed()

    start = {"kernel": "rbf", "scaling": "standard", "C": 3.0, "gamma": 1.0}
    path = Path("", (None,), along, regularisation_paths.kernel_bytes)
    simple = _by("components", "gamma", "C")
    return Head(space, build, start, path, calibrated=True, solvers=SVM_SOLVERS, complexity=simple)


def gamma_of(params: Params, task: HeadTask) -> regularisation_paths.Gamma:
    """Return an RBF kernel's gamma for features of variance 1, or of total variance 1."""
    if params["kernel"] == "linear":
        return "scale"
    n_features = {"standard": task.n_features, "pca": params.get("components", 0), "l2": 1}[params["scaling"]]
    return float(params["gamma"] / n_features)


def rf(task: HeadTask) -> Head:
    """Random forest of up to 200 trees, fewer of them tried in every trial; scaling does not matter to it.

    A split looks at a fifth to all of √d columns.
    """
    many = task.n_features**-0.5
    few = many / 5

    def space(trial: optuna.Trial) -> Params:
        return {
            "max_features": trial.suggest_float("max_features", few, many, log=True),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 8),
        }

    def forest(params: Params) -> Any:
        kind = RandomForestRegressor if task.of_numbers else RandomForestClassifier
        return kind(**params, n_jobs=task.n_jobs(SMALL_TABLE), random_state=task.random_state)

    def build(params: Params) -> Pipeline:
        return _pipeline(task, {"scaling": "none"}, forest(params))

    path = Path("n_estimators", (50, 100, 150, 200), partial(regularisation_paths.forest, build=forest))
    start = {"max_features": (few * many) ** 0.5, "min_samples_leaf": 1}
    return Head(space, build, start, path, one_thread=False, complexity=_by("-min_samples_leaf", "n_estimators"))


def xgboost(task: HeadTask) -> Head:
    """Gradient-boosted trees on histograms; few columns a tree, since embeddings are wide and redundant.

    A tree sees 3 to 30 % of the columns; of few columns at least 8, and up to 100.
    Steps are so large that most settings are at their best within 400 rounds.
    Grown on a GPU where there is one. Models that were grown so answer on a CPU as well.
    """
    from xgboost import XGBClassifier, XGBRegressor

    few, many = min(1.0, max(0.03, 8 / task.n_features)), min(1.0, max(0.3, 100 / task.n_features))

    def space(trial: optuna.Trial) -> Params:
        return {
            "max_depth": trial.suggest_int("max_depth", 3, 6),
            "learning_rate": trial.suggest_float("learning_rate", 0.06, 0.3, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", few, many, log=True),
        }

    def trees(params: Params) -> Any:
        kind = XGBRegressor if task.of_numbers else XGBClassifier
        how = {"tree_method": "hist", "max_bin": MAX_BIN, "random_state": task.random_state}
        n_jobs, device = task.n_jobs(FEW_FOR_BOOSTING), "cuda" if gpu.is_here() else "cpu"
        return kind(**params, **how, n_jobs=n_jobs, device=device)

    def build(params: Params) -> Pipeline:
        return _pipeline(task, {"scaling": "none"}, trees(params))

    start = {"max_depth": 4, "learning_rate": 0.1, "subsample": 0.8, "colsample_bytree": max(0.1, (few * many) ** 0.5)}
    along = partial(regularisation_paths.boosting, build=trees)
    path = Path("n_estimators", ROUNDS, along, patience=regularisation_paths.SOON, cumulative=True)
    in_passes = partial(estimators.trees, build=trees, seed=task.random_state)
    return Head(space, build, start, path, complexity=_by("max_depth", "n_estimators"), in_passes=in_passes)


def knn(task: HeadTask) -> Head:
    """Nearest neighbours, the nearer counting more; every trial tries from 1 to 50 of them. Takes no weights."""

    def space(trial: optuna.Trial) -> Params:
        return suggested(trial, ("none", "standard", "l2", "pca"), task.most_components)

    def build(params: Params) -> Pipeline:
        kind = KNeighborsRegressor if task.of_numbers else KNeighborsClassifier
        return _pipeline(task, params, kind(params["n_neighbors"], weights="distance", algorithm="brute"))

    values = tuple(k for k in NEIGHBOURS if k <= max(2, task.n_rows // 4))
    path = Path("n_neighbors", values, regularisation_paths.neighbours, regularisation_paths.distance_bytes)
    simple = _by("components", "-n_neighbors")
    return Head(space, build, {"scaling": "l2"}, path, weighs=False, complexity=simple)


def lda(task: HeadTask) -> Head:
    """Linear discriminant analysis; every trial tries all shrinkages of the covariance. Takes no weights."""
    task.only("lda", ("classes", "labels"), "'ridge'")

    def space(trial: optuna.Trial) -> Params:
        return suggested(trial, ("none", "standard", "l2", "pca"), task.most_components)

    def build(params: Params) -> Pipeline:
        clf = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=params["shrinkage"])
        return _pipeline(task, params, _each(task, clf))

    path = Path("shrinkage", SHRINKAGES, regularisation_paths.discriminants)
    simple = _by("components", "-shrinkage")
    return Head(space, build, {"scaling": "standard"}, path, weighs=False, complexity=simple)


def mlp(task: HeadTask) -> Head:
    """Multi-layer perceptron with one hidden layer. How many epochs it learns for is searched.

    scikit-learn's early stopping would hold out random rows, copies of which remain in training, and look at accuracy.
    """

    def space(trial: optuna.Trial) -> Params:
        return suggested(trial, ("standard", "l2", "pca"), task.most_components) | {
            "n_hidden": trial.suggest_categorical("n_hidden", [32, 64, 128, 256]),
            "alpha": trial.suggest_float("alpha", 1e-6, 1e-1, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            "n_epochs": trial.suggest_int("n_epochs", 10, 100, log=True),
        }

    def build(params: Params) -> Pipeline:
        how = {
            "hidden_layer_sizes": (params["n_hidden"],),
            "alpha": params["alpha"],
            "learning_rate_init": params["learning_rate"],
            "max_iter": params["n_epochs"],
            "random_state": task.random_state,
        }
        if task.of_numbers:
            scaled = TransformedTargetRegressor(MLPRegressor(**how), transformer=StandardScaler())
            return _pipeline(task, params, scaled)
        return _pipeline(task, params, MLPClassifier(**how))

    start = {"scaling": "standard", "n_hidden": 64, "alpha": 1e-3, "learning_rate": 1e-3, "n_epochs": 50}
    return Head(space, build, start, complexity=_by("components", "n_hidden", "-alpha", "n_epochs"))
