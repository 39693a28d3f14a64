"""Scores: what their values mean, and the two kinds of them, functions of sums over rows and areas over ranked rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

Outputs = Floats  # (n, k) class probabilities, (n, t) label probabilities, or (n, t) numbers
Columns = Any  # (n, c) array, or a sparse one if most of it is 0
RowValues = Callable[[TargetValues, Outputs], Floats]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score of predictions, and the meaning of its values.

    Attributes
    ----------
    name
        Name of the score.
    greater_is_better
        Whether greater values are better.
    limits
        Smallest and largest possible value.
    unit
        Unit of the values; empty for scores without a unit.
    is_defined
        Function that returns whether the score is defined for the true values of some rows.
    is_biased
        Whether the score of a sample is too large on average, more so if the sample has fewer different rows; by
        default False.
    """

    name: str
    greater_is_better: bool = True
    limits: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    is_defined: Callable[[TargetValues], bool] = lambda _: True
    is_biased: bool = False

    @property
    def is_unbounded(self) -> bool:
        """Whether the score is a loss or an error that may exceed any value."""
        return self.limits[1] == math.inf

    @property
    def max_difference(self) -> float:
        """Largest difference of two values, 1 for an accuracy; infinite for losses and errors."""
        smallest, largest = self.limits
        return largest - smallest

    def signed(self, value: Any) -> Any:
        """Return values with a sign that makes greater ones better, or values with such a sign as they were before."""
        return value if self.greater_is_better else -value

    def sort_key(self, value: float) -> float:
        """Return a number that is greater for better values; an undefined value (nan) is the worst."""
        return -math.inf if math.isnan(value) else float(self.signed(value))


@dataclass(frozen=True, kw_only=True)
class MeanScore(Score):
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


@dataclass(frozen=True, kw_only=True)
class RankingScore(Score):
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


def divide(numerator: Floats, denominator: Floats, default: float = np.nan) -> Floats:
    """Return the quotient, or `default` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(denominator.shape, default)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator != 0))


def mean_over_rows(name: str, row_values: RowValues, **meaning: Any) -> MeanScore:
    """Return the score that is the weighted mean of (n,) values of the rows; `meaning` are attributes of `Score`."""
    return MeanScore(
        name=name, rows=lambda targets, outputs: row_values(targets, outputs)[:, None], finish=_weighted_mean, **meaning
    )


def _weighted_mean(sums: Floats, total: Floats) -> Floats:
    return divide(sums[0], total)
