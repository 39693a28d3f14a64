"""How much each row counts in learning."""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from featx.errors import DataError
from featx.specs.head import ClassWeight
from featx.tables import Known, Truth


def row_weights(
    what: str, class_weight: ClassWeight, known: Known, groups: NDArray[np.object_] | None = None
) -> NDArray[np.float64]:
    """Return one weight a row, mean 1: that of its class times its group's times its own.

    Parameters
    ----------
    what
        Whose they are, for messages.
    groups
        (n,) of which each is to weigh the same; None for no such thing.

    Raises
    ------
    DataError
        a class is weighted that does not exist, or all rows weigh nothing.
    """
    weights = np.ones(len(known.ids)) if known.weights is None else known.weights
    if class_weight != "none":
        if not isinstance(known, Truth):
            raise DataError(f"{what}: class_weight: the target is of {known.kind} and has no classes; say group_weight")
        weights = weights * _of_classes(what, class_weight, known)
    if groups is not None:
        weights = weights * group_weights(groups)
    return mean_one(weights)


def _of_classes(what: str, class_weight: ClassWeight, truth: Truth) -> NDArray[np.float64]:
    if isinstance(class_weight, str):
        return np.asarray(compute_sample_weight("balanced", truth.codes))
    if unknown := sorted(set(class_weight) - set(truth.classes)):
        known = ", ".join(truth.classes)
        raise DataError(f"{what}: class_weight names {unknown[0]!r}; classes: {known}")
    of_class = np.array([class_weight.get(name, 1.0) for name in truth.classes])
    return of_class[truth.codes]


def group_weights(groups: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return one weight a row, mean 1, with which each group weighs the same."""
    return np.asarray(compute_sample_weight("balanced", groups.astype(str)))


def mean_one(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale weights to mean 1.

    Raises
    ------
    DataError
        all are 0.
    """
    if not weights.any():
        raise DataError("all train rows weigh 0; check 'weight' and 'confidence' of the target")
    return np.asarray(weights / weights.mean())
