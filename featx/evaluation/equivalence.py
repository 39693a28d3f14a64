"""Which runs are as good as the best one within a margin: equivalence, and multiple comparisons with the best.

References
----------
.. [1] D. J. Schuirmann, A comparison of the two one-sided tests procedure and the power approach for assessing the
   equivalence of average bioavailability, Journal of Pharmacokinetics and Biopharmaceutics 1987.
.. [2] D. G. Edwards, J. C. Hsu, Multiple comparisons with the best treatment, JASA 1983.
.. [3] D. G. Bonett, R. M. Price, Adjusted Wald confidence interval for a difference of binomial proportions based on
   paired data, Journal of Educational and Behavioral Statistics 2012.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from featx.evaluation.intervals import CONFIDENCE, Interval
from featx.metrics.definitions import is_better_less

Floats = NDArray[np.float64]
MARGIN = 0.02
# Share of the reference's value that is the margin of scores without an upper bound.
RELATIVE_MARGIN = 0.05
ROUNDING = 1e-12
ONE_SIDED = float(ndtri(CONFIDENCE))
UNBOUNDED = ("log_loss", "mae", "mae_steps", "rmse", "mape")


def is_unbounded(score: str) -> bool:
    """Return whether a score is a loss or an error that may exceed 1."""
    return score in UNBOUNDED or score.startswith("mae.")


def default_margin(score: str, reference: float) -> float:
    """Return the margin of equivalence where the recipe has none.

    Examples
    --------
    >>> default_margin("accuracy", 0.9), default_margin("mae", 4.0)
    (0.02, 0.2)
    """
    return RELATIVE_MARGIN * abs(reference) if is_unbounded(score) else MARGIN


@dataclass(frozen=True)
class PairedDraws:
    """One score of all runs under the same random weights of the rows.

    Attributes
    ----------
    score
        Its name.
    values
        (r,) on the rows as they are.
    draws
        (r, draws) under the weights.
    n_units
        Number of units that are sampled independently.
    """

    score: str
    values: Floats
    draws: Floats
    n_units: int

    @property
    def unseen_difference(self) -> float:
        """Standard error that two runs without any difference still have, that of two more units which differ [3]_."""
        scale = float(np.abs(self.values).max()) if is_unbounded(self.score) else 1.0
        return float(np.sqrt(2)) * scale / max(self.n_units, 1)

    def loss_bounds(self) -> Floats:
        """Return (r,) how much better the best of all runs may be than each run.

        Notes
        -----
        These are upper limits of simultaneous 95 % intervals [2]_: for each run as a candidate for the best, the
        limits of its lead over all others hold together, by the largest studentised deviation in each draw. So the
        statement that a run is within the margin of the best is wrong in at most 5 % of studies, whichever runs are
        selected, and however many there are.
        """
        sign = -1.0 if is_better_less(self.score) else 1.0
        values, draws = sign * self.values, sign * self.draws[:, np.isfinite(self.draws).all(axis=0)]
        if not draws.shape[1]:
            return np.full(len(values), np.inf)
        bounds = np.zeros(len(values))
        for at in range(len(values)):
            lead, drawn = values[at] - values, draws[at] - draws
            spread = drawn.std(axis=1)
            scale = np.where(spread > ROUNDING, spread, np.inf)[:, None]
            critical = max(np.quantile(((drawn - lead[:, None]) / scale).max(axis=0), CONFIDENCE), ONE_SIDED)
            limits = lead + critical * np.hypot(spread, self.unseen_difference)
            limits[at] = 0.0
            bounds = np.maximum(bounds, limits)
        return bounds


def is_within(interval: Interval, margin: float) -> bool:
    """Return whether an interval of a difference lies within the margin on both sides of 0 [1]_."""
    return bool(-margin <= interval[0] and interval[1] <= margin)
