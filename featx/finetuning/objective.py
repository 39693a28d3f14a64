"""Training objectives: the targets and weights of rows, and the loss that combines them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.finetuning.layers import ACTIVATIONS
from featx.finetuning.losses import Loss, build_loss, distillation_losses, weighted_mean
from featx.specs.finetuning import Activation, LossSpec


@dataclass(frozen=True)
class Objective:
    """A loss over the targets of n rows.

    Attributes
    ----------
    spec
        The loss.
    n_outputs
        Number m of raw outputs that a network needs for it.
    targets
        (n,) codes, (n, …) soft labels as the loss takes them, or (n, t) numbers, which are scaled unless there is a
        `scaling`.
    weights
        (n,) non-negative weights, of mean 1 over the train rows.
    activation
        Activation of the outputs before a regression loss.
    learns_classes
        Whether the target has classes.
    scaling
        (2, t) offset and factor by which outputs become numbers in the units of the targets; None if they are in these
        units.
    temperature
        Temperature of the distillation whose probabilities the targets are; None for the loss of the spec.
    """

    spec: LossSpec
    n_outputs: int
    targets: Tensor
    weights: Tensor
    activation: Activation = "none"
    learns_classes: bool = False
    scaling: Tensor | None = None
    temperature: float | None = None

    @property
    def loss(self) -> Loss:
        """The loss itself."""
        return build_loss(self.spec, self.learns_classes)

    def take(self, rows: NDArray[np.intp]) -> "Objective":
        """Return the same objective for some of the rows."""
        index = torch.from_numpy(rows)
        return replace(self, targets=self.targets[index], weights=self.weights[index])

    def to(self, device: torch.device) -> "Objective":
        """Return the same objective with its rows on a device."""
        scaling = None if self.scaling is None else self.scaling.to(device)
        return replace(self, targets=self.targets.to(device), weights=self.weights.to(device), scaling=scaling)

    def row_losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the (b,) losses of a network's raw outputs for some rows."""
        y_pred = outputs.float() if outputs.dtype != torch.float64 else outputs
        if self.temperature is not None:
            return distillation_losses(y_pred, self.targets[rows], self.temperature)
        if not self.loss.is_classification:
            y_pred = ACTIVATIONS[self.activation](y_pred)
        if self.scaling is not None:
            offset, factor = self.scaling.to(y_pred.dtype)
            y_pred = y_pred * factor + offset
        return self.loss.row_losses(y_pred, self.targets[rows])

    def mean_loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the weighted mean of the row losses."""
        return weighted_mean(self.row_losses(outputs, rows), self.weights[rows])

    def total_loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the weighted sum of the row losses.

        A step divides it by its number of rows, so that on average over steps the gradient is that of the weighted loss
        of all rows. Divided by the weights of its own rows, a row would count more among light ones.
        """
        return (self.row_losses(outputs, rows) * self.weights[rows]).sum()

    def with_mean_weight_one(self) -> "Objective":
        """Return the same objective with weights of mean 1."""
        weights = self.weights / self.weights.mean() if len(self.weights) else self.weights
        return replace(self, weights=weights)

    @property
    def all_rows(self) -> Tensor:
        """All row numbers."""
        return torch.arange(len(self.targets), device=self.targets.device)
