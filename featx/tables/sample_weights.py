"""Weights of rows and of classes in training."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.specs.head import ClassWeight
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth, Truth


def compute_row_weights(truth: AnyTruth, groups: NDArray[np.object_] | None = None) -> Floats:
    """Return (n,) row weights of mean 1: the product of each row's own weight and its group's weight.

    Parameters
    ----------
    groups
        (n,) names of groups, as in `group_weights`; None for no group weights.

    Raises
    ------
    DataError
        All rows have weight 0.
    """
    weights = np.ones(len(truth.ids)) if truth.weights is None else truth.weights
    if groups is not None:
        weights = weights * group_weights(groups)
    return scale_to_mean_one(weights)


def class_weights(owner: str, class_weight: ClassWeight, truth: AnyTruth, weights: Floats) -> Floats | None:
    """Return the (k,) class weights, by which classes are decided; None if all classes weigh the same.

    With ``balanced``, each class gets the same total of the rows' own weights. A row counts for a class by its own
    weight, times the class probability if labels are soft. `balancing_factors` completes the weights in training.

    Parameters
    ----------
    owner
        Name of the head or network that uses the weights, for messages.
    weights
        (n,) row weights without class weights; the products of row weights, class weights and balancing factors have
        mean 1.

    Raises
    ------
    DataError
        `class_weight` names an unknown class, or the target has no classes.
    """
    if class_weight == "none":
        return None
    if not isinstance(truth, Truth):
        raise DataError(
            f"{owner}: class_weight: the target is of kind {truth.kind!r} and has no classes; use group_weight"
        )
    targets = TargetValues.of(truth)
    raw_weights = (
        _balanced_weights(targets) if isinstance(class_weight, str) else _named_weights(owner, class_weight, truth)
    )
    if np.ptp(raw_weights) == 0:
        return None
    # Balancing factors restore the totals of the rows' own weights, so that the products have mean 1 with them.
    counted_weights = targets.row_weights if isinstance(class_weight, str) else weights
    return np.asarray(raw_weights / np.average(raw_weights @ targets.memberships.T, weights=counted_weights))


def balancing_factors(class_weight: ClassWeight, truth: AnyTruth, weights: Floats) -> Floats | None:
    """Return (k,) factors of ``balanced`` class weights in training, which balance the classes under group weights.

    Group weights change the total weight of each class; the factors restore the totals of the rows' own weights. They
    are no part of the class weights, because probabilities and decisions are those of rows without group weights.

    Parameters
    ----------
    weights
        (n,) row weights in training, without class weights.

    Returns
    -------
    numpy.ndarray or None
        None if the class weights are not ``balanced``, or if all factors are 1.
    """
    if class_weight != "balanced" or not isinstance(truth, Truth):
        return None
    targets = TargetValues.of(truth)
    own_totals, totals = (row_weights @ targets.memberships for row_weights in (targets.row_weights, weights))
    own_shares, shares = own_totals / own_totals.sum(), totals / totals.sum()
    factors = np.divide(own_shares, shares, out=np.ones(len(shares)), where=shares > 0)
    return None if np.allclose(factors, 1, rtol=1e-12, atol=0) else factors


def _balanced_weights(targets: TargetValues) -> Floats:
    totals = targets.row_weights @ targets.memberships
    return np.asarray(np.divide(totals.sum() / len(totals), totals, out=np.ones(len(totals)), where=totals > 0))


def _named_weights(owner: str, class_weight: dict[str, float], truth: Truth) -> Floats:
    if unknown_names := sorted(set(class_weight) - set(truth.classes)):
        raise DataError(f"{owner}: class_weight names {unknown_names[0]!r}; classes: {', '.join(truth.classes)}")
    return np.array([class_weight.get(name, 1.0) for name in truth.classes])


def group_weights(groups: NDArray[np.object_]) -> Floats:
    """Return (n,) row weights of mean 1 that give each group the same total weight.

    Parameters
    ----------
    groups
        (n,) names of groups; rows without a name (None) belong to no group and have weight 1.
    """
    codes, names = pd.factorize(groups)
    rows = codes >= 0
    counts = np.bincount(codes[rows], minlength=len(names))
    weights = np.ones(len(groups))
    weights[rows] = rows.sum() / (len(names) * counts[codes[rows]])
    return weights


def multiply_weights(class_weights: Floats | None, factors: Floats | None) -> Floats | None:
    """Return the (k,) products of class weights and balancing factors; None stands for ones."""
    if class_weights is None or factors is None:
        return factors if class_weights is None else class_weights
    return class_weights * factors


def scale_to_mean_one(weights: Floats) -> Floats:
    """Return the weights, scaled to mean 1.

    Raises
    ------
    DataError
        All weights are 0.
    """
    check_some_weight(weights, "train rows")
    return np.asarray(weights / weights.mean())


def check_some_weight(weights: Floats | None, rows_text: str) -> None:
    """Check that not all weights of some rows, if they have weights, are 0.

    Raises
    ------
    DataError
        All weights are 0; `rows_text` names the rows.
    """
    if weights is not None and not weights.any():
        raise DataError(f"all {rows_text} weigh 0; check 'weight' and 'confidence' of the target")
