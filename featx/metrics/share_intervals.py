"""Intervals of shares, such as an accuracy of independent images.

.. [1] E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
"""

import math

from scipy.special import ndtri

Interval = tuple[float, float]
# Probability with which an interval contains the true value.
CONFIDENCE = 0.95


def wilson_interval(share: float, n: int) -> Interval:
    """Return Wilson's 95 % interval [1]_ of a share out of n; (0, 1) if n is 0.

    Examples
    --------
    >>> [round(edge, 4) for edge in wilson_interval(0.9, 100)]
    [0.8256, 0.9448]
    """
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri((1 + CONFIDENCE) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half
