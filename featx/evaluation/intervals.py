"""Intervals of scores, by drawing the rows again with replacement: the same draws for all runs, so that they pair.

References
----------
.. [1] B. Efron, R. J. Tibshirani, An introduction to the bootstrap, Chapman & Hall 1993, chapters 8 and 13.
.. [2] E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import norm

from featx.facts import Facts
from featx.scoring import Scorer
from featx.targets import strata_codes

Floats = NDArray[np.float64]
Interval = tuple[float, float]
N_DRAWS = 2000
CONFIDENCE = 0.95
CHUNK = 2**19  # weights that are held at a time, 4 MiB: what fits a cache is summed faster


@dataclass(frozen=True)
class Resamples:
    """Draws of n rows with replacement.

    Attributes
    ----------
    units
        (n,) codes 0 … u-1 of what is drawn: each row for itself, or whole groups.
    strata
        (u,) codes; each stratum keeps its number of units in every draw.
    by_group
        Whether several rows may be one unit.
    n_draws, seed
        Equal ones give equal draws.
    """

    units: NDArray[np.intp]
    strata: NDArray[np.int64]
    by_group: bool = False
    n_draws: int = N_DRAWS
    seed: int = 0

    @classmethod
    def of(cls, facts: Facts, groups: NDArray[Any] | None = None) -> "Resamples":
        """Draw within each class, or kind of labels; numbers from all rows; where there are groups whole ones.

        Parameters
        ----------
        groups
            (n,) the group that a split keeps whole; None where rows stand for themselves.
        """
        if groups is not None:
            units = np.unique(groups.astype(str), return_inverse=True)[1]
            return cls(units, np.zeros(units.max(initial=-1) + 1, dtype=np.int64), by_group=True)
        n = len(facts)
        strata = np.zeros(n, dtype=np.int64) if facts.kind == "numbers" else strata_codes(facts)
        return cls(np.arange(n), strata)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def n_units(self) -> int:
        """How many things are drawn from."""
        return len(self.strata)

    def within(self, rows: NDArray[np.bool_]) -> "Resamples":
        """Return draws of some of the rows, by themselves."""
        kept, units = np.unique(self.units[rows], return_inverse=True)
        return replace(self, units=units, strata=self.strata[kept])

    def counts(self) -> Iterator[Floats]:
        """Yield (n, m) how often each row is in each draw, some draws at a time."""
        rng = np.random.default_rng(self.seed)
        members = [np.flatnonzero(self.strata == code) for code in np.unique(self.strata)]
        spread = sparse.csr_array((np.ones(len(self)), (np.arange(len(self)), self.units)))
        size = max(1, min(self.n_draws, CHUNK // max(len(self), 1)))
        for start in range(0, self.n_draws, size):
            m = min(size, self.n_draws - start)
            found = np.empty((self.n_units, m))
            for at in members:
                drawn = rng.integers(0, len(at), (len(at), m), dtype=np.int32) * m + np.arange(m, dtype=np.int32)
                found[at] = np.bincount(drawn.ravel(), minlength=len(at) * m).reshape(len(at), m)
            yield spread @ found if self.by_group else found


def drawn_scores(
    scorers: Sequence[Scorer], resamples: Resamples, weights: Floats | None = None
) -> list[dict[str, Floats]]:
    """Return each score of each model in each draw.

    Parameters
    ----------
    scorers
        Of models that answer the same rows in one order.
    weights
        (n,) how much each row counts in a draw; all the same by default.

    Returns
    -------
    list
        For each model name → (draws,); the i-th draw of all models holds the same rows.

    Notes
    -----
    Time O(draws n) for each model; the rows are sorted once. Memory O(draws) for each score, whatever n.
    """
    parts: list[list[dict[str, Floats]]] = [[] for _ in scorers]
    for counts in resamples.counts():
        weighed = counts if weights is None else counts * weights[:, None]
        for found, scorer in zip(parts, scorers, strict=True):
            found.append(scorer.at(weighed))
    return [{name: np.concatenate([one[name] for one in found]) for name in found[0]} for found in parts]


def interval(draws: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return between which values the middle draws lie [1]_; nan where the score means nothing in any."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def intervals(
    scorer: Scorer, draws: dict[str, Floats], resamples: Resamples, confidence: float = CONFIDENCE
) -> dict[str, Interval]:
    """Return the interval of each score of a model, as `interval` does.

    Where a model is right on all rows, or on none, every draw is; its accuracy then has Wilson's interval, of as many
    units as were drawn.
    """
    found = {name: interval(values, confidence) for name, values in draws.items()}
    share = scorer.plain().get("accuracy")
    if share in {0.0, 1.0}:
        found["accuracy"] = wilson(share, resamples.n_units, confidence)
    return found


def wilson(share: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval [2]_ of a share out of n.

    Examples
    --------
    >>> [round(edge, 4) for edge in wilson(0.9, 100)]
    [0.8256, 0.9448]
    """
    z = float(norm.ppf((1 + confidence) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half
