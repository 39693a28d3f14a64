"""Rows of one part in a phase of a training, and the measurement of a network's outputs for them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from featx.finetuning.checkpoints import NetworkOutputs
from featx.finetuning.epochs import PartMeasurement
from featx.finetuning.objective import Objective
from featx.finetuning.training_rows import Inputs
from featx.metrics.definitions import WEIGHTED_PREFIX, Scorer
from featx.specs.head import Metric
from featx.tables.target_values import TargetValues


@dataclass(frozen=True)
class PhaseRows:
    """The n rows of one part: inputs, objective and true values.

    Attributes
    ----------
    inputs
        Inputs of the first layer that runs.
    objective
        Objective of the rows.
    targets
        True values of the rows, with the decision rule of the network.
    """

    inputs: Inputs
    objective: Objective
    targets: TargetValues

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device) -> "PhaseRows":
        """Return the same rows with their objective on a device."""
        return replace(self, objective=self.objective.to(device))


@dataclass(frozen=True)
class OutputMeasurer:
    """Measures raw outputs of a network by loss and scores.

    Attributes
    ----------
    to_predictions
        Layer that turns raw outputs into predictions.
    names
        Names of the plain scores.
    metric
        The metric of the target; of weighted rows its weighted value is measured too, as ``confidence_METRIC``.
    """

    to_predictions: NetworkOutputs
    names: tuple[str, ...]
    metric: Metric

    def chosen_score(self, targets: TargetValues) -> str:
        """Return the name of the score by which epochs are chosen: the metric, weighted if the rows have weights."""
        return self.metric if targets.weights is None else f"{WEIGHTED_PREFIX}{self.metric}"

    @torch.inference_mode()
    def measure(self, rows: PhaseRows, outputs: Tensor, loss: float | None = None) -> PartMeasurement:
        """Return the loss and the scores of (n, m) raw outputs for the rows.

        Parameters
        ----------
        loss
            Weighted mean loss, where it is known; computed from the outputs by default.
        """
        if loss is None:
            objective = rows.objective
            loss = float(objective.mean_loss(outputs.to(objective.targets.device), objective.all_rows))
        return PartMeasurement(loss, self.scores(rows.targets, outputs))

    @torch.inference_mode()
    def scores(self, targets: TargetValues, outputs: Tensor) -> dict[str, float]:
        """Return the scores of (n, m) raw outputs."""
        predictions = self.to_predictions(outputs.float().cpu()).numpy()
        scores = Scorer(targets, predictions, self.names).plain()
        if targets.weights is not None and targets.weights.any():
            weighted_scores = Scorer(targets, predictions, [self.metric]).plain(targets.weights)
            scores[self.chosen_score(targets)] = weighted_scores[self.metric]
        return scores
