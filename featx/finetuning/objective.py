"""What a network is to answer, in the form that training takes: targets, weights and the loss that joins them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.finetuning.layers import ACTIVATIONS
from featx.finetuning.losses import Loss, loss_named, weighted_mean
from featx.specs.finetuning import Activation, LossSpec


@dataclass(frozen=True)
class Objective:
    """A loss over some rows' targets.

    Attributes
    ----------
    spec
        Which loss.
    n_outputs
        m, that a network needs for it.
    targets
        (n,) codes, or (n, t) numbers as they are learnt.
    weights
        (n,) positive, mean 1 over the rows of train.
    activation
        Of the outputs, where the loss is one of numbers.
    """

    spec: LossSpec
    n_outputs: int
    targets: Tensor
    weights: Tensor
    activation: Activation = "none"

    @property
    def loss(self) -> Loss:
        """The loss itself."""
        return loss_named(self.spec)

    def take(self, at: NDArray[np.intp]) -> "Objective":
        """Return the same goal for some of the rows."""
        rows = torch.from_numpy(at)
        return Objective(self.spec, self.n_outputs, self.targets[rows], self.weights[rows], self.activation)

    def to(self, device: torch.device) -> "Objective":
        """Return the same goal with its rows on a device."""
        return Objective(self.spec, self.n_outputs, self.targets.to(device), self.weights.to(device), self.activation)

    def losses(self, outputs: Tensor, at: Tensor) -> Tensor:
        """Return (b,) losses of a network's raw outputs for the rows `at`."""
        found = outputs.float() if outputs.dtype != torch.float64 else outputs
        if not self.loss.of_classes:
            found = ACTIVATIONS[self.activation](found)
        return self.loss.rows(found, self.targets[at])

    def mean(self, outputs: Tensor, at: Tensor) -> Tensor:
        """Return the weighted mean of `losses`."""
        return weighted_mean(self.losses(outputs, at), self.weights[at])

    def total(self, outputs: Tensor, at: Tensor) -> Tensor:
        """Return the weighted sum of `losses`.

        A step divides it by its number of rows, so that on average over steps the gradient is that of the weighted loss
        of all rows. Divided by the weights of its own rows, a row would count more among light ones.
        """
        return (self.losses(outputs, at) * self.weights[at]).sum()

    def with_mean_one(self) -> "Objective":
        """Return the same goal with weights of mean 1."""
        weights = self.weights / self.weights.mean() if len(self.weights) else self.weights
        return replace(self, weights=weights)

    @property
    def rows(self) -> Tensor:
        """Return all row numbers."""
        return torch.arange(len(self.targets), device=self.targets.device)
