"""Heads with fixed parameters, with other ranges of the search, or without a search, as a recipe states them.

Fixed parameters are those of the estimator's constructor; parameters that the head suggests itself are fixed by a trial
that suggests the fixed value, so that this works for heads of other packages as well.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline

from featx.heads.head_definition import Head, HeadTask
from featx.heads.scaling import Params, make_scaler
from featx.heads.search.diagnostics import RECIPE_NAMES
from featx.heads.search.regularisation_paths import PATH_PATIENCE, ParameterPath
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.ids import Kind

# Rounds without a lower loss after which no tree is grown; passed to fits with held-out rows only.
EARLY_STOPPING = "early_stopping_rounds"
# Parameters of the Pipeline's first step.
SCALING_PARAMS = ("scaling", "components")
# Parameters of an estimator without effect on what it learns, which stay as the head sets them if nothing is searched.
MACHINE_PARAMS = ("random_state", "n_jobs", "device", "cache_size")


def make_head(
    spec: HeadSpec, shape: tuple[int, ...], kind: Kind, n_outputs: int, n_fold_rows: int | None = None
) -> Head:
    """Return the head of a spec for (n, d) features, a kind of target with so many outputs, and the smallest fold."""
    n, d = shape
    spec = spec.model_copy(
        update={"params": {name: value for name, value in spec.params.items() if name != EARLY_STOPPING}}
    )
    task = HeadTask(n, d, n_outputs, spec.seed, kind, spec.solver, spec.params, spec.space, n_fold_rows)
    head: Head = HEADS.get(spec.name)(task)
    if spec.trials == 0:
        return _without_search(head, task)
    return _restricted(head, spec) if spec.params or spec.space else head


def adapted_start(start: Mapping[str, Any], head: Head) -> Params:
    """Return the values of a setting that the search of a head can start from.

    A number outside its range becomes the nearest end, a choice that does not exist the first one. Parameters that the
    head does not search are left out.
    """
    trial = RecordingTrial(start)
    head.suggest(cast(optuna.Trial, trial))
    distributions = trial.distributions.items()
    return {name: _clip_to_range(start[name], distribution) for name, distribution in distributions if name in start}


def stored_choice(choice: Any) -> Any:
    """Return a choice as the journal of a search stores it: a list as text."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice


# Heads whose search is restricted


