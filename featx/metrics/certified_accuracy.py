"""Certificates of randomized smoothing [1]_, and the share of images that are right within every radius.

References
----------
.. [1] J. Cohen, E. Rosenfeld, J. Z. Kolter, Certified adversarial robustness via randomized smoothing, ICML 2019.
.. [2] C. J. Clopper, E. S. Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
   Biometrika 1934.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from featx.metrics.share_intervals import wilson_interval

Floats = NDArray[np.float64]


def lower_limit(n_top: int, n: int, alpha: float) -> float:
    """Return the one-sided limit of Clopper and Pearson [2]_: the share is below it with probability `alpha` at most.

    Examples
    --------
    >>> round(lower_limit(1000, 1000, 0.001), 6) == round(0.001 ** (1 / 1000), 6), lower_limit(0, 10, 0.05)
    (True, 0.0)
    """
    return float(betaincinv(n_top, n - n_top + 1, alpha)) if n_top else 0.0


def certified_radius(n_top: int, n: int, sigma: float, alpha: float) -> float | None:
    """Return the Euclidean radius within which the prediction does not change; None is an abstention.

    Parameters
    ----------
    n_top
        Number of noisy copies with the chosen prediction, among n that did not choose it.
    n
        Number of noisy copies.
    sigma
        Standard deviation of the noise.
    alpha
        Largest probability that the radius is too large.
    """
    share = lower_limit(n_top, n, alpha)
    return sigma * float(ndtri(share)) if share > 0.5 else None


@dataclass(frozen=True)
class CertifiedAccuracy:
    """Share of images whose prediction is right and certified within a radius.

    Attributes
    ----------
    radius
        Euclidean radius.
    accuracy
        Share of the images.
    low, high
        Wilson's 95 % interval of the share.
    """

    radius: float
    accuracy: float
    low: float
    high: float


def certified_accuracies(
    radii: Floats, is_right: NDArray[np.bool_], evaluated_radii: Sequence[float]
) -> list[CertifiedAccuracy]:
    """Return the certified accuracy at some radii.

    Parameters
    ----------
    radii
        (n,) radius of each image; nan for abstentions.
    is_right
        (n,) whether the prediction is the true class.
    evaluated_radii
        Radii to evaluate.
    """
    result = []
    for radius in evaluated_radii:
        share = float((is_right & (radii >= radius)).mean())
        result.append(CertifiedAccuracy(float(radius), share, *wilson_interval(share, len(radii))))
    return result
