"""What a finished search tells: what was searched, what mattered, and what should be looked at."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from featx.metrics.row_scores import decided, guessed
from featx.study.run_warnings import RunWarning
from featx.tables.target_values import TargetValues

FEWEST_TRIALS = 6  # with a score, to say what mattered
EDGE = 0.01  # of a range, on its own scale
FEW = 5  # rows of a class in a fold
# Ends of ranges beyond which there is nothing.
NATURAL = {("subsample", 1), ("shrinkage", 1), ("components", 1), ("min_samples_leaf", -1), ("n_neighbors", -1)}


def searched(trials: Sequence[optuna.trial.FrozenTrial], name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return the range or choices of each parameter.

    Parameters
    ----------
    name, values
        Of the path, all of which every trial tries; no name where there is none.
    """
    found: dict[str, Any] = {}
    for trial in trials:
        for parameter, of in trial.distributions.items():
            if isinstance(of, FloatDistribution | IntDistribution):
                found[parameter] = {"low": of.low, "high": of.high, "log": of.log}
            elif isinstance(of, CategoricalDistribution):
                found[parameter] = {"choices": list(of.choices)}
    return found | ({name: {"values": list(values)}} if name else {})


def importances(study: optuna.Study, trials: Sequence[optuna.trial.FrozenTrial], seed: int) -> dict[str, float]:
    """Return the share of the score's variance that each parameter explains, the largest first (fANOVA [1]_).

    Nothing, where there are too few trials to say. Parameters that only some settings have are left out.

    References
    ----------
    .. [1] F. Hutter, H. Hoos, K. Leyton-Brown, An efficient approach for assessing hyperparameter importance, ICML
       2014.
    """
    scores = [trial.value for trial in trials]
    if len(set(scores)) < 2 or len(trials) < FEWEST_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trials that were ended early
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in found.items()}


def at_edges(space: Mapping[str, Any], suggested: Mapping[str, Any], chosen: Mapping[str, Any]) -> list[RunWarning]:
    """Return the parameters whose chosen value is the first or last that could be tried.

    Parameters
    ----------
    suggested, chosen
        The chosen setting as the search was asked for it, and as it is; the latter has the path's value.
    """
    found = []
    for name, of in space.items():
        if "values" in of:
            value, where = chosen[name], _place(of["values"].index(chosen[name]), 0, len(of["values"]) - 1)
        elif "low" in of and name in suggested:
            value = suggested[name]
            scale = np.log if of["log"] else float
            where = _place(scale(value), scale(of["low"]), scale(of["high"]))
        else:
            continue
        if where and (name, where) not in NATURAL:
            text = f"{name} {value:.4g} is the {'largest' if where > 0 else 'smallest'} that was tried: a better one "
            found.append(RunWarning("at an edge", text + "may lie beyond; a head of your own can search wider"))
    return found


def _place(value: float, low: float, high: float) -> int:
    """Return -1 or 1 for a value at the lower or upper end of a range, else 0."""
    near = EDGE * (high - low)
    return int(value >= high - near) - int(value <= low + near)


def in_answers(facts: TargetValues, answers: NDArray[np.float64]) -> list[RunWarning]:
    """Return what is odd about the answers for rows out of fold."""
    if facts.kind == "numbers":
        return []
    if facts.kind == "labels":
        said = decided(answers).max(0)
        never = [name for name, once in zip(facts.names, said, strict=True) if not once]
        if not never:
            return []
        text = f"{', '.join(never)}: no image is said to have it; try metric = 'macro_f1', or more images that do"
        return [RunWarning("never said", text)]
    codes = np.unique(guessed(facts, answers))
    if len(codes) > 1 or len(np.unique(facts.y)) == 1:
        return []
    name = facts.names[codes[0]]
    text = f"every image is taken for {name!r}: nothing was learnt but the majority; try class_weight = 'balanced' "
    return [RunWarning("one class", text + "with metric = 'balanced_accuracy', or other embeddings")]


def in_folds(facts: TargetValues, n_folds: int) -> list[RunWarning]:
    """Return the classes of which folds hold few rows."""
    if facts.kind != "classes":
        return []
    counts = np.bincount(facts.y, minlength=facts.n_outputs)
    few = [f"{name!r} {n}" for name, n in zip(facts.names, counts, strict=True) if n < FEW * n_folds]
    if not few:
        return []
    shown = ", ".join(few[:FEW]) + (f", … ({len(few)} in all)" if len(few) > FEW else "")
    text = f"fewer than {FEW} rows a fold in train of {shown}: scores hang on a few images; add images, or use fewer "
    return [RunWarning("few rows", text + "folds")]
