"""Checks of the fixed parameters and ranges of heads, before anything is fitted and without data."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import product
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.base import clone

from featx.errors import RecipeError, UnsuitedError
from featx.heads.head_definition import Head, HeadTask
from featx.heads.head_settings import (
    EARLY_STOPPING,
    SCALING_PARAMS,
    RecordingTrial,
    complete_start,
    inner_estimator,
    make_head,
    searched_parameters,
    stored_choice,
)
from featx.heads.scaling import SCALERS, Params
from featx.heads.search.regularisation_paths import ParameterPath
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.ids import Kind

# Shape of the table for which parameters are checked, and its classes or columns; names do not depend on them.
CHECKED_SHAPE = (256, 64)
N_CHECKED_OUTPUTS = 2
N_CHECKED_ROWS = 16


def check_heads(specs: Sequence[HeadSpec], kinds: Mapping[str, Kind]) -> None:
    """Check the names and values of `params` and `space` of heads, without data.

    Parameters
    ----------
    kinds
        Kind of each target, by its name.

    Raises
    ------
    RecipeError
        A name or a value is wrong; the error lists all of the first head for which this is so.
    """
    for (target, kind), spec in product(kinds.items(), specs):
        if spec.target in {None, target} and (spec.params or spec.space):
            _check_settings(spec, kind)


def _check_settings(spec: HeadSpec, kind: Kind) -> None:
    task = HeadTask(*CHECKED_SHAPE, N_CHECKED_OUTPUTS, spec.seed, kind, spec.solver)
    try:
        head: Head = HEADS.get(spec.name)(task)
    except UnsuitedError:
        # Another target of the recipe may suit; otherwise the job reports it.
        return
    searched_params = searched_parameters(head)
    constructor = inner_estimator(head.build(complete_start(head)).steps[-1][1]).get_params(deep=False)
    scaling = [name for name in SCALING_PARAMS if "scaling" in searched_params]
    fixable_names = [*constructor, *scaling, *(searched_params if spec.trials else ())]
    problems = [
        f"params: no parameter of head {spec.name!r} is called {name!r}; {_nearest(name, fixable_names)}"
        for name in spec.params
        if name not in fixable_names
    ]
    problems += _early_stopping_problems(spec)
    problems += [problem for name in spec.space if (problem := _space_problem(name, spec.space[name], searched_params))]
    problems = problems or _value_problems(spec, kind)
    if problems:
        raise RecipeError(f"[[head]] {spec.name!r}", problems)


def _early_stopping_problems(spec: HeadSpec) -> list[str]:
    rounds = spec.params.get(EARLY_STOPPING, 1)
    if type(rounds) is not int or rounds < 1:
        return [f"params.{EARLY_STOPPING}: found {rounds!r}, expected a number of trees of 1 or more"]
    if EARLY_STOPPING in spec.params and spec.trials and "n_estimators" not in spec.params:
        return [
            f"params.{EARLY_STOPPING}: the search chooses the number of trees by its folds; fix n_estimators, or set "
            "trials = 0"
        ]
    return []


def _nearest(name: str, valid_names: Sequence[str]) -> str:
    """Return a hint with the names that resemble a wrong one, or with all of them."""
    names = list(dict.fromkeys(valid_names))
    close_names = get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(map(repr, close_names))}?" if close_names else f"known: {', '.join(names)}"


def _space_problem(name: str, values: tuple[Any, ...], searched_params: Mapping[str, Any]) -> str:
    """Return what is wrong with a range of the search; empty if nothing is."""
    if name not in searched_params:
        return f"space: no parameter that is searched is called {name!r}; {_nearest(name, list(searched_params))}"
    distribution = searched_params[name]
    if isinstance(distribution, CategoricalDistribution):
        return ""
    is_integer = isinstance(distribution, IntDistribution) or (
        isinstance(distribution, ParameterPath) and isinstance(distribution.values[0], int)
    )
    types = int if is_integer else (int, float)
    is_valid = len(values) == 2 and all(isinstance(value, types) for value in values) and values[0] < values[1]
    is_positive = is_valid and values[0] > 0
    if is_valid and (is_positive or (isinstance(distribution, FloatDistribution) and not distribution.log)):
        return ""
    noun = "integers" if is_integer else "numbers"
    return f"space.{name}: found {list(values)}, expected [low, high], two {noun} with 0 < low < high"


def _value_problems(spec: HeadSpec, kind: Kind) -> list[str]:
    """Return why an estimator refuses the fixed values or the alternatives of a search; empty if it does not."""
    scalings = (*spec.space.get("scaling", ()), *([spec.params["scaling"]] if "scaling" in spec.params else []))
    if unknown_names := [name for name in scalings if name not in SCALERS]:
        return [f"scaling: found {unknown_names[0]!r}, expected one of {', '.join(SCALERS)}"]
    components = spec.params.get("components", 1)
    # Without a search, scikit-learn takes a share of the variance too.
    is_share = spec.trials == 0 and isinstance(components, float) and 0 < components < 1
    if not is_share and (type(components) is not int or components < 1):
        return [f"params.components: found {components!r}, expected a number of components of 1 or more"]
    head = make_head(spec, CHECKED_SHAPE, kind, N_CHECKED_OUTPUTS)
    trials: list[Params] = [
        {},
        *({name: stored_choice(value)} for name, values in spec.space.items() for value in values),
    ]
    for suggested_values in trials:
        trial = RecordingTrial(suggested_values)
        path = {} if head.path is None or not head.path.name else {head.path.name: head.path.values[0]}
        params = dict(spec.params) if spec.trials == 0 else head.suggest(cast(optuna.Trial, trial)) | path
        try:
            _check_values(inner_estimator(head.build(params).steps[-1][1]), kind)
        # Estimators of other packages may raise anything.
        except Exception as error:
            return [f"{'space' if suggested_values else 'params'}: {str(error).splitlines()[0]}"]
    return []


def _check_values(estimator: Any, kind: Kind) -> None:
    """Let an estimator check its own parameters: by scikit-learn's constraints, otherwise by a fit of one round."""
    if hasattr(estimator, "_parameter_constraints"):
        estimator._validate_params()
    elif "n_estimators" in estimator.get_params(deep=False):
        x = np.random.default_rng(0).normal(size=(N_CHECKED_ROWS, 2))
        y = np.arange(N_CHECKED_ROWS) % 2
        clone(estimator).set_params(n_estimators=1).fit(x, y.astype(float) if kind == "numbers" else y)
