"""A target of a study in the form that training takes, and what the answers mean."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from featx.errors import DataError
from featx.finetuning.layers import check_range
from featx.finetuning.losses import Loss, loss_named
from featx.finetuning.objective import Objective
from featx.specs.embedding import EmbeddingRequest, Preprocessing
from featx.specs.finetuning import FinetuneSpec, LossSpec, NetworkSpec, Scale
from featx.study.study import Study
from featx.tables.decision_rule import DecisionRule, rule_of_weights
from featx.tables.encoding import strata
from featx.tables.sample_weights import class_weights, weights_without_classes
from featx.tables.truth import Numbers, Truth

Floats = NDArray[np.float64]
MOST_VALUES = 1000  # of a number that is learnt as classes
OWN_ACTIVATION = {"cross_entropy": "softmax", "focal": "softmax", "bce": "sigmoid", "ordinal": "sigmoid"}


@dataclass(frozen=True)
class Coding:
    """How numbers are learnt: output = (number - offset) / factor, or the code of one of the `values`."""

    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class TrainingTask:
    """What a network is to learn, for all rows of train.

    Attributes
    ----------
    classes, numbers
        Names of the answers' columns; one of them is empty.
    goal
        Of the train rows in their order.
    strata
        (n,) codes that held-out rows keep the shares of.
    groups
        (n,) that stay whole.
    class_weights
        (k,) of the classes in training; None where all count the same.
    """

    spec: FinetuneSpec
    classes: tuple[str, ...]
    numbers: tuple[str, ...]
    goal: Objective
    strata: NDArray[np.int64]
    groups: NDArray[np.object_] | None
    coding: Coding = field(default_factory=Coding)
    class_weights: NDArray[np.float64] | None = None

    @property
    def decision(self) -> DecisionRule | None:
        """The rule by which the network decides for a class."""
        return rule_of_weights(self.class_weights)

    @property
    def n_outputs(self) -> int:
        """M."""
        return self.goal.n_outputs

    def network_spec(self, request: EmbeddingRequest, preprocessing: Preprocessing) -> NetworkSpec:
        """Return what the trained network is made of."""
        return NetworkSpec(
            request=request,
            preprocessing=preprocessing,
            layers=self.spec.layers,
            loss=self.goal.spec,
            n_outputs=self.n_outputs,
            offset=self.coding.offset,
            factor=self.coding.factor,
            values=self.coding.values,
            class_weights=() if self.class_weights is None else tuple(self.class_weights.tolist()),
        )


def task_for(study: Study, target: str, spec: FinetuneSpec, group_columns: list[str]) -> TrainingTask:
    """Return what a spec makes of a target.

    Raises
    ------
    DataError
        the loss, the layers' activation or the scale do not go with the target, or a weighted class does not exist.
    """
    ids = study.ids("train")
    labels = study.labels(target).take(ids)
    named = spec.loss or LossSpec(name="mse" if isinstance(labels, Numbers) else "cross_entropy")
    loss = loss_named(named)
    if isinstance(labels, Numbers):
        made = _of_numbers(labels, loss, named, spec)
    else:
        made = _of_classes(labels, loss, named, spec)
    groups = study.group_names(group_columns, ids) if group_columns else None
    weights = weights_without_classes(labels, groups)
    of_classes = class_weights("finetune", spec.class_weight, labels, weights)
    targets, n_outputs, coding = made
    if isinstance(labels, Truth) and labels.shares is not None:
        targets, weights = _of_shares(loss, named, labels.shares, of_classes, weights)
    elif of_classes is not None:
        weights = weights * of_classes[targets.numpy()]
    goal = Objective(named, n_outputs, targets, torch.from_numpy(weights.astype(np.float32)), spec.layers.activation)
    bands = strata(study.manifest_of(ids), target, study.recipe.targets[target]).codes
    classes, numbers = ((), labels.names) if isinstance(labels, Numbers) else (labels.classes, ())
    return TrainingTask(spec, classes, numbers, goal, bands, study.groups(ids), coding, of_classes)


def _of_shares(
    loss: Loss, named: LossSpec, shares: Floats, class_weights: Floats | None, weights: Floats
) -> tuple[torch.Tensor, Floats]:
    """Return the targets and row weights of soft labels.

    Losses are linear in the shares, so that the loss of a row whose classes have weights, Σ wₖ sₖ lₖ, is that of the
    shares wₖ sₖ / Σ wₖ sₖ with Σ wₖ sₖ as the weight of the row.
    """
    if loss.of_shares is None:
        raise DataError(
            f"loss {named.name!r} learns one class a row, the target has soft labels; say loss = 'cross_entropy'"
        )
    weighted = shares if class_weights is None else shares * class_weights
    totals = weighted.sum(1, keepdims=True)
    scaled = np.divide(weighted, totals, out=shares.copy(), where=totals > 0)
    return loss.of_shares(torch.from_numpy(scaled.astype(np.float32))), weights * totals[:, 0]


Made = tuple[torch.Tensor, int, Coding]  # targets, m, and what outputs mean


def _of_classes(truth: Truth, loss: Loss, named: LossSpec, spec: FinetuneSpec) -> Made:
    if not loss.of_classes:
        raise DataError(f"loss {named.name!r} is one of numbers, the target has classes; say loss = 'cross_entropy'")
    _check_plain(spec, named.name)
    if spec.scale != "none":
        raise DataError(f"scale = {spec.scale!r} is for numbers, the target has classes; leave it out")
    return torch.from_numpy(truth.codes), loss.n_outputs(len(truth.classes)), Coding()


def _of_numbers(found: Numbers, loss: Loss, named: LossSpec, spec: FinetuneSpec) -> Made:
    if loss.of_classes:
        return _as_classes(found, loss, named, spec)
    offset, factor = _scaling(found.values, spec.scale)
    scaled = (found.values - offset) / factor
    if problem := loss.problem(scaled):
        raise DataError(problem)
    check_range(spec.layers.activation, float(scaled.min()), float(scaled.max()))
    coding = Coding(tuple(offset.tolist()), tuple(factor.tolist()))
    return torch.from_numpy(scaled.astype(np.float32)), len(found.names), coding


def _as_classes(found: Numbers, loss: Loss, named: LossSpec, spec: FinetuneSpec) -> Made:
    """Take each different number for a class; the answer is their mean by probability."""
    if len(found.names) > 1:
        raise DataError(f"loss {named.name!r} learns one number, the target has {len(found.names)}; say loss = 'mse'")
    values, codes = np.unique(found.values[:, 0], return_inverse=True)
    if len(values) > MOST_VALUES:
        raise DataError(f"loss {named.name!r} takes each number for a class, found {len(values)} of them; say 'mse'")
    if spec.scale != "none":
        raise DataError(f"scale = {spec.scale!r} does not go with loss {named.name!r}, which learns numbers as classes")
    _check_plain(spec, named.name)
    return torch.from_numpy(codes), loss.n_outputs(len(values)), Coding(values=tuple(values.tolist()))


def _scaling(values: NDArray[np.float64], scale: Scale) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offset and factor of each column, by the train rows."""
    low, high = values.min(0), values.max(0)
    offset, factor = {
        "none": (np.zeros_like(low), np.ones_like(low)),
        "unit": (low, high - low),
        "symmetric": ((low + high) / 2, (high - low) / 2),
        "standard": (values.mean(0), values.std(0)),
    }[scale]
    return offset, np.where(factor > 0, factor, 1.0)


def _check_plain(spec: FinetuneSpec, loss: str) -> None:
    if spec.layers.activation not in {"none", OWN_ACTIVATION.get(loss, "none")}:
        raise DataError(
            f"loss {loss!r} has its own activation, found layers.activation = {spec.layers.activation!r}; say 'none'"
        )
