"""Voting methods that fit one weight per member to the selection rows: by its score, or the best convex weights."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from featx.ensembles.combiners import Combiner, EnsembleMethod, MemberOutputs
from featx.ensembles.fixed_rules import Mean
from featx.errors import DataError
from featx.metrics.definitions import find_score
from featx.metrics.score_kinds import Outputs
from featx.metrics.scores import resolve_metric, signed_score
from featx.specs.ensembling import EnsembleSpec
from featx.tables.ids import Floats
from featx.tables.target_values import MIN_PROBABILITY, TargetValues

Weights = Floats
# Convex weights below this are set to 0.
MIN_WEIGHT = 1e-4


def normalise(weights: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the weights, scaled to sum to 1; equal weights if all are 0."""
    weights = weights if weights.any() else np.ones_like(weights)
    return tuple((weights / weights.sum()).tolist())


def fit_score_weights(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Return the mean weighted by the members' scores; by their inverse if less is better.

    Members with a negative score have weight 0. If members have no error or loss at all, only these have a weight.
    """
    metric = resolve_metric(targets, spec.metric)
    signed_scores = np.nan_to_num(
        [
            signed_score(metric, targets.decided_by(members.rule(member)), outputs)
            for member, outputs in enumerate(members.outputs)
        ]
    )
    if find_score(metric).greater_is_better:
        return Mean(weights=normalise(signed_scores.clip(min=0)))
    is_perfect = signed_scores == 0
    return Mean(weights=normalise(is_perfect.astype(float) if is_perfect.any() else -1 / signed_scores))


def fit_convex_weights(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Return the mean with the weights ≥ 0 of sum 1 that minimise the log loss, or for numbers the squared error.

    Both losses are convex in the weights, so that the minimum is unique. The errors of each column of numbers are
    divided by the column's standard deviation.

    Raises
    ------
    DataError
        The optimisation does not converge.
    """
    m = len(members)
    loss = _squared_error(members, targets) if targets.kind == "numbers" else _log_loss(members, targets)
    result = minimize(
        loss,
        np.full(m, 1 / m),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * m,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 500},
    )
    if not result.success:
        raise DataError(
            f"the best weights of {m} members were not found ({result.message}); use method 'greedy' or 'soft'"
        )
    return Mean(weights=normalise(np.where(result.x < MIN_WEIGHT, 0, result.x)))


# (m,) weights → loss and its (m,) gradient.
Loss = Callable[[Weights], tuple[float, Weights]]


def _log_loss(members: MemberOutputs, targets: TargetValues) -> Loss:
    proba, counts = _true_probabilities(members.outputs, targets)

    def loss(weights: Weights) -> tuple[float, Weights]:
        mean_proba = np.clip(proba @ weights, MIN_PROBABILITY, None)
        return float(-counts @ np.log(mean_proba)), -proba.T @ (counts / mean_proba)

    return loss


def _true_probabilities(outputs: Floats, targets: TargetValues) -> tuple[Floats, Floats]:
    """Return (r, m) probabilities that the members give to the truth, and (r,) weights of these, of sum 1."""
    weights = targets.row_weights[:, None]
    if targets.kind == "labels":
        proba, counts = np.where(targets.y == 1, outputs, 1 - outputs), np.repeat(weights, targets.n_outputs, axis=1)
    else:
        proba, counts = outputs, targets.memberships * weights
    is_true = counts.ravel() > 0
    counts = counts.ravel()[is_true]
    return proba.reshape(len(outputs), -1).T[is_true], counts / counts.sum()


def _squared_error(members: MemberOutputs, targets: TargetValues) -> Loss:
    unit = targets.y.std(axis=0)
    unit = np.where(unit > 0, unit, 1)
    predicted: Outputs = (members.outputs / unit).reshape(len(members), -1).T
    true = (targets.y / unit).ravel()
    counts = np.repeat(targets.row_weights, targets.n_outputs) / (targets.row_weights.sum() * targets.n_outputs)

    def loss(weights: Weights) -> tuple[float, Weights]:
        errors = predicted @ weights - true
        return float(counts @ errors**2), 2 * predicted.T @ (counts * errors)

    return loss


weighted = EnsembleMethod(fit_score_weights, Mean)
convex = EnsembleMethod(fit_convex_weights, Mean)
