"""The two kinds of scores: functions of sums over rows, and areas over ranked rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.tables.target_values import TargetValues

Floats = NDArray[np.float64]
Outputs = NDArray[np.float64]  # (n, k) class probabilities, (n, t) label probabilities, or (n, t) numbers
Columns = Any  # (n, c) array, or a sparse one if most of it is 0


@dataclass(frozen=True)
class Summed:
    """A score that is a function of sums over rows.

    Attributes
    ----------
    rows
        (targets, outputs) → (n, c) columns to sum; scores with the same function share its sums.
    finish
        (c, m) sums under m weightings and (m,) total weights of all rows → (m,) scores.
    """

    rows: Callable[[TargetValues, Outputs], Columns]
    finish: Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Ranked:
    """A score that is the mean over classes or labels of an area; classes with an undefined area are left out.

    Attributes
    ----------
    area
        (g, m) weights of the positive and of the negative rows in g groups of equal outputs, the lowest output first
        → (m,) areas, nan where undefined.
    merges_positives
        Whether adjacent groups of only positive rows may be merged, as groups of only negative rows always may. True
        for an area that depends only on how many negative rows rank below each positive one.
    """

    area: Callable[[Floats, Floats], Floats]
    merges_positives: bool


Score = Summed | Ranked


def divide(numerator: Floats, denominator: Floats, default: float = np.nan) -> Floats:
    """Return the quotient, or `default` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(denominator.shape, default)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator != 0))


def mean_over_rows(row_values: Callable[[TargetValues, Outputs], Floats]) -> Summed:
    """Return the score that is the weighted mean of (n,) values of the rows."""
    return Summed(lambda targets, outputs: row_values(targets, outputs)[:, None], _weighted_mean)


def _weighted_mean(sums: Floats, total: Floats) -> Floats:
    return divide(sums[0], total)
