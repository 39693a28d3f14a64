"""Intervals of scores by the Bayesian bootstrap: all runs get the same random row weights, so that they pair.

References
----------
.. [1] D. B. Rubin, The Bayesian bootstrap, The Annals of Statistics 1981.
.. [2] E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtri, stdtrit

from featx.metrics.definitions import Scorer
from featx.tables.target_values import TargetValues

Floats = NDArray[np.float64]
Interval = tuple[float, float]
N_DRAWS = 2000
CONFIDENCE = 0.95
# Number of weights in memory at a time, 4 MiB: a block that fits the processor's cache is summed faster.
CHUNK = 2**19
# Number of units from which weights are exponential: the gamma distribution differs by less than 1 % of the variance.
MIN_UNITS_FOR_EXPONENTIAL = 500
MIN_CONCENTRATION = 0.01
# Weights are multiples of this, so that their sums are exact and 0 / 0 in a score is recognised as such.
WEIGHT_STEP = 2.0**-30


@dataclass(frozen=True)
class Resamples:
    """Random weights of n rows: a Dirichlet distribution over the units that are sampled independently [1]_.

    Attributes
    ----------
    units
        (n,) codes 0 … u-1 of the units: each row is one, or all rows of a group are.
    by_group
        Whether a unit may have several rows.
    n_draws, seed
        Number of draws, and the seed of the random generator. Equal seeds give equal draws.

    Notes
    -----
    Every row has a positive weight in every draw, so no draw lacks a class or a group. The concentration of the
    distribution is chosen so that the interval of a mean is as wide as that of Student's t over the units.
    """

    units: NDArray[np.intp]
    by_group: bool = False
    n_draws: int = N_DRAWS
    seed: int = 0

    @classmethod
    def of(cls, n_rows: int, groups: NDArray[Any] | None = None) -> "Resamples":
        """Return draws of n rows.

        Parameters
        ----------
        groups
            (n,) the group that a split keeps whole; None where each row is a unit.
        """
        if groups is None:
            return cls(np.arange(n_rows))
        units = np.unique(groups.astype(str), return_inverse=True)[1]
        return cls(units, by_group=True)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.units.max(initial=-1)) + 1

    @property
    def concentration(self) -> float:
        """Parameter of the symmetric Dirichlet distribution of the units' weights."""
        n = self.n_units
        if n < 2:
            return 1.0
        ratio = ndtri((1 + CONFIDENCE) / 2) / stdtrit(n - 1, (1 + CONFIDENCE) / 2)
        return max(MIN_CONCENTRATION, float(((n - 1) * ratio**2 - 1) / n))

    def within(self, rows: NDArray[np.bool_]) -> "Resamples":
        """Return draws of some of the rows alone."""
        return replace(self, units=np.unique(self.units[rows], return_inverse=True)[1])

    def weights(self) -> Iterator[Floats]:
        """Yield (n, m) weights of each row in each draw, m draws at a time; the units' weights have mean 1."""
        rng = np.random.default_rng(self.seed)
        spread = sparse.csr_array((np.ones(len(self)), (np.arange(len(self)), self.units)))
        size = max(1, min(self.n_draws, CHUNK // max(len(self), 1)))
        for start in range(0, self.n_draws, size):
            weights = self._unit_weights(rng, min(size, self.n_draws - start))
            yield spread @ weights if self.by_group else weights

    def _unit_weights(self, rng: np.random.Generator, n_draws: int) -> Floats:
        """Return (u, m) weights of the units."""
        shape = (self.n_units, n_draws)
        if self.n_units >= MIN_UNITS_FOR_EXPONENTIAL:
            weights = rng.standard_exponential(shape)
        else:
            weights = rng.standard_gamma(self.concentration, shape)
        weights *= self.n_units / np.maximum(weights.sum(axis=0), np.finfo(float).tiny) / WEIGHT_STEP
        return np.asarray(np.maximum(np.rint(weights, out=weights), 1.0, out=weights) * WEIGHT_STEP)


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
    for drawn in resamples.weights():
        weighed = drawn if weights is None else drawn * weights[:, None]
        for found, scorer in zip(parts, scorers, strict=True):
            found.append(scorer.at(weighed))
    return [{name: np.concatenate([one[name] for one in found]) for name in found[0]} for found in parts]


def interval(draws: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return the quantiles that hold the middle draws [1]_; nan where the score is undefined in all of them."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def is_constant(draws: Floats) -> bool:
    """Return whether all draws agree up to rounding; draws in which a score is undefined do not count."""
    known = draws[np.isfinite(draws)]
    return bool(len(known)) and bool(np.ptp(known) <= 1e-9 * max(1.0, float(np.abs(known).max())))


def intervals(
    scorer: Scorer, draws: dict[str, Floats], resamples: Resamples, confidence: float = CONFIDENCE
) -> dict[str, Interval]:
    """Return the interval of each score of a model.

    Notes
    -----
    Where all draws of a score agree, as those of a model without mistakes do, the rows show nothing of how it varies.
    Its interval is then that of `unseen_interval`, which for an accuracy of 1 is Wilson's [2]_.
    """
    found = {name: interval(values, confidence) for name, values in draws.items()}
    constant = [name for name, values in draws.items() if is_constant(values)]
    return found | unseen_interval(scorer, constant, resamples.n_units, confidence)


def unseen_interval(
    scorer: Scorer, names: Sequence[str], n_units: int, confidence: float = CONFIDENCE
) -> dict[str, Interval]:
    """Return between which values scores would lie if rows of a kind that was not seen were predicted best or worst.

    The share of such rows is the upper limit of Wilson's interval of 0 out of `n_units`.
    """
    if not names:
        return {}
    n, share = len(scorer), wilson(0.0, n_units, confidence)[1]
    facts = scorer.facts.take(np.tile(np.arange(n), 2))
    weights = np.repeat([1 - share, share], n)
    extremes = [np.concatenate([scorer.outputs, some]) for some in _extreme_outputs(scorer.facts, scorer.outputs)]
    edges = [scorer.plain(), *(Scorer(facts, outputs, names).plain(weights) for outputs in extremes)]
    values = {name: [one[name] for one in edges if math.isfinite(one[name])] for name in names}
    return {name: (min(some), max(some)) for name, some in values.items()}


def _extreme_outputs(facts: TargetValues, outputs: Floats) -> tuple[Floats, Floats]:
    """Return the best and the worst outputs for some rows; of numbers, the other end of the range of all values."""
    if facts.kind == "labels":
        return np.asarray(facts.y, dtype=np.float64), np.asarray(1.0 - facts.y)
    if facts.kind == "classes":
        k = facts.n_outputs
        return np.eye(k)[facts.y], np.eye(k)[np.where(2 * facts.y < k - 1 + (k == 1), k - 1, 0)]
    values = np.concatenate([facts.y, outputs])
    low, high = values.min(axis=0), values.max(axis=0)
    high = np.where(high > low, high, low + np.maximum(np.abs(low), 1.0))
    return facts.y, np.where(facts.y - low > high - facts.y, low, high)


def wilson(share: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval [2]_ of a share out of n; of no rows at all from 0 to 1.

    Examples
    --------
    >>> [round(edge, 4) for edge in wilson(0.9, 100)]
    [0.8256, 0.9448]
    """
    if n == 0:
        return 0.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half
