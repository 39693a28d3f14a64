"""Equivalence of two runs within a margin, and multiple comparisons with the best run.

References
----------
.. [1] D. J. Schuirmann, A comparison of the two one-sided tests procedure and the power approach for assessing the
   equivalence of average bioavailability, Journal of Pharmacokinetics and Biopharmaceutics 1987.
.. [2] D. G. Edwards, J. C. Hsu, Multiple comparisons with the best treatment, JASA 1983.
.. [3] D. G. Bonett, R. M. Price, Adjusted Wald confidence interval for a difference of binomial proportions based on
   paired data, Journal of Educational and Behavioral Statistics 2012.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from featx.metrics.definitions import find_score
from featx.metrics.share_intervals import CONFIDENCE, Interval
from featx.tables.ids import Floats

# Default margin of scores up to 1.
DEFAULT_MARGIN = 0.02
# Default margin of losses and errors, as a share of the reference's value.
DEFAULT_RELATIVE_MARGIN = 0.05
# Standard deviations up to this value are due to rounding.
MAX_ROUNDING_ERROR = 1e-12
# One-sided quantile of the normal distribution, the least critical value.
MIN_CRITICAL_VALUE = float(ndtri(CONFIDENCE))


def default_margin(score: str, reference: float) -> float:
    """Return the default margin of equivalence, used if the recipe has none.

    Examples
    --------
    >>> default_margin("accuracy", 0.9), default_margin("mae", 4.0)
    (0.02, 0.2)
    """
    return DEFAULT_RELATIVE_MARGIN * abs(reference) if find_score(score).is_unbounded else DEFAULT_MARGIN


@dataclass(frozen=True)
class PairedDraws:
    """One score of all runs, computed with the same random weights of the rows.

    Attributes
    ----------
    score
        Name of the score.
    values
        (r,) scores of r runs on the rows without random weights.
    draws
        (r, draws) scores with the random weights.
    n_units
        Number of units that are sampled independently.
    n_differing
        Number of units in which each run differs from the first one, as far as the score depends on it.
    """

    score: str
    values: Floats
    draws: Floats
    n_units: int
    n_differing: Sequence[int]

    @property
    def scale(self) -> float:
        """Largest difference that is possible: 1, or for losses and errors the largest value of a run."""
        return float(np.nanmax(np.abs(self.values), initial=0.0)) if find_score(self.score).is_unbounded else 1.0

    @property
    def min_standard_error(self) -> float:
        """Standard error of two runs without any observed difference: that of two more units which differ [3]_."""
        return float(np.sqrt(2)) * self.scale / max(self.n_units, 1)

    def loss_bounds(self) -> Floats:
        """Return (r,) upper limits of how much better the best of all runs is than each run.

        The limit of a run whose score is undefined is infinite; the limits of the others do not depend on that run.

        Notes
        -----
        These are upper limits of simultaneous 95 % intervals [2]_: for each run as a candidate for the best, the
        limits of its lead over all others hold together, by the largest studentised deviation in each draw. So the
        statement that a run is within the margin of the best is wrong in at most 5 % of studies, whichever runs are
        selected and whatever their number.
        """
        signed = find_score(self.score).signed
        is_defined = np.isfinite(self.values) & np.isfinite(self.draws).any(axis=1)
        all_bounds = np.full(len(self.values), np.inf)
        values, draws = signed(self.values[is_defined]), self.draws[is_defined]
        draws = signed(draws[:, np.isfinite(draws).all(axis=0)])
        if not draws.size:
            return all_bounds
        bounds = np.zeros(len(values))
        for candidate in range(len(values)):
            lead, lead_draws = values[candidate] - values, draws[candidate] - draws
            spread = lead_draws.std(axis=1)
            scale = np.where(spread > MAX_ROUNDING_ERROR, spread, np.inf)[:, None]
            critical = max(
                np.quantile(((lead_draws - lead[:, None]) / scale).max(axis=0), CONFIDENCE), MIN_CRITICAL_VALUE
            )
            limits = lead + critical * np.hypot(spread, self.min_standard_error)
            limits[candidate] = 0.0
            bounds = np.maximum(bounds, limits)
        all_bounds[is_defined] = bounds
        return all_bounds


def is_within(interval: Interval, margin: float) -> bool:
    """Return whether an interval of a difference lies within the margin on both sides of 0 [1]_."""
    return bool(-margin <= interval[0] and interval[1] <= margin)
