"""One weight a member, learnt from the rows that choose: by its score, or the best of all convex weights."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from featx.ensembles.combiners import Combiner, MemberOutputs, Outputs, VotingMethod
from featx.ensembles.fixed_rules import Mean
from featx.errors import DataError
from featx.metrics.definitions import LESS_IS_BETTER
from featx.metrics.row_scores import MIN_PROBABILITY
from featx.metrics.scores import chosen_metric, merit
from featx.specs.ensembling import EnsembleSpec
from featx.tables.target_values import TargetValues

Weights = NDArray[np.float64]
LEAST_WEIGHT = 1e-4  # what weighs less is left out


def scaled(raw: NDArray[np.floating]) -> tuple[float, ...]:
    """Return weights that sum to 1; equal ones where all are 0."""
    raw = raw if raw.any() else np.ones_like(raw)
    return tuple((raw / raw.sum()).tolist())


def by_score(ballots: MemberOutputs, facts: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Weigh members by their score; by its inverse where less is better, and by nothing where it is negative.

    Of members without any error or loss, these alone count.
    """
    metric = chosen_metric(facts, spec.metric)
    each = enumerate(ballots.outputs)
    merits = np.nan_to_num([merit(metric, facts.decided_by(ballots.rule(member)), said) for member, said in each])
    if metric not in LESS_IS_BETTER:
        return Mean(weights=scaled(merits.clip(min=0)))
    perfect = merits == 0
    return Mean(weights=scaled(perfect.astype(float) if perfect.any() else -1 / merits))


def best_convex(ballots: MemberOutputs, facts: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Find the weights ≥ 0 of sum 1 whose mean has the least log loss, or of numbers the least squared error.

    Both are convex in the weights, so that there is one best value. Each column of numbers counts in units of its
    own standard deviation.

    Raises
    ------
    DataError
        the search for them does not end.
    """
    m = len(ballots)
    loss = _squared_error(ballots, facts) if facts.kind == "numbers" else _log_loss(ballots, facts)
    found = minimize(
        loss,
        np.full(m, 1 / m),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * m,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 500},
    )
    if not found.success:
        raise DataError(f"no best weights of {m} members were found ({found.message}); use 'greedy' or 'soft' instead")
    return Mean(weights=scaled(np.where(found.x < LEAST_WEIGHT, 0, found.x)))


Loss = Callable[[Weights], tuple[float, Weights]]  # at some weights, and its gradient


def _log_loss(ballots: MemberOutputs, facts: TargetValues) -> Loss:
    given, counts = _given(ballots.outputs, facts)

    def of(weights: Weights) -> tuple[float, Weights]:
        mixed = np.clip(given @ weights, MIN_PROBABILITY, None)
        return float(-counts @ np.log(mixed)), -given.T @ (counts / mixed)

    return of


def _given(said: NDArray[np.float64], facts: TargetValues) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (r, m) the probabilities given to what happened, and (r,) how much each counts, in all 1."""
    n, k = said.shape[1:]
    weights = np.ones(n) if facts.weights is None else facts.weights
    if facts.kind == "labels":
        given, counts = np.where(facts.y == 1, said, 1 - said), np.repeat(weights[:, None], k, axis=1)
    else:
        shares = np.eye(k)[facts.y] if facts.shares is None else facts.shares
        given, counts = said, shares * weights[:, None]
    happened = counts.ravel() > 0
    counts = counts.ravel()[happened]
    return given.reshape(len(said), -1).T[happened], counts / counts.sum()


def _squared_error(ballots: MemberOutputs, facts: TargetValues) -> Loss:
    unit = facts.y.std(axis=0)
    unit = np.where(unit > 0, unit, 1)
    said: Outputs = (ballots.outputs / unit).reshape(len(ballots), -1).T
    true = (facts.y / unit).ravel()
    weights = np.ones(len(facts)) if facts.weights is None else facts.weights
    counts = np.repeat(weights, facts.n_outputs) / (weights.sum() * facts.n_outputs)

    def of(weights: Weights) -> tuple[float, Weights]:
        off = said @ weights - true
        return float(counts @ off**2), 2 * said.T @ (counts * off)

    return of


weighted = VotingMethod(by_score, Mean)
convex = VotingMethod(best_convex, Mean)
