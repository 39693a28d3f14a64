"""Training tasks: a target of a study as targets, weights and outputs of a network."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from featx.errors import DataError
from featx.finetuning.layers import check_range
from featx.finetuning.losses import Loss, build_loss
from featx.finetuning.number_classes import classes_of_numbers
from featx.finetuning.objective import Objective
from featx.specs.embedding import EmbeddingRequest, Preprocessing
from featx.specs.finetuning import FinetuneSpec, LossSpec, Scale
from featx.specs.suitability import LOSS_ACTIVATIONS
from featx.specs.trained_network import NetworkSpec
from featx.study.study import Study
from featx.tables.decision_rule import DecisionRule, rule_from_weights
from featx.tables.encoding import strata
from featx.tables.sample_weights import (
    balancing_factors,
    class_weights,
    compute_row_weights,
    group_weights,
    multiply_weights,
)
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth, Numbers, Truth

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NumberEncoding:
    """The coding of numbers as outputs: output = (number - offset) / factor, or the code of one of the `values`.

    Attributes
    ----------
    offset
        Offset of each number; empty for classes.
    factor
        Factor of each number; empty for classes.
    values
        Value of each class, if a number is learnt as classes; empty otherwise.
    """

    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


# Targets, number m of outputs, and the coding of the outputs.
EncodedTargets = tuple[torch.Tensor, int, NumberEncoding]


@dataclass(frozen=True)
class TrainingTask:
    """The training of one target, for all n train rows.

    Attributes
    ----------
    spec
        The spec of the training.
    classes
        Names of the predicted classes; empty for numbers.
    numbers
        Names of the predicted numbers; empty for classes.
    objective
        Objective of the train rows in their order.
    strata
        (n,) codes whose shares the held-out rows keep.
    groups
        (n,) groups that are held out as a whole; None if there are none.
    coding
        Encoding of numbers.
    class_weights
        (k,) weights of the classes in decisions, and in training before balancing factors; None if all classes count
        the same.
    targets
        True values of the train rows.
    val_objective, val_targets
        Objective and true values of the val rows.
    val_problem
        Reason why the loss of the val rows is not defined; empty if it is.
    notes
        Notes for the user.
    """

    spec: FinetuneSpec
    classes: tuple[str, ...]
    numbers: tuple[str, ...]
    objective: Objective
    strata: NDArray[np.int64]
    groups: NDArray[np.object_] | None
    coding: NumberEncoding
    class_weights: NDArray[np.float64] | None
    targets: TargetValues
    val_objective: Objective
    val_targets: TargetValues
    val_problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def decision(self) -> DecisionRule | None:
        """The rule by which the network decides for a class."""
        return rule_from_weights(self.class_weights)

    @property
    def n_outputs(self) -> int:
        """Number m of raw outputs."""
        return self.objective.n_outputs

    def network_spec(self, request: EmbeddingRequest, preprocessing: Preprocessing) -> NetworkSpec:
        """Return the spec of the trained network."""
        return NetworkSpec(
            request=request,
            preprocessing=preprocessing,
            layers=self.spec.layers,
            loss=self.objective.spec,
            n_outputs=self.n_outputs,
            offset=self.coding.offset,
            factor=self.coding.factor,
            values=self.coding.values,
            class_weights=() if self.class_weights is None else tuple(self.class_weights.tolist()),
        )


def build_task(study: Study, target: str, spec: FinetuneSpec, group_columns: list[str]) -> TrainingTask:
    """Return the training task of a target.

    Parameters
    ----------
    study
        The study.
    target
        Name of the target.
    spec
        Loss, scale, new layers and class weights.
    group_columns
        Columns of the groups that weigh the same.

    Raises
    ------
    DataError
        If the loss, the activation of the layers or the scale do not fit the target, or a weighted class does not
        exist.
    """
    ids = study.ids("train")
    labels = study.labels(target).take(ids)
    loss_spec = spec.loss or LossSpec(name="mse" if isinstance(labels, Numbers) else "cross_entropy")
    loss = build_loss(loss_spec, learns_classes=not isinstance(labels, Numbers))
    if isinstance(labels, Numbers):
        targets, n_outputs, coding = _encode_numbers(labels, loss, loss_spec, spec)
    else:
        targets, n_outputs, coding = _encode_classes(labels, loss, loss_spec, spec)
    groups = study.group_names(group_columns, ids) if group_columns else None
    weights = compute_row_weights(labels, groups)
    weights_by_class = class_weights("finetune", spec.class_weight, labels, weights)
    trained_weights = multiply_weights(weights_by_class, balancing_factors(spec.class_weight, labels, weights))
    coded_objective = Objective(
        loss_spec,
        n_outputs,
        targets,
        torch.empty(0),
        spec.layers.activation,
        learns_classes=not isinstance(labels, Numbers),
        scaling=torch.tensor([coding.offset, coding.factor]) if loss.uses_own_units else None,
    )
    objective = _weighted_objective(coded_objective, labels, weights, trained_weights)
    rule = rule_from_weights(weights_by_class)
    row_strata = strata(study.manifest_of(ids), target, study.recipe.targets[target]).codes
    classes, numbers = ((), labels.names) if isinstance(labels, Numbers) else (labels.names, ())
    return TrainingTask(
        spec,
        classes,
        numbers,
        objective,
        row_strata,
        study.groups(ids),
        coding,
        weights_by_class,
        TargetValues.of(labels).decided_by(rule),
        *_val_rows(study, target, group_columns, objective, coding, (trained_weights, rule)),
    )


def _weighted_objective(
    objective: Objective, labels: AnyTruth, weights: Floats, weights_by_class: Floats | None
) -> Objective:
    """Return an objective with the weights of its rows and classes; soft labels become the targets."""
    targets = objective.targets
    if isinstance(labels, Truth) and labels.shares is not None:
        targets, weights = encode_shares(objective.loss, objective.spec, labels.shares, weights_by_class, weights)
    elif weights_by_class is not None:
        weights = weights * weights_by_class[targets.numpy()]
    return replace(objective, targets=targets, weights=torch.from_numpy(weights.astype(np.float32)))


def _val_rows(  # noqa: PLR0913 - what train rows have determined
    study: Study,
    target: str,
    group_columns: list[str],
    objective: Objective,
    coding: NumberEncoding,
    weights_and_rule: tuple[Floats | None, DecisionRule | None],
) -> tuple[Objective, TargetValues, str]:
    """Return the objective and the true values of the val rows, and why their loss is not defined, if so.

    Numbers are coded by the statistics of the train rows. A number that is learnt as classes counts as the class with
    the nearest value.
    """
    (weights_by_class, rule), ids = weights_and_rule, study.ids("val")
    labels = study.labels(target).take(ids)
    groups = study.group_names(group_columns, ids) if group_columns else None
    weights = np.ones(len(ids)) if labels.weights is None else labels.weights
    weights = weights * group_weights(groups) if groups is not None and len(ids) else weights
    targets, problem = torch.from_numpy(labels.values), ""
    if isinstance(labels, Numbers) and coding.values:
        values = np.asarray(coding.values)
        targets = torch.from_numpy(np.abs(labels.values - values).argmin(1))
    elif isinstance(labels, Numbers):
        scaled = (labels.values - np.asarray(coding.offset)) / np.asarray(coding.factor)
        numbers = labels.values if objective.loss.uses_own_units else scaled
        problem = objective.loss.find_problem(numbers) if len(ids) else ""
        targets = torch.from_numpy(numbers.astype(np.float32))
    coded_objective = replace(objective, targets=targets)
    decided_targets = TargetValues.of(labels).decided_by(rule)
    return _weighted_objective(coded_objective, labels, weights, weights_by_class), decided_targets, problem


def encode_shares(
    loss: Loss, loss_spec: LossSpec, shares: Floats, class_weights: Floats | None, weights: Floats
) -> tuple[torch.Tensor, Floats]:
    """Return the targets and row weights of soft labels.

    Losses are linear in the shares, so that the loss of a row whose classes have weights, Σ wₖ sₖ lₖ, is that of the
    shares wₖ sₖ / Σ wₖ sₖ with Σ wₖ sₖ as the weight of the row.

    Parameters
    ----------
    loss
        The loss.
    loss_spec
        The spec of the loss.
    shares
        (n, k) shares of the classes.
    class_weights
        (k,) weights of the classes; None if all count the same.
    weights
        (n,) weights of the rows.

    Raises
    ------
    DataError
        If the loss takes only one class per row.
    """
    if loss.targets_from_shares is None:
        raise DataError(
            f"loss {loss_spec.name!r} takes one class per row, the target has soft labels; set loss = 'cross_entropy'"
        )
    weighted_shares = shares if class_weights is None else shares * class_weights
    totals = weighted_shares.sum(1, keepdims=True)
    scaled_shares = np.divide(weighted_shares, totals, out=shares.copy(), where=totals > 0)
    return loss.targets_from_shares(torch.from_numpy(scaled_shares.astype(np.float32))), weights * totals[:, 0]


def _encode_classes(truth: AnyTruth, loss: Loss, loss_spec: LossSpec, spec: FinetuneSpec) -> EncodedTargets:
    if not loss.is_classification:
        raise DataError(f"loss {loss_spec.name!r} takes numbers, the target has classes; set loss = 'cross_entropy'")
    _check_activation(spec, loss_spec.name)
    if spec.scale != "none":
        raise DataError(f"scale = {spec.scale!r} is for numbers, the target has classes; remove it")
    return torch.from_numpy(truth.values), loss.count_outputs(len(truth.names)), NumberEncoding()


def _encode_numbers(numbers: Numbers, loss: Loss, loss_spec: LossSpec, spec: FinetuneSpec) -> EncodedTargets:
    if loss.is_classification:
        return _encode_numbers_as_classes(numbers, loss, loss_spec, spec)
    offset, factor = _scaling(numbers.values, spec.scale)
    scaled = (numbers.values - offset) / factor
    targets = numbers.values if loss.uses_own_units else scaled
    if problem := loss.find_problem(targets):
        raise DataError(problem)
    check_range(spec.layers.activation, float(scaled.min()), float(scaled.max()))
    coding = NumberEncoding(tuple(offset.tolist()), tuple(factor.tolist()))
    return torch.from_numpy(targets.astype(np.float32)), len(numbers.names), coding


def _encode_numbers_as_classes(numbers: Numbers, loss: Loss, loss_spec: LossSpec, spec: FinetuneSpec) -> EncodedTargets:
    """Encode numbers as classes that stand for values; the prediction is the mean of the values by probability."""
    name = loss_spec.name
    if len(numbers.names) > 1:
        raise DataError(f"loss {name!r} takes one number, the target has {len(numbers.names)}; set loss = 'mse'")
    if spec.scale != "none":
        raise DataError(
            f"scale = {spec.scale!r} does not fit loss {name!r}, which learns numbers as classes; remove it"
        )
    _check_activation(spec, name)
    values, codes = classes_of_numbers(numbers.values[:, 0], loss_spec)
    return torch.from_numpy(codes), loss.count_outputs(len(values)), NumberEncoding(values=tuple(values.tolist()))


def _scaling(values: NDArray[np.float64], scale: Scale) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offset and factor of each column, computed from the train rows."""
    low, high = values.min(0), values.max(0)
    offset, factor = {
        "none": (np.zeros_like(low), np.ones_like(low)),
        "unit": (low, high - low),
        "symmetric": ((low + high) / 2, (high - low) / 2),
        "standard": (values.mean(0), values.std(0)),
    }[scale]
    return offset, np.where(factor > 0, factor, 1.0)


def _check_activation(spec: FinetuneSpec, loss: str) -> None:
    """Check that the new layers have no activation beside that of the loss."""
    if spec.layers.activation not in {"none", LOSS_ACTIVATIONS.get(loss, "none")}:
        raise DataError(
            f"loss {loss!r} has its own activation, found layers.activation = {spec.layers.activation!r}; set 'none'"
        )
