"""Linear discriminant analyses with many shrinkages, or of many labels, from one decomposition of the features.

The covariance within classes is that of all rows minus the few directions between the means of the classes: along the
principal axes of all rows the shrunk covariance is a diagonal minus a matrix of that small rank [1]_.

References
----------
.. [1] W. Hager, Updating the inverse of a matrix, SIAM Review 31, 1989.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from featx.heads.solvers.principal_axes import PrincipalAxes
from featx.tables.ids import Floats


def discriminant_probabilities(
    axes: PrincipalAxes, targets: Sequence[NDArray[np.int64]], n_features: int, values: Sequence[float]
) -> Iterator[Floats]:
    """Yield (t, m, k) probabilities of held-out rows with each shrinkage in (0, 1].

    Parameters
    ----------
    axes
        Features in double precision, because the results depend on small variances.
    targets
        (n,) codes of k classes for each of t targets; every class occurs.
    n_features
        Number of features over which the variance is spread evenly if the shrinkage is 1; there may be fewer axes.
    """
    train, held_out = (np.asarray(x[:, :-1], np.float64) for x in (axes.train, axes.held_out))
    variances = np.square(train).mean(0)
    statistics = [_ClassStatistics.estimate(train, codes) for codes in targets]
    for value in values:
        yield np.stack([target.probabilities(held_out, variances, n_features, value) for target in statistics])


@dataclass(frozen=True)
class _ClassStatistics:
    """The (k, r) class means of one target, and the (k,) shares of the classes in the rows."""

    means: Floats
    shares: Floats

    @classmethod
    def estimate(cls, x: Floats, codes: NDArray[np.int64]) -> "_ClassStatistics":
        indicators = np.eye(codes.max() + 1)[codes]
        counts = indicators.sum(0)
        return cls(indicators.T @ x / counts[:, None], counts / len(x))

    def probabilities(self, held_out: Floats, variances: Floats, n_features: int, shrinkage: float) -> Floats:
        """Return (m, k) probabilities; `variances` holds the (r,) variances of all rows along the axes."""
        between_factor = self.means * np.sqrt(self.shares)[:, None]
        within_variance = max(0.0, variances.sum() - np.square(between_factor).sum())
        min_variance = np.finfo(np.float64).eps * variances.max(initial=np.finfo(np.float64).tiny)
        diagonal = np.maximum((1 - shrinkage) * variances + shrinkage * within_variance / n_features, min_variance)
        scaled_factor, scaled_means = between_factor / diagonal, self.means / diagonal
        capacitance = np.eye(len(between_factor)) - (1 - shrinkage) * scaled_factor @ between_factor.T
        inverse = np.linalg.pinv(capacitance, hermitian=True)
        coefs = scaled_means + (1 - shrinkage) * scaled_means @ between_factor.T @ inverse @ scaled_factor
        intercepts = np.log(self.shares) - (self.means * coefs).sum(1) / 2
        return np.asarray(softmax(held_out @ coefs.T + intercepts, axis=1))
