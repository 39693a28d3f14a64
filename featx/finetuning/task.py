"""A target of a study in the form that training takes."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featx.finetune_specs import FinetuneSpec, LossSpec, NetworkSpec
from featx.finetuning.goal import Goal, loss_of
from featx.specs import EmbeddingRequest, Preprocessing
from featx.weighting import group_weights, mean_one, row_weights
from featx.workspace import Study


@dataclass(frozen=True)
class Task:
    """What a network is to learn, for all rows of train.

    Attributes
    ----------
    classes
        Names of the answers' columns.
    goal
        Of the train rows in their order.
    codes
        (n,) that held-out rows keep the shares of; None for numbers.
    groups
        (n,) that stay whole.
    """

    spec: FinetuneSpec
    classes: tuple[str, ...]
    goal: Goal
    codes: NDArray[np.int64] | None
    groups: NDArray[np.object_] | None

    @property
    def n_outputs(self) -> int:
        """M."""
        return self.goal.n_outputs

    def network_spec(self, request: EmbeddingRequest, preprocessing: Preprocessing) -> NetworkSpec:
        """Return what the trained network is made of."""
        loss = self.spec.loss or LossSpec()
        return NetworkSpec(
            request=request,
            preprocessing=preprocessing,
            layers=self.spec.layers,
            loss=loss,
            n_outputs=self.n_outputs,
        )


def task_for(study: Study, target: str, spec: FinetuneSpec, group_columns: list[str]) -> Task:
    """Return what a spec makes of a target.

    Raises
    ------
    DataError
        the loss does not go with the target, or a class or group is too small.
    """
    ids = study.ids("train")
    truth = study.truth(target).take(ids)
    loss = loss_of(spec, "cross_entropy")
    weights = row_weights("finetune", spec.class_weight, truth)
    if group_columns:
        weights = mean_one(weights * group_weights(study.group_names(group_columns, ids)))
    goal = Goal(
        loss,
        loss.n_outputs(len(truth.classes)),
        torch.from_numpy(truth.codes),
        torch.from_numpy(weights.astype(np.float32)),
    )
    return Task(spec, truth.classes, goal, truth.codes, study.groups(ids))
