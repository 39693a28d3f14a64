"""Whether two runs that answered the same rows differ by more than chance.

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
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtr, stdtr

from featx.errors import DataError

Floats = NDArray[np.float64]
# Differences that differ by less, relative to their size, are equal: the rest is rounding.
ROUNDING = 1e-9


def mcnemar_midp(only_first: ArrayLike, only_second: ArrayLike) -> Floats:
    """Return the two-sided mid-p [1]_ [2]_ of the rows that one of two models alone has right.

    Parameters
    ----------
    only_first, only_second
        How many rows the one has right and the other wrong, and the other way round; numbers or arrays.

    Returns
    -------
    ndarray
        p in (0, 1]; 1 where no row tells them apart.

    Examples
    --------
    >>> round(float(mcnemar_midp(3, 12)), 4)
    0.0213
    """
    first, second = np.asarray(only_first), np.asarray(only_second)
    fewer, n = np.minimum(first, second), first + second
    return np.asarray(
        np.minimum(bdtr(fewer, n, 0.5) + np.where(fewer > 0, bdtr(np.maximum(fewer - 1, 0), n, 0.5), 0.0), 1.0)
    )


def bootstrap_p(differences: Floats, difference: float, n_units: int) -> float:
    """Return the two-sided p of no difference, from differences in paired draws.

    It is twice the share of draws on the smaller side of 0 [5]_, so that it is below 5 % where 0 lies outside the
    interval of 95 %. Beyond the resolution of the draws it is the normal tail by their standard deviation.

    Parameters
    ----------
    differences
        (draws,) nan where a score is undefined.
    difference
        The difference on the rows as they are.
    n_units
        Number of units that were sampled. Where all draws agree, p is that of the sign test over these.
    """
    known = differences[np.isfinite(differences)]
    if not len(known) or not np.isfinite(difference):
        return math.nan
    spread = float(known.std())
    if spread <= ROUNDING * float(np.abs(known).max()):
        return sign_p(difference, n_units)
    finest = 2 / (len(known) + 1)
    beyond = min(int((known <= 0).sum()), int((known >= 0).sum()))
    if beyond == 0:
        return min(finest, 2 * float(ndtr(-abs(difference) / spread)))
    return min(1.0, finest * (beyond + 1))


def sign_p(difference: float, n: float) -> float:
    """Return the two-sided p of the sign test where n equal differences were seen, and 1 where they are 0.

    Examples
    --------
    >>> sign_p(0.1, 5)
    0.0625
    """
    return min(1.0, 2.0 ** (1 - n)) if difference else 1.0


def corrected_t(differences: ArrayLike, test_share: float) -> float:
    """Return the two-sided p of no difference over repeated splits, corrected for their overlap [3]_.

    Parameters
    ----------
    differences
        One a split, two or more.
    test_share
        Number of scored rows over number of training rows.

    Raises
    ------
    DataError
        there is one split only.

    Notes
    -----
    Equal differences have no estimate of their spread, and Student's t would be infinite. p is then that of the sign
    test over as many independent splits as the correction counts, ``1 / (1 / n + test_share)``.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < 2:
        raise DataError(f"{n} repeat has no spread, expected two or more; say '--repeats 5'")
    factor = 1 / n + test_share
    spread, mean = float(values.std(ddof=1)), float(values.mean())
    if spread <= ROUNDING * float(np.abs(values).max()):
        return sign_p(values[0], 1 / factor)
    return float(2 * stdtr(n - 1, -abs(mean) / (math.sqrt(factor) * spread)))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values after Holm's correction [4]_ for having looked at all of them; nan stays and does not count.

    Examples
    --------
    >>> [round(one, 3) for one in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = np.minimum(values[order] * np.arange(len(order), 0, -1), 1.0)
    found = np.full(len(values), np.nan)
    found[order] = np.maximum.accumulate(steps)
    return [float(one) for one in found]
