"""Loss functions that give one number per row; the caller weights and averages them over the rows.

Classification losses take the raw outputs of the network; regression losses take them after the activation of the
outputs, and losses that depend on the position of 0 take numbers in the units of their column. In the formulas z are
raw outputs, p probabilities, y targets, ŷ predicted numbers, (b, m) rows and outputs; the loss of a row is the mean
over its outputs.

References
----------
.. [1] T.-Y. Lin et al., Focal loss for dense object detection, ICCV 2017.
.. [2] W. Cao, V. Mirjalili, S. Raschka, Rank consistent ordinal regression for neural networks, Pattern Recognition
   Letters 2020: the loss of section 3, with one row of weights for each threshold.
.. [3] G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, arXiv:1503.02531, 2015.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from featx.errors import DataError
from featx.registry import LOSSES
from featx.specs.finetuning import LossSpec

# Smaller predicted rates are raised to this value, so that their logarithm is finite.
MIN_RATE = 1e-7
Targets = NDArray[np.float64]  # (n,) codes or (n, t) numbers
RowLosses = Callable[[Tensor, Tensor], Tensor]


def _identity(outputs: Tensor) -> Tensor:
    return outputs


def _accept_targets(_targets: Targets) -> str:
    return ""


def _one_output_per_class(n_classes: int) -> int:
    return n_classes


@dataclass(frozen=True)
class Loss:
    """A loss function with its targets, its number of outputs and its predictions.

    Attributes
    ----------
    row_losses
        Function of (b, m) outputs and targets that returns (b,) losses. Targets are (b,) codes of classes, the result
        of `targets_from_shares` for soft labels, or (b, m) numbers.
    predict
        Function of (b, m) outputs that returns (b, k) probabilities or (b, m) numbers.
    is_classification
        Whether targets are classes.
    targets_from_shares
        Function of (n, k) class shares that returns targets for `row_losses`; None if the loss takes only one class
        per row.
    count_outputs
        Function of the number of classes that returns the number of outputs.
    find_problem
        Function of the targets that returns what is wrong with them and a loss that fits; an empty text if nothing
        is wrong.
    uses_own_units
        Whether numbers are compared in the units of their column where they are scaled for training, because the loss
        depends on the position of 0.
    class_loss
        The same loss of classes as columns of 0 and 1; None if a loss of numbers does not learn classes.
    """

    row_losses: RowLosses
    predict: Callable[[Tensor], Tensor] = _identity
    is_classification: bool = False
    targets_from_shares: Callable[[Tensor], Tensor] | None = None
    count_outputs: Callable[[int], int] = _one_output_per_class
    find_problem: Callable[[Targets], str] = _accept_targets
    uses_own_units: bool = False
    class_loss: "Loss | None" = None


@cache
def build_loss(spec: LossSpec, learns_classes: bool = False) -> Loss:
    """Return the loss that a spec describes, for a target of classes or of numbers."""
    loss: Loss = LOSSES.get(spec.name)(spec)
    return loss.class_loss if learns_classes and loss.class_loss is not None else loss


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Return Σ wᵢ lᵢ / Σ wᵢ of (b,) losses; 0, with a gradient of 0, where all weights are 0."""
    total = weights.sum()
    return (losses * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def distillation_losses(outputs: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return T² Σ q log(q / softmax(z / T)) for the (b, k) softened probabilities q of a teacher [3]_.

    The factor keeps gradients at the size that they have at T = 1. The loss is 0 where the teacher is reproduced.
    """
    log_p = (outputs / temperature).log_softmax(1)
    divergence = torch.special.xlogy(targets, targets) - targets * log_p
    losses: Tensor = temperature**2 * divergence.sum(1)
    return losses


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(1)


def _shares(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return targets as (b, k) shares of the classes: codes become one-hot."""
    if targets.ndim == 2:
        return targets.to(outputs.dtype)
    return functional.one_hot(targets.long(), outputs.shape[1]).to(outputs.dtype)


def cross_entropy(spec: LossSpec) -> Loss:
    """−Σ y log softmax(z); with `label_smoothing` s, y becomes (1 − s) y + s / k."""

    def row_losses(outputs: Tensor, targets: Tensor) -> Tensor:
        shares = _shares(outputs, targets)
        return functional.cross_entropy(outputs, shares, reduction="none", label_smoothing=spec.label_smoothing)

    return Loss(row_losses, _softmax, is_classification=True, targets_from_shares=_identity)


def focal(spec: LossSpec) -> Loss:
    """−Σ y (1 − p)^γ log p, p = softmax(z) [1]_: rows that are already classified well count less."""

    def row_losses(outputs: Tensor, targets: Tensor) -> Tensor:
        log_p = outputs.log_softmax(1)
        # A power below 1 has an infinite slope at 0, which p = 1 would reach.
        complement = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        return -(_shares(outputs, targets) * complement**spec.gamma * log_p).sum(1)

    return Loss(row_losses, _softmax, is_classification=True, targets_from_shares=_identity)


def bce(spec: LossSpec) -> Loss:
    """−y log p − (1 − y) log(1 − p), p = 1 / (1 + e^−z): one output for two classes; smoothed as in cross-entropy."""

    def row_losses(outputs: Tensor, targets: Tensor) -> Tensor:
        shares = (targets if targets.ndim == 2 else targets[:, None]).to(outputs.dtype)
        shares = shares * (1 - spec.label_smoothing) + spec.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(outputs, shares, reduction="none").mean(1)

    def predict(outputs: Tensor) -> Tensor:
        proba = outputs.sigmoid()
        return torch.cat([1 - proba, proba], dim=1)

    def count_outputs(n_classes: int) -> int:
        if n_classes != 2:
            raise DataError(f"loss 'bce' takes two classes, found {n_classes}; set loss = 'cross_entropy'")
        return 1

    return Loss(
        row_losses,
        predict,
        is_classification=True,
        targets_from_shares=lambda shares: shares[:, 1:],
        count_outputs=count_outputs,
    )


def ordinal(spec: LossSpec) -> Loss:
    """Mean binary cross-entropy of "beyond class j" over the thresholds j between ordered classes [2]_."""

    def row_losses(outputs: Tensor, targets: Tensor) -> Tensor:
        thresholds = torch.arange(outputs.shape[1], device=outputs.device)
        is_beyond = (targets[:, None] > thresholds).to(outputs.dtype)
        return functional.binary_cross_entropy_with_logits(outputs, is_beyond, reduction="none").mean(1)

    def predict(outputs: Tensor) -> Tensor:
        # The probability of lying beyond a threshold never increases from one threshold to the next.
        p_beyond = outputs.sigmoid().cummin(1).values
        ones, zeros = torch.ones_like(p_beyond[:, :1]), torch.zeros_like(p_beyond[:, :1])
        return torch.cat([ones, p_beyond], 1) - torch.cat([p_beyond, zeros], 1)

    return Loss(row_losses, predict, is_classification=True, count_outputs=lambda n_classes: n_classes - 1)


def _regression_loss(elementwise: RowLosses, **options: Any) -> Loss:
    """Return a loss of numbers: the mean of an elementwise function over the outputs of a row."""
    return Loss(lambda outputs, targets: elementwise(outputs, targets.to(outputs.dtype)).mean(1), **options)


def _loss_of_columns(class_distances: Callable[[Tensor], Tensor]) -> Loss:
    """Return a loss of classes as columns of 0 and 1, with p = softmax(z).

    Parameters
    ----------
    class_distances
        Function of (b, k) probabilities that returns (b, k) losses, one for each class that may be the true one. The
        loss of soft labels is their mean weighted by the shares.
    """

    def row_losses(outputs: Tensor, targets: Tensor) -> Tensor:
        return (_shares(outputs, targets) * class_distances(outputs.softmax(1))).sum(1)

    return Loss(row_losses, _softmax, is_classification=True, targets_from_shares=_identity)


def mse(spec: LossSpec) -> Loss:
    """(ŷ − y)²; for classes ŷ is the probability of each class, and y is 1 for the true one and 0 for the others."""
    # The squares of all classes with p² in place of (p − 1)² for the true class, which adds 1 − 2 p.
    class_loss = _loss_of_columns(lambda p: ((p**2).sum(1, keepdim=True) + 1 - 2 * p) / p.shape[1])
    return _regression_loss(lambda y_pred, y_true: (y_pred - y_true) ** 2, class_loss=class_loss)


def mae(spec: LossSpec) -> Loss:
    """|ŷ − y|; for classes ŷ is the probability of each class, and y is 1 for the true one and 0 for the others."""
    # The true class lacks 1 − p, and the others have as much in all.
    class_loss = _loss_of_columns(lambda p: 2 * (1 - p) / p.shape[1])
    return _regression_loss(lambda y_pred, y_true: (y_pred - y_true).abs(), class_loss=class_loss)


def huber(spec: LossSpec) -> Loss:
    """½ e² where |e| ≤ δ, else δ (|e| − ½ δ), with e = ŷ − y."""
    return _regression_loss(
        lambda y_pred, y_true: functional.huber_loss(y_pred, y_true, reduction="none", delta=spec.delta)
    )


def log_cosh(spec: LossSpec) -> Loss:
    """Log cosh(ŷ − y), written so that it does not overflow."""

    def elementwise(y_pred: Tensor, y_true: Tensor) -> Tensor:
        error = y_pred - y_true
        return error + functional.softplus(-2 * error) - math.log(2)

    return _regression_loss(elementwise)


def poisson(spec: LossSpec) -> Loss:
    """ŷ − y log ŷ, the negative log-likelihood of the Poisson distribution up to terms that do not depend on ŷ."""

    def elementwise(y_pred: Tensor, y_true: Tensor) -> Tensor:
        rate = y_pred.clamp(min=MIN_RATE)
        return rate - y_true * rate.log()

    return _regression_loss(elementwise, find_problem=_negative_target_check("poisson"), uses_own_units=True)


def msle(spec: LossSpec) -> Loss:
    """(log(1 + ŷ) − log(1 + y))²; a negative ŷ counts as 0."""

    def elementwise(y_pred: Tensor, y_true: Tensor) -> Tensor:
        return (y_pred.clamp(min=0).log1p() - y_true.log1p()) ** 2

    return _regression_loss(elementwise, find_problem=_negative_target_check("msle"), uses_own_units=True)


def mape(spec: LossSpec) -> Loss:
    """|ŷ − y| / |y|."""

    def find_problem(targets: Targets) -> str:
        n_zero = int((targets == 0).sum())
        return f"loss 'mape' divides by the target, {n_zero} targets are 0; set loss = 'mae'" if n_zero else ""

    return _regression_loss(
        lambda y_pred, y_true: (y_pred - y_true).abs() / y_true.abs(), find_problem=find_problem, uses_own_units=True
    )


def _negative_target_check(name: str) -> Callable[[Targets], str]:
    """Return a function that describes negative targets, which the loss called `name` cannot take."""

    def find_problem(targets: Targets) -> str:
        if not (targets < 0).any():
            return ""
        return f"loss {name!r} takes targets from 0 on, the smallest is {targets.min():g}; set loss = 'huber'"

    return find_problem
