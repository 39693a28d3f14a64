"""What training makes small, one number a row; means over rows are weighted by whoever asks.

Losses of classes take the network's raw outputs; losses of numbers take them after the output's activation. In the
formulas z are raw outputs, p probabilities, y targets, ŷ predicted numbers, (b, m) rows and outputs; the loss of a row
is the mean over its outputs.

References
----------
.. [1] T.-Y. Lin et al., Focal loss for dense object detection, ICCV 2017.
.. [2] W. Cao, V. Mirjalili, S. Raschka, Rank consistent ordinal regression for neural networks, Pattern Recognition
   Letters 2020: the loss of section 3, with one row of weights for each threshold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from featx.errors import DataError
from featx.registry import LOSSES
from featx.specs.finetuning import LossSpec

LEAST = 1e-7  # of a predicted rate: its logarithm is asked for
Targets = NDArray[np.float64]  # (n,) codes or (n, t) numbers


def _as_they_are(outputs: Tensor) -> Tensor:
    return outputs


def _any(_targets: Targets) -> str:
    return ""


def _one_a_class(n_classes: int) -> int:
    return n_classes


@dataclass(frozen=True)
class Loss:
    """A loss, and what belongs to it.

    Attributes
    ----------
    rows
        (b, m) outputs and targets to (b,) losses. Targets are (b,) codes of classes, or what `of_shares` makes of soft
        labels, or (b, m) numbers.
    answers
        (b, m) outputs to what the network is to answer: (b, k) probabilities, or (b, m) numbers.
    of_classes
        Whether targets are classes.
    of_shares
        (n, k) shares of the classes to the targets of `rows`; None where the loss takes one class a row only.
    n_outputs
        Of so many classes.
    problem
        Says what is wrong with targets, and which loss would do; empty where nothing is.
    """

    rows: Callable[[Tensor, Tensor], Tensor]
    answers: Callable[[Tensor], Tensor] = _as_they_are
    of_classes: bool = False
    of_shares: Callable[[Tensor], Tensor] | None = None
    n_outputs: Callable[[int], int] = _one_a_class
    problem: Callable[[Targets], str] = _any


@cache
def loss_named(spec: LossSpec) -> Loss:
    """Return the loss that a spec describes."""
    made: Loss = LOSSES.get(spec.name)(spec)
    return made


def weighted_mean(losses: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return Σ wᵢ lᵢ / Σ wᵢ of (b,) losses; 0, with a gradient of 0, where all weights are 0."""
    if weights is None:
        return losses.mean()
    total = weights.sum()
    return (losses * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(1)


def _shares(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return targets as (b, k) shares of the classes: codes become one-hot."""
    if targets.ndim == 2:
        return targets.to(outputs.dtype)
    return functional.one_hot(targets.long(), outputs.shape[1]).to(outputs.dtype)


def cross_entropy(spec: LossSpec) -> Loss:
    """−Σ y log softmax(z); with `label_smoothing` s, y becomes (1 − s) y + s / k."""

    def rows(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = _shares(outputs, targets)
        return functional.cross_entropy(outputs, wanted, reduction="none", label_smoothing=spec.label_smoothing)

    return Loss(rows, _softmax, of_classes=True, of_shares=_as_they_are)


def focal(spec: LossSpec) -> Loss:
    """−Σ y (1 − p)^γ log p, p = softmax(z) [1]_: what is right already counts less."""

    def rows(outputs: Tensor, targets: Tensor) -> Tensor:
        log_p = outputs.log_softmax(1)
        # A power below 1 has an infinite slope at 0, which p = 1 would reach.
        rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        return -(_shares(outputs, targets) * rest**spec.gamma * log_p).sum(1)

    return Loss(rows, _softmax, of_classes=True, of_shares=_as_they_are)


def bce(spec: LossSpec) -> Loss:
    """−y log p − (1 − y) log(1 − p), p = 1 / (1 + e^−z): one output for two classes; smoothed as in cross-entropy."""

    def rows(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = (targets if targets.ndim == 2 else targets[:, None]).to(outputs.dtype)
        wanted = wanted * (1 - spec.label_smoothing) + spec.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(1)

    def answers(outputs: Tensor) -> Tensor:
        second = outputs.sigmoid()
        return torch.cat([1 - second, second], dim=1)

    def n_outputs(n_classes: int) -> int:
        if n_classes != 2:
            raise DataError(f"loss 'bce' takes two classes, found {n_classes}; say loss = 'cross_entropy'")
        return 1

    return Loss(rows, answers, of_classes=True, of_shares=lambda shares: shares[:, 1:], n_outputs=n_outputs)


def ordinal(spec: LossSpec) -> Loss:
    """For classes in order: the mean over thresholds j of the binary cross-entropy of "beyond class j" [2]_."""

    def rows(outputs: Tensor, targets: Tensor) -> Tensor:
        thresholds = torch.arange(outputs.shape[1], device=outputs.device)
        beyond = (targets[:, None] > thresholds).to(outputs.dtype)
        return functional.binary_cross_entropy_with_logits(outputs, beyond, reduction="none").mean(1)

    def answers(outputs: Tensor) -> Tensor:
        beyond = outputs.sigmoid().cummin(1).values  # never likelier to be beyond a later threshold
        first, last = torch.ones_like(beyond[:, :1]), torch.zeros_like(beyond[:, :1])
        return torch.cat([first, beyond], 1) - torch.cat([beyond, last], 1)

    return Loss(rows, answers, of_classes=True, n_outputs=lambda n_classes: n_classes - 1)


def _of_numbers(each: Callable[[Tensor, Tensor], Tensor], problem: Callable[[Targets], str] = _any) -> Loss:
    return Loss(lambda outputs, targets: each(outputs, targets.to(outputs.dtype)).mean(1), problem=problem)


def mse(spec: LossSpec) -> Loss:
    """(ŷ − y)²."""
    return _of_numbers(lambda found, wanted: (found - wanted) ** 2)


def mae(spec: LossSpec) -> Loss:
    """|ŷ − y|."""
    return _of_numbers(lambda found, wanted: (found - wanted).abs())


def huber(spec: LossSpec) -> Loss:
    """½ e² where |e| ≤ δ, else δ (|e| − ½ δ), with e = ŷ − y."""
    return _of_numbers(lambda found, wanted: functional.huber_loss(found, wanted, reduction="none", delta=spec.delta))


def log_cosh(spec: LossSpec) -> Loss:
    """Log cosh(ŷ − y), written so that it does not overflow."""

    def each(found: Tensor, wanted: Tensor) -> Tensor:
        error = found - wanted
        return error + functional.softplus(-2 * error) - math.log(2)

    return _of_numbers(each)


def poisson(spec: LossSpec) -> Loss:
    """ŷ − y log ŷ, the Poisson distribution's negative log-likelihood but for what does not depend on ŷ."""

    def each(found: Tensor, wanted: Tensor) -> Tensor:
        rate = found.clamp(min=LEAST)
        return rate - wanted * rate.log()

    return _of_numbers(each, _not_negative("poisson"))


def msle(spec: LossSpec) -> Loss:
    """(log(1 + ŷ) − log(1 + y))²; a negative ŷ counts as 0."""

    def each(found: Tensor, wanted: Tensor) -> Tensor:
        return (found.clamp(min=0).log1p() - wanted.log1p()) ** 2

    return _of_numbers(each, _not_negative("msle"))


def mape(spec: LossSpec) -> Loss:
    """|ŷ − y| / |y|."""

    def problem(targets: Targets) -> str:
        n_zero = int((targets == 0).sum())
        return f"loss 'mape' divides by the target, {n_zero} of which are 0; loss = 'mae' would do" if n_zero else ""

    return _of_numbers(lambda found, wanted: (found - wanted).abs() / wanted.abs(), problem)


def _not_negative(name: str) -> Callable[[Targets], str]:
    def problem(targets: Targets) -> str:
        if not (targets < 0).any():
            return ""
        return f"loss {name!r} takes targets from 0 on, the smallest is {targets.min():g}; loss = 'huber' would do"

    return problem
