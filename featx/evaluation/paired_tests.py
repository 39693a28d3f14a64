"""Statistical tests of the difference between two runs on the same rows, and correction for several tests.

References
----------
.. [1] Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 1947.
.. [2] M. W. Fagerland, S. Lydersen, P. Laake, The McNemar test for binary matched-pairs data: mid-p and asymptotic are
   better than exact conditional, BMC Medical Research Methodology 2013.
.. [3] C. Nadeau, Y. Bengio, Inference for the generalization error, Machine Learning 2003.
.. [4] S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
.. [5] B. Efron, R. J. Tibshirani, An introduction to the bootstrap, Chapman & Hall 1993, chapter 15.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtr, stdtr, stdtrit

from featx.errors import DataError
from featx.metrics.share_intervals import CONFIDENCE
from featx.tables.ids import Floats

# Standard deviations up to this share of the largest value are due to rounding.
MAX_RELATIVE_ROUNDING_ERROR = 1e-9


def mcnemar_midp(only_first: ArrayLike, only_second: ArrayLike) -> Floats:
    """Return the two-sided mid-p of McNemar's test [1]_ [2]_.

    Parameters
    ----------
    only_first, only_second
        Number of rows that only the first model predicts correctly, and only the second one; numbers or arrays.

    Returns
    -------
    ndarray
        p in (0, 1]; 1 if there are no such rows.

    Examples
    --------
    >>> round(float(mcnemar_midp(3, 12)), 4)
    0.0213
    """
    first, second = np.asarray(only_first), np.asarray(only_second)
    n_fewer, n = np.minimum(first, second), first + second
    return np.asarray(
        np.minimum(bdtr(n_fewer, n, 0.5) + np.where(n_fewer > 0, bdtr(np.maximum(n_fewer - 1, 0), n, 0.5), 0.0), 1.0)
    )


def bootstrap_p(differences: Floats, difference: float, n_differing: int) -> float:
    """Return the two-sided p-value of no difference from paired bootstrap draws.

    It is twice the share of draws on the smaller side of 0 [5]_, so that it is below 5 % if 0 lies outside the 95 %
    interval. Beyond the resolution of the draws it is the normal tail with their standard deviation. It is never below
    the p-value of the sign test for as many equal differences as there are units that differ: the weights of the
    Bayesian bootstrap are positive, so that all draws have the same sign if a single unit differs.

    Parameters
    ----------
    differences
        (draws,) differences of the two scores; nan where a score is undefined.
    difference
        Difference on the rows without random weights.
    n_differing
        Number of sampled units in which the two models differ.
    """
    finite_differences = differences[np.isfinite(differences)]
    if not len(finite_differences) or not np.isfinite(difference):
        return math.nan
    spread = float(finite_differences.std())
    smallest_p = sign_p(difference, n_differing)
    if spread <= MAX_RELATIVE_ROUNDING_ERROR * float(np.abs(finite_differences).max()):
        return smallest_p
    resolution = 2 / (len(finite_differences) + 1)
    n_opposite = min(int((finite_differences <= 0).sum()), int((finite_differences >= 0).sum()))
    if n_opposite == 0:
        return max(smallest_p, min(resolution, 2 * float(ndtr(-abs(difference) / spread))))
    return max(smallest_p, min(1.0, resolution * (n_opposite + 1)))


def sign_p(difference: float, n: float) -> float:
    """Return the two-sided p-value of the sign test for n equal differences; 1 if the difference is 0.

    Examples
    --------
    >>> sign_p(0.1, 5)
    0.0625
    """
    return min(1.0, 2.0 ** (1 - n)) if difference else 1.0


def corrected_t_test(differences: ArrayLike, test_share: float) -> float:
    """Return the two-sided p-value of the t-test over repeated splits, corrected for their overlap [3]_.

    Parameters
    ----------
    differences
        Difference in each of two or more splits.
    test_share
        Ratio of the number of scored rows to the number of training rows.

    Raises
    ------
    DataError
        there are fewer than two splits.

    Notes
    -----
    Equal differences have a standard deviation of 0, and Student's t would be infinite. p is then that of the sign test
    over the effective number of independent splits, ``1 / (1 / n + test_share)``.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < 2:
        raise DataError(f"{n} repeat has no standard deviation, expected two or more repeats or seeds")
    factor = 1 / n + test_share
    spread, mean = float(values.std(ddof=1)), float(values.mean())
    if spread <= MAX_RELATIVE_ROUNDING_ERROR * float(np.abs(values).max()):
        return sign_p(values[0], 1 / factor)
    return float(2 * stdtr(n - 1, -abs(mean) / (math.sqrt(factor) * spread)))


def corrected_interval(
    values: ArrayLike, test_share: float, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float]:
    """Return the 95 % interval of the mean over repeated splits by Student's t, corrected for their overlap [3]_.

    Parameters
    ----------
    values
        Score, or difference of two scores, in each of two or more splits.
    test_share
        Ratio of the number of scored rows to the number of training rows.
    limits
        Smallest and largest possible value, beyond which the interval does not extend.

    Examples
    --------
    >>> low, high = corrected_interval([0.80, 0.82, 0.81, 0.83], 0.25)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.844)
    """
    x = np.asarray(values, dtype=np.float64)
    half_width = float(stdtrit(len(x) - 1, (1 + CONFIDENCE) / 2) * math.sqrt(1 / len(x) + test_share) * x.std(ddof=1))
    mean = float(x.mean())
    return max(mean - half_width, limits[0]), min(mean + half_width, limits[1])


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values after Holm's correction [4]_ for multiple tests; nan stays nan and does not count.

    Examples
    --------
    >>> [round(corrected, 3) for corrected in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p, dtype=np.float64)
    finite_positions = np.flatnonzero(np.isfinite(values))
    order = finite_positions[np.argsort(values[finite_positions], kind="stable")]
    steps = np.minimum(values[order] * np.arange(len(order), 0, -1), 1.0)
    corrected_p = np.full(len(values), np.nan)
    corrected_p[order] = np.maximum.accumulate(steps)
    return [float(value) for value in corrected_p]
