"""Linear discriminant analyses with many shrinkages, or of many labels, from one decomposition of the features.

What varies within classes is what varies in all rows, without the few directions that lie between the classes' means:
along the principal axes of all rows the shrunk covariance is a diagonal less a matrix of that small rank [1]_.

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

Floats = NDArray[np.float64]


def probabilities(
    axes: PrincipalAxes, targets: Sequence[NDArray[np.int64]], n_features: int, values: Sequence[float]
) -> Iterator[Floats]:
    """Yield (t, m, k) probabilities of held-out rows with each shrinkage in (0, 1].

    Parameters
    ----------
    axes
        In double: small variances decide.
    targets
        t times (n,) codes of k classes, each of which is there.
    n_features
        Among which the variance is spread evenly where the shrinkage is 1; more than there are axes.
    """
    learn, held = (np.asarray(x[:, :-1], np.float64) for x in (axes.learn, axes.held))
    spread = np.square(learn).mean(0)
    each = [_Classes.of(learn, codes) for codes in targets]
    for value in values:
        yield np.stack([one.probabilities(held, spread, n_features, value) for one in each])


@dataclass(frozen=True)
class _Classes:
    """One target: the classes' (k, r) means and (k,) shares of the rows."""

    means: Floats
    shares: Floats

    @classmethod
    def of(cls, x: Floats, codes: NDArray[np.int64]) -> "_Classes":
        here = np.eye(codes.max() + 1)[codes]
        counts = here.sum(0)
        return cls(here.T @ x / counts[:, None], counts / len(x))

    def probabilities(self, held: Floats, spread: Floats, n_features: int, shrinkage: float) -> Floats:
        """Return (m, k), `spread` being the (r,) variances of all rows along the axes."""
        between = self.means * np.sqrt(self.shares)[:, None]
        within = max(0.0, spread.sum() - np.square(between).sum())
        least = np.finfo(np.float64).eps * spread.max(initial=np.finfo(np.float64).tiny)
        diagonal = np.maximum((1 - shrinkage) * spread + shrinkage * within / n_features, least)
        far, scaled = between / diagonal, self.means / diagonal
        left = np.eye(len(between)) - (1 - shrinkage) * far @ between.T
        coefs = scaled + (1 - shrinkage) * scaled @ between.T @ np.linalg.pinv(left, hermitian=True) @ far
        intercepts = np.log(self.shares) - (self.means * coefs).sum(1) / 2
        return np.asarray(softmax(held @ coefs.T + intercepts, axis=1))
