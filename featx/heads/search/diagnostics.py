"""Diagnostics of a finished search: the search space, the importance of its parameters, and warnings."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from featx.study.run_warnings import RunWarning
from featx.tables.target_values import TargetValues

# Scored trials from which importances are computed.
MIN_TRIALS_FOR_IMPORTANCES = 6
# Share of a range, on its own scale, that counts as its boundary.
BOUNDARY_MARGIN = 0.01
MIN_CLASS_ROWS_PER_FOLD = 5
MAX_LISTED_CLASSES = 5
# Parameters that Optuna knows by another name than a recipe, because their range depends on another parameter.
RECIPE_NAMES = {"C_linear": "C"}
# Largest possible values of parameters that are shares.
MAX_SHARES = {"subsample": 1.0, "shrinkage": 1.0, "colsample_bytree": 1.0, "max_features": 1.0}


def describe_space(trials: Sequence[optuna.trial.FrozenTrial], name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return the range or choices of each parameter.

    Parameters
    ----------
    name
        Name of the path's parameter; empty if there is none.
    values
        Values of the path, all of which every trial tries.
    """
    space: dict[str, Any] = {}
    for trial in trials:
        for parameter, distribution in trial.distributions.items():
            if isinstance(distribution, FloatDistribution | IntDistribution):
                space[parameter] = {"low": distribution.low, "high": distribution.high, "log": distribution.log}
            elif isinstance(distribution, CategoricalDistribution):
                space[parameter] = {"choices": list(distribution.choices)}
    # A path of one value is a fixed parameter.
    return space | ({name: {"values": list(values)}} if name and len(values) > 1 else {})


def parameter_importances(
    study: optuna.Study, trials: Sequence[optuna.trial.FrozenTrial], seed: int
) -> dict[str, float]:
    """Return the share of the score's variance that each parameter explains, the largest first (fANOVA [1]_).

    The result is empty if there are too few trials. Parameters that only some settings have are left out.

    References
    ----------
    .. [1] F. Hutter, H. Hoos, K. Leyton-Brown, An efficient approach for assessing hyperparameter importance, ICML
       2014.
    """
    scores = [trial.value for trial in trials]
    if len(set(scores)) < 2 or len(trials) < MIN_TRIALS_FOR_IMPORTANCES:
        return {}
    with warnings.catch_warnings():
        # Optuna warns of pruned trials.
        warnings.simplefilter("ignore")
        shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in shares.items()}


def boundary_warnings(
    space: Mapping[str, Any],
    suggested_params: Mapping[str, Any],
    selected_params: Mapping[str, Any],
    limits: Mapping[str, float],
) -> list[RunWarning]:
    """Return a warning for each parameter whose chosen value is the smallest or largest of its search space.

    Values at the end of all possible values get no warning.

    Parameters
    ----------
    suggested_params
        Parameters of the chosen trial as Optuna suggested them.
    selected_params
        Parameters of the chosen setting, including the value of the path.
    limits
        Largest possible values of parameters that the rows limit.
    """
    found_warnings = []
    for name, bounds in space.items():
        if "values" in bounds:
            value = selected_params[name]
            low, high = bounds["values"][0], bounds["values"][-1]
            side = _boundary_side(bounds["values"].index(value), 0, len(bounds["values"]) - 1)
        elif "low" in bounds and name in suggested_params:
            value, low, high = suggested_params[name], bounds["low"], bounds["high"]
            scale = np.log if bounds["log"] else float
            side = _boundary_side(scale(value), scale(bounds["low"]), scale(bounds["high"]))
        else:
            continue
        limit = (MAX_SHARES | dict(limits)).get(name, np.inf)
        wider_range = _wider_range(low, high, side, limit)
        if side and wider_range != _wider_range(low, high, 0, np.inf):
            end = "largest" if side > 0 else "smallest"
            text = f"{name} {value:.4g} is the {end} value of the search space: values outside may score better; "
            text += f"to search them, set space = {{ {RECIPE_NAMES.get(name, name)} = {wider_range} }} in [[head]]"
            found_warnings.append(RunWarning("search boundary", text))
    return found_warnings


def _wider_range(low: float, high: float, side: int, limit: float) -> list[float]:
    """Return the ends of a range of positive numbers, one of them ten times farther, for integers three times."""
    factor = 3 if isinstance(low, int) else 10
    if side > 0:
        high = max(high, min(high * factor, limit))
    elif side < 0:
        low = low / factor
    return [max(1, round(end)) if factor == 3 else float(f"{end:.4g}") for end in (low, high)]


def _boundary_side(value: float, low: float, high: float) -> int:
    """Return -1 or 1 for a value at the lower or upper end of a range, else 0."""
    margin = BOUNDARY_MARGIN * (high - low)
    return int(value >= high - margin) - int(value <= low + margin)


def fold_size_warnings(targets: TargetValues, n_folds: int) -> list[RunWarning]:
    """Return a warning that names the classes with few rows in a fold."""
    if targets.kind != "classes":
        return []
    min_rows = MIN_CLASS_ROWS_PER_FOLD * n_folds
    small_classes = [f"{name!r} ({n} in train)" for name, n in targets.counts.items() if n < min_rows]
    if not small_classes:
        return []
    classes_text = ", ".join(small_classes[:MAX_LISTED_CLASSES])
    if len(small_classes) > MAX_LISTED_CLASSES:
        classes_text += f", … ({len(small_classes)} in all)"
    text = (
        f"fewer than {MIN_CLASS_ROWS_PER_FOLD} rows in each of {n_folds} folds of {classes_text}: scores depend on a "
        "few images; add images, or set fewer 'folds' in [[head]]"
    )
    return [RunWarning("few rows", text)]
