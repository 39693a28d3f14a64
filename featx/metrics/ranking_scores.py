"""Scores of rankings: areas under the ROC curve and under precision over recall."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from featx.metrics.score_kinds import Outputs, RankingScore, divide
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues


def _roc_area(positives: Floats, negatives: Floats) -> Floats:
    """Return the share of (positive, negative) pairs in the right order; equal outputs count half."""
    negatives_below = np.cumsum(negatives, axis=0)
    total = negatives_below[-1].copy()
    negatives_below -= negatives / 2
    return divide(np.einsum("gm,gm->m", positives, negatives_below), positives.sum(0) * total)


def _precision_area(positives: Floats, negatives: Floats) -> Floats:
    """Return the area under precision over recall, step by step from the highest output."""
    hits = np.cumsum(positives[::-1], axis=0)
    precision = np.cumsum(negatives[::-1], axis=0)
    precision += hits
    np.divide(hits, precision, out=precision, where=precision != 0)
    return divide(np.einsum("gm,gm->m", positives[::-1], precision), hits[-1])


@dataclass(frozen=True)
class RankOrder:
    """The rows in the order of their output for one class or label, in g groups of equal outputs.

    Attributes
    ----------
    positives, negatives
        (g, n) sparse shares by which each row is a positive or a negative row of each group.
    """

    positives: Any
    negatives: Any

    @classmethod
    def of(cls, shares: Floats, ranks: NDArray[np.intp], *, merges_positives: bool) -> "RankOrder":
        """Sort the rows, and merge adjacent groups that an area need not distinguish.

        Parameters
        ----------
        shares
            (n,) shares by which the rows are positive, in [0, 1].
        ranks
            (n,) ranks of the rows among the different outputs, 0 for the lowest.
        merges_positives
            Whether adjacent groups of only positive rows are merged too, as `RankingScore` says.
        """
        sides = (shares, 1 - shares)
        n_groups = int(ranks.max()) + 1
        n_positive, n_negative = (np.bincount(ranks, weights=side, minlength=n_groups) for side in sides)
        starts_group = np.ones(n_groups, dtype=bool)
        starts_group[1:] = (n_positive[1:] > 0) | (n_positive[:-1] > 0)
        if merges_positives:
            starts_group[1:] &= (n_negative[1:] > 0) | (n_negative[:-1] > 0)
        groups = (np.cumsum(starts_group) - 1)[ranks]
        return cls(*(_group_matrix(side, groups) for side in sides))


def _group_matrix(side: Floats, groups: NDArray[np.intp]) -> Any:
    """Return (g, n) sparse shares of rows in their groups."""
    rows = np.flatnonzero(side)
    return sparse.csr_array((side[rows], (groups[rows], rows)), shape=(int(groups.max()) + 1, len(groups)))


def rank_orders(targets: TargetValues, outputs: Outputs, *, merges_positives: bool) -> list[RankOrder]:
    """Return the order of the rows for each class against the rest, or for each label.

    If two classes and their orders mirror each other, one is enough: the areas are equal.
    """
    if not len(targets):
        return []
    sides = list(targets.memberships.T)
    ranks = [np.unique(column, return_inverse=True)[1] for column in outputs.T]
    are_mirrored = len(ranks) == 2 and np.array_equal(ranks[0].max() - ranks[0], ranks[1])
    if are_mirrored and np.array_equal(1 - sides[0], sides[1]):
        sides, ranks = sides[1:], ranks[1:]
    return [
        RankOrder.of(side, rank, merges_positives=merges_positives) for side, rank in zip(sides, ranks, strict=True)
    ]


def mean_of_areas(areas: Sequence[Floats]) -> Floats:
    """Return the (m,) means of the areas that are defined."""
    stacked = np.stack(areas)
    is_defined = np.isfinite(stacked)
    return divide(np.where(is_defined, stacked, 0.0).sum(0), is_defined.sum(0).astype(np.float64))


ROC_AUC = RankingScore(name="auc", area=_roc_area, merges_positives=True)
AVERAGE_PRECISION = RankingScore(name="average_precision", area=_precision_area, merges_positives=False)
