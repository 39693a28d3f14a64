"""The built-in heads: what each Pipeline is, and the space in which it is searched.

Every Pipeline ends in a step called ``clf`` that takes ``sample_weight``. Where the classifier has no probabilities of
its own, it is calibrated (Platt [1]_) on out-of-fold decisions inside whatever rows it is fitted on.

References
----------
.. [1] J. Platt, Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers 1999.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC

Params = dict[str, Any]
N_TREES = 200
SMALL_TABLE = 100_000  # numbers; XGBoost on 24 rows took 0.1 s with one thread and up to 40 s with two on busy cores
MAX_BIN = 64  # of the histograms; 256, the default, costs twice the time on some thousand rows and is no better
SCALINGS: dict[str, Callable[[], Any]] = {
    "none": lambda: "passthrough",
    "standard": StandardScaler,
    "l2": Normalizer,
}


@dataclass(frozen=True)
class Task:
    """What a head is to learn.

    Attributes
    ----------
    n_rows, n_features, n_classes
        Of the train rows.
    random_state
        Seed of everything random in the head.
    """

    n_rows: int
    n_features: int
    n_classes: int
    random_state: int

    @property
    def n_jobs(self) -> int:
        """Threads worth starting: on small tables their waiting for each other costs far more than the work."""
        return 1 if self.n_rows * self.n_features < SMALL_TABLE else -1


@dataclass(frozen=True)
class Head:
    """A family of Pipelines and how one is chosen.

    Attributes
    ----------
    space
        Asks a trial for one setting.
    build
        Makes the unfitted Pipeline of a setting.
    start
        A setting known to be sound: the first trial.
    calibrated
        Whether ``clf`` needs calibration to give probabilities.
    """

    space: Callable[[optuna.Trial], Params]
    build: Callable[[Params], Pipeline]
    start: Mapping[str, Any]
    calibrated: bool = False


def _pipeline(scaling: str, clf: Any) -> Pipeline:
    return Pipeline([("scale", SCALINGS[scaling]()), ("clf", clf)])


def logreg(task: Task) -> Head:
    """L2 logistic regression; C on a log scale, scaling searched as well."""

    def space(trial: optuna.Trial) -> Params:
        return {
            "scaling": trial.suggest_categorical("scaling", list(SCALINGS)),
            "C": trial.suggest_float("C", 1e-4, 1e1, log=True),
        }

    def build(params: Params) -> Pipeline:
        clf = LogisticRegression(C=params["C"], max_iter=150, random_state=task.random_state)
        return _pipeline(params["scaling"], clf)

    return Head(space, build, {"scaling": "standard", "C": 1e-2})


def svm(task: Task) -> Head:
    """Support vector machine with a linear or an RBF kernel on standardised features.

    `gamma` is in units of 1/d, scikit-learn's ``scale`` for standardised features.
    """

    def space(trial: optuna.Trial) -> Params:
        kernel = trial.suggest_categorical("kernel", ["rbf", "linear"])
        if kernel == "linear":
            return {"kernel": kernel, "C": trial.suggest_float("C_linear", 1e-5, 1e-1, log=True)}
        return {
            "kernel": kernel,
            "C": trial.suggest_float("C", 1e-1, 1e2, log=True),
            "gamma": trial.suggest_float("gamma", 0.1, 3.0, log=True),
        }

    def build(params: Params) -> Pipeline:
        gamma = params["gamma"] / task.n_features if "gamma" in params else "scale"
        clf = SVC(kernel=params["kernel"], C=params["C"], gamma=gamma, cache_size=1000, random_state=task.random_state)
        return _pipeline("standard", clf)

    return Head(space, build, {"kernel": "rbf", "C": 3.0, "gamma": 1.0}, calibrated=True)


def rf(task: Task) -> Head:
    """Random forest of 200 trees (more of them only cost time); scaling does not matter to it."""

    def space(trial: optuna.Trial) -> Params:
        return {
            "max_features": trial.suggest_float("max_features", 0.005, 0.03, log=True),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 8),
        }

    def build(params: Params) -> Pipeline:
        clf = RandomForestClassifier(N_TREES, **params, n_jobs=task.n_jobs, random_state=task.random_state)
        return _pipeline("none", clf)

    return Head(space, build, {"max_features": 0.015, "min_samples_leaf": 1})


def xgboost(task: Task) -> Head:
    """Gradient-boosted trees on histograms; few columns a tree, since embeddings are wide and redundant."""
    from xgboost import XGBClassifier

    def space(trial: optuna.Trial) -> Params:
        return {
            "n_estimators": trial.suggest_int("n_estimators", 100, 300, step=50),
            "max_depth": trial.suggest_int("max_depth", 2, 5),
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.03, 0.3, log=True),
        }

    def build(params: Params) -> Pipeline:
        clf = XGBClassifier(
            **params, tree_method="hist", max_bin=MAX_BIN, n_jobs=task.n_jobs, random_state=task.random_state
        )
        return _pipeline("none", clf)

    start = {
        "n_estimators": 250,
        "max_depth": 4,
        "learning_rate": 0.1,
        "subsample": 0.8,
        "colsample_bytree": 0.1,
    }
    return Head(space, build, start)
