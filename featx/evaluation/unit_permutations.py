"""Permutation tests of a group's mean error for rows in units, such as several images of one patient.

References
----------
.. [1] A. Janssen, Studentized permutation tests for non-i.i.d. hypotheses and the generalized Behrens-Fisher problem,
   Statistics & Probability Letters 1997.
.. [2] S. R. Searle, G. Casella, C. E. McCulloch, Variance components, Wiley 1992, chapter 3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr

from featx.tables.ids import Floats

N_PERMUTATIONS = 5000
# Largest ratio of the mean sizes of units at which units count as exchangeable.
MAX_SIZE_RATIO = 2.0
# Number of permuted errors in memory at a time.
MAX_ERRORS_IN_MEMORY = 2**20


@dataclass(frozen=True)
class UnitErrors:
    """Errors of n rows in u units, and g groups of rows.

    Attributes
    ----------
    errors
        (n,) errors of the rows.
    units
        (n,) codes 0 … u-1 of the units.
    inside
        (g, n) whether each row belongs to each group.
    """

    errors: Floats
    units: NDArray[np.intp]
    inside: NDArray[np.bool_]

    @property
    def sizes(self) -> Floats:
        """(u,) number of rows of each unit."""
        return np.asarray(np.bincount(self.units), dtype=np.float64)

    @property
    def sums(self) -> Floats:
        """(u,) sum of the errors of each unit."""
        return np.asarray(np.bincount(self.units, weights=self.errors), dtype=np.float64)

    @property
    def counts(self) -> Floats:
        """(u, g) number of rows of each unit in each group."""
        n_units = len(self.sizes)
        counts = [np.bincount(self.units[rows], minlength=n_units) for rows in self.inside]
        return np.stack(counts, axis=1).astype(np.float64)

    def variances(self) -> tuple[float, float]:
        """Return the variance between units and that within them, by analysis of variance [2]_."""
        sizes, n, u = self.sizes, len(self.errors), len(self.sizes)
        means = self.sums / sizes
        if n == u:
            return 0.0, float(self.errors.var())
        variance_within = float(((self.errors - means[self.units]) ** 2).sum()) / (n - u)
        variance_between = float((sizes * (means - self.errors.mean()) ** 2).sum()) / max(u - 1, 1)
        mean_size = (n - (sizes**2).sum() / n) / max(u - 1, 1)
        return max(0.0, (variance_between - variance_within) / mean_size) if mean_size else 0.0, variance_within


def unit_permutation_p(data: UnitErrors) -> list[float]:
    """Return for each group the two-sided p-value of equal mean errors inside and outside the group.

    Units that lie completely inside or outside all groups are permuted as a whole. In units with rows in several
    groups, the rows are permuted within the unit. The difference of the mean errors is divided by the standard error
    that the variances between and within units give for the units' sizes [1]_, so that groups of large units can be
    compared with groups of small ones. If the mean sizes of units inside and outside differ by more than a factor of
    `MAX_SIZE_RATIO`, permutations are not exact, and p is the larger one of the permutation p and the normal tail.
    Beyond the resolution of the permutations, p is the normal tail.

    Notes
    -----
    Time O(permutations × (rows + units × groups)).
    """
    if np.ptp(data.errors) == 0:
        return [1.0] * len(data.inside)
    statistic = _Statistic(data)
    observed = np.abs(statistic.compute(np.arange(len(statistic.whole))[None], data.errors[None])[0])
    exceeding, rng = np.zeros(len(data.inside)), np.random.default_rng(0)
    block_size = max(1, MAX_ERRORS_IN_MEMORY // len(data.errors))
    for start in range(0, N_PERMUTATIONS, block_size):
        m = min(block_size, N_PERMUTATIONS - start)
        order = rng.permuted(np.tile(np.arange(len(statistic.whole)), (m, 1)), axis=1)
        exceeding += (np.abs(statistic.compute(order, statistic.shuffle_rows(rng, m))) >= observed * (1 - 1e-9)).sum(
            axis=0
        )
    resolution = 1 / (N_PERMUTATIONS + 1)
    tail = np.maximum(2 * ndtr(-observed), statistic.smallest_p())
    p = np.where(exceeding == 0, np.minimum(resolution, tail), (exceeding + 1) * resolution)
    p = np.where(statistic.has_similar_sizes(), p, np.maximum(p, tail))
    return [float(value) for value in np.minimum(p, 1.0)]


class _Statistic:
    """Standardised differences of mean errors inside and outside each group, under permutations.

    Attributes
    ----------
    whole
        (w,) codes of the units that are permuted as a whole.
    """

    def __init__(self, data: UnitErrors) -> None:
        self._data, self._sizes, counts = data, data.sizes, data.counts
        self._between, self._within = data.variances()
        is_whole = ((counts == 0) | (counts == self._sizes[:, None])).all(axis=1)
        self.whole = np.flatnonzero(is_whole)
        self._is_inside = (counts[is_whole] > 0) * 1.0
        self._whole_sizes, self._whole_sums = self._sizes[is_whole], data.sums[is_whole]
        inside = counts[~is_whole]
        outside = self._sizes[~is_whole][:, None] - inside
        self._split_n = inside.sum(axis=0), outside.sum(axis=0)
        self._split_squares = (inside**2).sum(axis=0), (inside * outside).sum(axis=0), (outside**2).sum(axis=0)
        self._split_rows = np.flatnonzero(~is_whole[data.units])

    def compute(self, order: NDArray[np.intp], errors: Floats) -> Floats:
        """Return (m, g) statistics of m permutations.

        Parameters
        ----------
        order
            (m, w) permuted positions of the whole units.
        errors
            (m, n) errors of all rows, permuted within units.
        """
        sizes, sums = self._whole_sizes[order], self._whole_sums[order]
        rows = self._split_rows
        split_sums = errors[:, rows] @ (self._data.inside[:, rows].T * 1.0)
        n_in = sizes @ self._is_inside + self._split_n[0]
        n_out = len(self._data.errors) - n_in
        sum_in = sums @ self._is_inside + split_sums
        squares_in = sizes**2 @ self._is_inside
        squares_out = (self._whole_sizes**2).sum() - squares_in
        split_in, split_both, split_out = self._split_squares
        shares = (squares_in + split_in) / n_in**2 - 2 * split_both / (n_in * n_out)
        shares += (squares_out + split_out) / n_out**2
        variance = self._between * shares + self._within * (1 / n_in + 1 / n_out)
        difference = sum_in / n_in - (self._data.errors.sum() - sum_in) / n_out
        return np.asarray(difference / np.sqrt(variance))

    def shuffle_rows(self, rng: np.random.Generator, m: int) -> Floats:
        """Return (m, n) errors of all rows, permuted within each unit that has rows in several groups."""
        errors = np.broadcast_to(self._data.errors, (m, len(self._data.errors)))
        rows = self._split_rows
        if not len(rows):
            return errors
        keys = self._data.units[rows] + rng.random((m, len(rows)))
        rows_by_unit = rows[np.argsort(self._data.units[rows], kind="stable")]
        shuffled_errors = errors.copy()
        shuffled_errors[:, rows_by_unit] = self._data.errors[rows[np.argsort(keys, axis=1)]]
        return shuffled_errors

    def has_similar_sizes(self) -> NDArray[np.bool_]:
        """Return (g,) whether whole units inside and outside have similar sizes, so that they are exchangeable."""
        n_inside = self._is_inside.sum(axis=0)
        mean_inside = self._whole_sizes @ self._is_inside / np.maximum(n_inside, 1)
        n_outside = len(self.whole) - n_inside
        mean_outside = self._whole_sizes @ (1 - self._is_inside) / np.maximum(n_outside, 1)
        low, high = np.minimum(mean_inside, mean_outside), np.maximum(mean_inside, mean_outside)
        return np.asarray((high <= MAX_SIZE_RATIO * low) | (n_inside == 0) | (n_outside == 0))

    def smallest_p(self) -> Floats:
        """Return (g,) one over the number of permutations of the whole units; 0 if rows are permuted as well."""
        if len(self._split_rows):
            return np.zeros(len(self._data.inside))
        u, k = len(self.whole), self._is_inside.sum(axis=0)
        return np.asarray(np.exp(gammaln(k + 1) + gammaln(u - k + 1) - gammaln(u + 1)))
