"""Votes as torch functions with exact gradients: means of probabilities, confidence, and linear stacking.

The input are the scores of the members (`featx.robustness.differentiable_heads`); so is the output.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from featx.ensembles.combiners import Combiner
from featx.ensembles.fixed_rules import MIN_CERTAINTY, CertaintyWeightedMean, Mean, Median
from featx.ensembles.stacking import PROBABILITY_MARGIN, LinearModel, Stack
from featx.errors import UnsuitedError
from featx.robustness.differentiable_heads import MIN_PROBABILITY
from featx.tables.ids import Kind

# (m, b, k) scores of members → (b, k) scores.
Vote = Callable[[Tensor], Tensor]


def make_differentiable_vote(combiner: Combiner, kind: Kind, names: tuple[str, ...]) -> Vote:
    """Return the vote of a combiner.

    Parameters
    ----------
    combiner
        Combiner of the members.
    kind
        Kind of the target.
    names
        Names of the columns in the order of the scores.

    Raises
    ------
    UnsuitedError
        The vote has no gradient, such as a majority vote.
    """
    if isinstance(combiner, Mean):
        return _mean(combiner, kind)
    if isinstance(combiner, Median) and kind == "numbers":
        return lambda scores: scores.quantile(0.5, dim=0)
    if isinstance(combiner, CertaintyWeightedMean):
        return lambda scores: _confidence(scores, kind)
    if isinstance(combiner, Stack) and all(isinstance(model, LinearModel) for model in combiner.learnt):
        return _stack(combiner, kind, names)
    raise UnsuitedError(
        f"{type(combiner).__name__.lower()} has no gradient; white-box attacks need 'soft', 'weighted', 'convex', "
        "'greedy', 'confidence' or stacking with a linear model: attack it by 'transfer' and 'square'"
    )


def _mean(combiner: Mean, kind: Kind) -> Vote:
    weights = torch.tensor(combiner.weights, dtype=torch.float64)
    shares = (weights / weights.sum())[:, None, None]

    def vote(scores: Tensor) -> Tensor:
        share = shares.to(scores.device)
        if kind == "classes":
            return (scores.log_softmax(dim=2) + share.log()).logsumexp(dim=0)
        if kind == "labels":
            return _log_odds((share * scores.sigmoid()).sum(dim=0))
        return (share * scores).sum(dim=0)

    return vote


def _log_odds(proba: Tensor) -> Tensor:
    return proba.clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY).logit()


def _entropy(proba: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(proba)
    return entropy


def _confidence(scores: Tensor, kind: Kind) -> Tensor:
    """Return the mean of the members, weighted in each row by 1 minus their relative entropy."""
    largest = torch.tensor(max(2, scores.shape[2] if kind == "classes" else 2), dtype=scores.dtype).log()
    if kind == "labels":
        proba = scores.sigmoid()
        certainty = (1 - (_entropy(proba) + _entropy(1 - proba)) / largest).clamp(0, 1) + MIN_CERTAINTY
        return _log_odds((certainty * proba).sum(dim=0) / certainty.sum(dim=0))
    proba = scores.softmax(dim=2)
    certainty = (1 - _entropy(proba).sum(dim=2, keepdim=True) / largest).clamp(0, 1) + MIN_CERTAINTY
    return ((certainty * proba).sum(dim=0) / certainty.sum(dim=0)).clamp(min=MIN_PROBABILITY).log()


def _stack(combiner: Stack, kind: Kind, names: tuple[str, ...]) -> Vote:
    """Return a linear meta-learner, whose columns are in the order of its fit."""
    order = [names.index(name) for name in combiner.names]
    inverse = [combiner.names.index(name) for name in names]
    models = [model for model in combiner.learnt if isinstance(model, LinearModel)]

    def vote(scores: Tensor) -> Tensor:
        inputs = _stack_features(scores[:, :, order], kind, combiner.stacker)
        raw = torch.cat([_linear(model, x) for model, x in zip(models, inputs, strict=True)], dim=1)
        return (_ridge_scores(raw, kind) if combiner.stacker == "ridge" else raw)[:, inverse]

    return vote


def _ridge_scores(raw: Tensor, kind: Kind) -> Tensor:
    """Return the scores of a ridge regression, whose outputs are probabilities that are clipped."""
    if kind == "numbers":
        return raw
    proba = raw.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    return proba.log() if kind == "classes" else proba.logit()


def _linear(model: LinearModel, x: Tensor) -> Tensor:
    coef, intercept = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in (model.coef, model.intercept))
    return functional.linear(x, coef, intercept)


def _stack_features(scores: Tensor, kind: Kind, stacker: str) -> list[Tensor]:
    """Return the features of each model of a stack (`featx.ensembles.stacking.features`)."""
    limits = (PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    if kind == "classes":
        proba = scores.softmax(dim=2).clamp(*limits)
        values = proba if stacker == "ridge" else proba.log() - proba.log().mean(dim=2, keepdim=True)
        return [torch.cat(list(values), dim=1)]
    values = scores
    if kind == "labels":
        proba = scores.sigmoid().clamp(*limits)
        values = proba if stacker == "ridge" else proba.logit()
    return [values[:, :, column].T for column in range(values.shape[2])]