@dataclass(frozen=True)
class _RestrictedTrial:
    """A trial that returns fixed parameters and suggests the others from the ranges of a spec."""

    trial: Any
    params: Mapping[str, Any]
    space: Mapping[str, tuple[Any, ...]]

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> Any:
        """Return a fixed or suggested number."""
        return self._suggest("suggest_float", name, (low, high), options)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> Any:
        """Return a fixed or suggested integer."""
        return self._suggest("suggest_int", name, (low, high), options)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return a fixed or suggested choice."""
        return self.params[name] if name in self.params else self._choose(name, choices)

    def _choose(self, name: str, choices: Sequence[Any]) -> Any:
        choice_by_text = {stored_choice(choice): choice for choice in self.space.get(name, choices)}
        return choice_by_text[self.trial.suggest_categorical(name, list(choice_by_text))]

    def _suggest(self, method: str, name: str, bounds: tuple[Any, Any], options: Mapping[str, Any]) -> Any:
        recipe_name = RECIPE_NAMES.get(name, name)
        if recipe_name in self.params:
            return self.params[recipe_name]
        low, high = self.space.get(recipe_name, bounds)
        return getattr(self.trial, method)(name, low, high, **options)


def _restricted(head: Head, spec: HeadSpec) -> Head:
    """Return a head that searches what a spec leaves free, in the ranges that it states."""

    def suggest(trial: optuna.Trial) -> Params:
        return head.suggest(cast(optuna.Trial, _RestrictedTrial(trial, spec.params, spec.space)))

    def build(params: Params) -> Pipeline:
        # Early stopping replaces a fixed number of trees.
        changed_params = {name: params[name] for name in spec.params.keys() & params.keys()}
        return _configured(head.build(params), {**spec.params, **changed_params})

    path = None if head.path is None else _restricted_path(head, head.path, spec)
    return replace(head, suggest=suggest, build=build, path=path)


def _restricted_path(head: Head, path: ParameterPath, spec: HeadSpec) -> ParameterPath:
    """Return a path with the values of a spec, computed by Pipelines if other parameters are fixed."""
    values = path.values
    if path.name in spec.params:
        values = (spec.params[path.name],)
    elif path.name in spec.space:
        values = _path_values(path, *spec.space[path.name])
    other_names = spec.params.keys() - {*searched_parameters(head), *SCALING_PARAMS}
    is_exact = other_names <= head.path_params and not any(isinstance(value, str) for value in values)
    if is_exact and path.predict_path is not None:
        return replace(path, values=values)
    return replace(path, values=values, predict_path=None, patience=PATH_PATIENCE)


def _path_values(path: ParameterPath, low: float, high: float) -> tuple[Any, ...]:
    """Return the values of a path inside [low, high], continued beyond its ends in steps like those at the end."""
    values = list(path.values)
    is_integer = all(isinstance(value, int) for value in values)
    while values[-1] < high:
        next_value = 2 * values[-1] - values[-2] if is_integer else values[-1] ** 2 / values[-2]
        values.append(next_value if is_integer else float(f"{next_value:.6g}"))
    while not is_integer and values[0] > low:
        values.insert(0, float(f"{values[0] ** 2 / values[1]:.6g}"))
    inner_values = [value for value in values if low < value and not np.isclose(value, [low, high], rtol=1e-6).any()]
    return (low, *(value for value in inner_values if value < high), high)


# Heads without a search


def _without_search(head: Head, task: HeadTask) -> Head:
    """Return a head that fits the estimator with its own defaults and the fixed parameters."""
    pipeline = head.build(complete_start(head))
    name, wrapped_estimator = pipeline.steps[-1]
    inner = inner_estimator(wrapped_estimator)
    machine_params = {key: value for key, value in inner.get_params(deep=False).items() if key in MACHINE_PARAMS}
    estimator = type(inner)().set_params(**machine_params)

    def build(params: Params) -> Pipeline:
        scaling = {"scaling": "none", "components": task.max_components} | params
        scaler = make_scaler(scaling, (task.n_rows, task.n_features))
        final_estimator = _replace_inner(clone(wrapped_estimator), clone(estimator))
        return _configured(Pipeline([("scale", scaler), (name, final_estimator)]), {**task.params, **params})

    return replace(head, suggest=lambda _: {}, build=build, start={}, path=None, complexity=None, fit_out_of_core=None)


def complete_start(head: Head) -> Params:
    """Return the start of a head with the first value of its path."""
    path = {} if head.path is None or not head.path.name else {head.path.name: head.path.values[0]}
    return dict(head.start) | path


# Estimators inside Pipelines


def inner_estimator(estimator: Any) -> Any:
    """Return the estimator inside those that fit several columns or scale the target."""
    if isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor):
        return inner_estimator(estimator.estimator)
    return inner_estimator(estimator.regressor) if isinstance(estimator, TransformedTargetRegressor) else estimator


def _replace_inner(estimator: Any, inner: Any) -> Any:
    if isinstance(estimator, MultiOutputClassifier | MultiOutputRegressor):
        return estimator.set_params(estimator=_replace_inner(estimator.estimator, inner))
    if isinstance(estimator, TransformedTargetRegressor):
        return estimator.set_params(regressor=_replace_inner(estimator.regressor, inner))
    return inner


def _configured(pipeline: Pipeline, params: Params) -> Pipeline:
    """Return a Pipeline whose estimator has the parameters that its constructor takes."""
    inner = inner_estimator(pipeline.steps[-1][1])
    names = inner.get_params(deep=False).keys() & params.keys() - {EARLY_STOPPING}
    inner.set_params(**{name: params[name] for name in names})
    return pipeline


# What a head searches


@dataclass(frozen=True)
class RecordingTrial:
    """A trial that records the range of each parameter.

    Attributes
    ----------
    suggested_values
        Values to suggest, moved into the ranges; other parameters get the lowest number or the first choice.
    distributions
        Range of each parameter that was asked for.
    """

    suggested_values: Mapping[str, Any] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> Any:
        """Return a number."""
        return self._record(name, FloatDistribution(low, high, **options), low)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> Any:
        """Return a number."""
        return self._record(name, IntDistribution(low, high, **options), low)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return a choice."""
        return self._record(name, CategoricalDistribution(choices), choices[0])

    def _record(self, name: str, distribution: BaseDistribution, default: Any) -> Any:
        self.distributions.setdefault(name, distribution)
        return _clip_to_range(self.suggested_values.get(name, default), distribution)


def _clip_to_range(value: Any, distribution: Any) -> Any:
    """Return the nearest number of a range to a value, or the first choice if the value is none of the choices."""
    if isinstance(distribution, CategoricalDistribution):
        return value if value in distribution.choices else distribution.choices[0]
    return min(max(value, distribution.low), distribution.high)


def searched_parameters(head: Head) -> dict[str, BaseDistribution | ParameterPath]:
    """Return the range of each parameter that a head may suggest, and its path, by the name in a recipe."""
    first_trial = RecordingTrial()
    head.suggest(cast(optuna.Trial, first_trial))
    distributions = dict(first_trial.distributions)
    # Some parameters are suggested for some choices only.
    for name, distribution in first_trial.distributions.items():
        for choice in distribution.choices if isinstance(distribution, CategoricalDistribution) else ():
            trial = RecordingTrial({name: choice})
            head.suggest(cast(optuna.Trial, trial))
            distributions = trial.distributions | distributions
    searched_params: dict[str, BaseDistribution | ParameterPath] = {}
    for name, distribution in distributions.items():
        searched_params.setdefault(RECIPE_NAMES.get(name, name), distribution)
    path = {} if head.path is None or not head.path.name else {head.path.name: head.path}
    return searched_params | path
