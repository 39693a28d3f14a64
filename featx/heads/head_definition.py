"""Definition of a head: the learning task that it gets, its Pipeline, and the search space of its parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline

from featx.errors import UnsuitedError
from featx.heads.learning_problems import PROBLEMS
from featx.heads.out_of_core.estimators import OutOfCoreFit
from featx.heads.scaling import Params
from featx.heads.search.regularisation_paths import ParameterPath
from featx.parallel.threads import available_cores
from featx.specs.head import Calibration, Solver
from featx.tables.ids import Kind


@dataclass(frozen=True)
class HeadTask:
    """Size and kind of the data that a head is fitted on.

    Attributes
    ----------
    n_rows
        Number of train rows.
    n_features
        Number of features of a row.
    n_outputs
        Number of classes, labels or numbers.
    random_state
        Seed of every random choice of the head.
    kind
        Kind of the target, by default classes.
    solver
        Implementation that fits the head, by default scikit-learn's.
    params, space
        Fixed parameters and ranges of a recipe (`HeadSpec`); by default none.
    n_fold_rows
        Number of train rows of the fold that has the fewest; by default half of the rows.
    """

    n_rows: int
    n_features: int
    n_outputs: int
    random_state: int
    kind: Kind = "classes"
    solver: Solver = "sklearn"
    params: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    n_fold_rows: int | None = None

    def configure(self, estimator: Any) -> Any:
        """Return an estimator after its fixed parameters were set."""
        names = estimator.get_params(deep=False).keys() & self.params.keys()
        return estimator.set_params(**{name: self.params[name] for name in names})

    def candidates(self, name: str, default: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values that a parameter of choices may take, in a recipe or by default."""
        return (self.params[name],) if name in self.params else self.space.get(name, default)

    def n_jobs(self, small_table: int) -> int:
        """Return the number of threads to fit with: 1 for tables of fewer numbers, where synchronisation costs more.

        Results must not depend on it: only estimators whose threads share no sums may be given more than one.
        """
        return 1 if self.n_rows * self.n_features < small_table else available_cores()

    @property
    def max_rows_of_setting(self) -> int:
        """Number of rows that every fit has, at most half of all rows, so that a setting suits any number of folds."""
        half = self.n_rows // 2
        return half if self.n_fold_rows is None else min(half, self.n_fold_rows)

    @property
    def max_components(self) -> int:
        """Number of principal components that the train rows of every fold have."""
        return min(self.max_rows_of_setting, self.n_features)

    @property
    def is_regression(self) -> bool:
        """Whether the target is numbers."""
        return self.kind == "numbers"

    def wrap(self, estimator: Any) -> Any:
        """Return an estimator of all outputs from an estimator of one column."""
        return PROBLEMS[self.kind].wrap(estimator, self.n_outputs)

    def require_classifier(self, head: str, alternative: str) -> None:
        """Raise an error if the target is numbers, which a head cannot learn.

        Raises
        ------
        UnsuitedError
            The target is numbers.
        """
        if self.is_regression:
            raise UnsuitedError(
                f"head {head!r} learns classes and labels, the target is of {self.kind}; use {alternative}"
            )


@dataclass(frozen=True)
class Head:
    """A family of Pipelines and the search space of its parameters.

    Attributes
    ----------
    suggest
        Function that returns all parameters that need a new fit, from the `suggest_float`, `suggest_int` and
        `suggest_categorical` of a trial; it must use nothing else of the trial.
    build
        Function that returns the unfitted Pipeline of a complete setting.
    start
        Setting of the first trial, known to work well.
    path
        Parameter whose values are cheap to try, so that every trial tries all of them; None if there is none.
    needs_calibration
        Whether ``clf`` has no probabilities of its own and needs calibration; by default False.
    trial_calibration
        Calibration of a trial whose score needs probabilities, if the head needs calibration; by default ``platt``.
    accepts_weights
        Whether the estimator takes sample weights; by default True.
    solvers
        Implementations that a recipe may choose.
    is_single_threaded
        Whether a fit uses one thread, so that folds may be fitted in parallel; by default True.
    complexity
        Function whose result is larger for settings that fit more closely; used to compare settings with the same
        scaling and kernel. None if settings cannot be ordered.
    fit_out_of_core
        Function that fits on rows that stay in the store; None if the head cannot.
    needs_double
        Whether the estimator is fitted to features in double precision although it is not calibrated.
    path_params
        Constructor parameters that may be fixed without effect on the correctness of the path's own computation; with
        others fixed, a Pipeline is fitted for each value.
    """

    suggest: Callable[[optuna.Trial], Params]
    build: Callable[[Params], Pipeline]
    start: Mapping[str, Any]
    path: ParameterPath | None = None
    needs_calibration: bool = False
    trial_calibration: Calibration = "platt"
    accepts_weights: bool = True
    solvers: tuple[Solver, ...] = ("sklearn",)
    is_single_threaded: bool = True
    complexity: Callable[[Params], tuple[float, ...]] | None = None
    fit_out_of_core: OutOfCoreFit | None = None
    needs_double: bool = False
    path_params: frozenset[str] = frozenset()

    @property
    def is_fitted_in_double(self) -> bool:
        """Whether features are in double precision for a fit without calibration."""
        return self.needs_calibration or self.needs_double

    @property
    def default_calibration(self) -> Calibration:
        """Calibration of a trial's outputs if its score needs probabilities."""
        return self.trial_calibration if self.needs_calibration else "none"

    def allowed_calibrations(self, kind: Kind) -> tuple[Calibration, ...]:
        """Return the calibrations that a recipe may choose.

        Labels can be calibrated only if each has an estimator of its own.
        """
        path = {} if self.path is None else {self.path.name: self.path.values[0]}
        is_joint = kind == "labels" and not isinstance(
            self.build(dict(self.start) | path).steps[-1][1], MultiOutputClassifier
        )
        uncalibrated_methods: tuple[Calibration, ...] = () if self.needs_calibration else ("none",)
        return ("auto", *uncalibrated_methods, *(() if is_joint else ("platt", "isotonic", "temperature")))
