"""How much each row and each class counts in learning."""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from featx.errors import DataError
from featx.specs.head import ClassWeight
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known, Truth

Floats = NDArray[np.float64]


def weights_without_classes(known: Known, groups: NDArray[np.object_] | None = None) -> Floats:
    """Return one weight a row, mean 1: its own times its group's.

    Parameters
    ----------
    groups
        (n,) names of groups whose rows weigh the same together; None where groups do not count.

    Raises
    ------
    DataError
        All rows weigh 0.
    """
    weights = np.ones(len(known.ids)) if known.weights is None else known.weights
    if groups is not None:
        weights = weights * group_weights(groups)
    return mean_one(weights)


def class_weights(what: str, class_weight: ClassWeight, known: Known, weights: Floats) -> Floats | None:
    """Return (k,) one weight a class; None where all are the same.

    With ``balanced`` the rows of each class weigh the same together, each counted by its own weight and by its share
    in the class.

    Parameters
    ----------
    what
        Whose they are, for messages.
    weights
        (n,) of the rows, without those of classes; weights of rows and classes multiplied have mean 1.

    Raises
    ------
    DataError
        a class is weighted that does not exist, or the target has no classes.
    """
    if class_weight == "none":
        return None
    if not isinstance(known, Truth):
        raise DataError(f"{what}: class_weight: the target is of {known.kind} and has no classes; say group_weight")
    facts = TargetValues.of(known)
    own = np.ones(len(facts)) if facts.weights is None else facts.weights
    found = _balanced(own, facts) if isinstance(class_weight, str) else _named(what, class_weight, known)
    if np.ptp(found) == 0:
        return None
    return np.asarray(found / np.average(found @ facts.memberships.T, weights=weights))


def _balanced(own: Floats, facts: TargetValues) -> Floats:
    totals = own @ facts.memberships
    return np.asarray(np.divide(totals.sum() / len(totals), totals, out=np.ones(len(totals)), where=totals > 0))


def _named(what: str, class_weight: dict[str, float], truth: Truth) -> Floats:
    if unknown := sorted(set(class_weight) - set(truth.classes)):
        known = ", ".join(truth.classes)
        raise DataError(f"{what}: class_weight names {unknown[0]!r}; classes: {known}")
    return np.array([class_weight.get(name, 1.0) for name in truth.classes])


def group_weights(groups: NDArray[np.object_]) -> Floats:
    """Return one weight a row, mean 1, with which each group weighs the same."""
    return np.asarray(compute_sample_weight("balanced", groups.astype(str)))


def mean_one(weights: Floats) -> Floats:
    """Scale weights to mean 1.

    Raises
    ------
    DataError
        all are 0.
    """
    if not weights.any():
        raise DataError("all train rows weigh 0; check 'weight' and 'confidence' of the target")
    return np.asarray(weights / weights.mean())
