"""Intervals of scores by the Bayesian bootstrap; all runs get the same random row weights, so draws are paired.

References
----------
.. [1] D. B. Rubin, The Bayesian bootstrap, The Annals of Statistics 1981.
.. [2] E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
.. [3] A. C. Davison, D. V. Hinkley, Bootstrap methods and their application, Cambridge University Press 1997, section
   2.4: the basic interval.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtri, stdtrit

from featx.metrics.definitions import Scorer, find_score
from featx.metrics.share_intervals import CONFIDENCE, Interval, wilson_interval
from featx.parallel.threads import run_side_by_side
from featx.tables.ids import Floats

N_DRAWS = 2000
# Number of weights in memory at a time, 4 MiB: a block that fits the processor's cache is summed faster.
MAX_WEIGHTS_IN_MEMORY = 2**19
# From this number of units on, weights are exponential: the variance differs from the gamma one by less than 1 %.
MIN_UNITS_FOR_EXPONENTIAL = 500
MIN_CONCENTRATION = 0.01
# Weights are multiples of this, so that their sums are exact and 0 / 0 in a score is recognised as such.
WEIGHT_STEP = 2.0**-30


@dataclass(frozen=True)
class Resamples:
    """Random weights of n rows, from a Dirichlet distribution over the units that are sampled independently [1]_.

    Attributes
    ----------
    units
        (n,) codes 0 … u-1 of the units; a unit is one row or all rows of a group.
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
        """Return the random weights of n rows.

        Parameters
        ----------
        n_rows
            Number of rows.
        groups
            (n,) groups that the split keeps whole, each of which is a unit; by default each row is a unit.
        """
        if groups is None:
            return cls(np.arange(n_rows))
        units = np.unique(groups.astype(str), return_inverse=True)[1]
        return cls(units, by_group=True)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def n_units(self) -> int:
        """Number u of units."""
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
        """Return the random weights of a part of the rows, chosen by a (n,) mask."""
        return replace(self, units=np.unique(self.units[rows], return_inverse=True)[1])

    def weights(self) -> Iterator[Floats]:
        """Yield (n, m) weights of the rows in m draws at a time; in each draw the units' weights have mean 1."""
        rng = np.random.default_rng(self.seed)
        spread = sparse.csr_array((np.ones(len(self)), (np.arange(len(self)), self.units)))
        size = max(1, min(self.n_draws, MAX_WEIGHTS_IN_MEMORY // max(len(self), 1)))
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


def draw_scores(
    scorers: Sequence[Scorer], resamples: Resamples, weights: Floats | None = None
) -> list[dict[str, Floats]]:
    """Return the scores of several models in each draw.

    Parameters
    ----------
    scorers
        Scorers of the models, for the same rows in the same order.
    resamples
        Random weights of the rows.
    weights
        (n,) weights of the rows, by which the random weights are multiplied; all 1 by default.

    Returns
    -------
    list
        Dictionaries, one per model: score name → (draws,). The i-th draw has the same random weights for all models.

    Notes
    -----
    Time O(draws n) for each model; the rows are sorted once, and models are scored on all cores. Memory O(draws) for
    each score, whatever n.
    """
    parts: list[list[dict[str, Floats]]] = [[] for _ in scorers]
    for random_weights in resamples.weights():
        row_weights = random_weights if weights is None else random_weights * weights[:, None]
        values = run_side_by_side(partial(_score_draws, row_weights), scorers)
        for blocks, block in zip(parts, values, strict=True):
            blocks.append(block)
    return [{name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]} for blocks in parts]


def _score_draws(weights: Floats, scorer: Scorer) -> dict[str, Floats]:
    return scorer.at(weights)


def percentile_interval(draws: Floats) -> Interval:
    """Return the quantiles that enclose the middle draws [1]_; nan if the score is undefined in all draws."""
    finite_draws = draws[np.isfinite(draws)]
    if not len(finite_draws):
        return math.nan, math.nan
    low, high = np.quantile(finite_draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def basic_interval(draws: Floats, value: float, limits: Interval) -> Interval:
    """Return the percentile interval of the draws, reflected at the value, within the limits of the score [3]_.

    If draws exceed the value on average, as those of a calibration error do, the value exceeds that of the population
    by about as much, and the reflection shifts the interval down by twice that. The interval is extended to the value
    where it would not contain it. At a limit of the score nothing may be left of it; the percentile interval, extended
    to the value, takes its place.
    """
    low, high = percentile_interval(draws)
    edges = np.clip((2 * value - high, 2 * value - low), *limits)
    basic_edges = min(float(edges[0]), value), max(float(edges[1]), value)
    return (min(low, value), max(high, value)) if is_constant(np.array(basic_edges)) else basic_edges


def is_constant(draws: Floats) -> bool:
    """Return whether all draws agree up to rounding; draws in which the score is undefined are ignored."""
    finite_draws = draws[np.isfinite(draws)]
    return bool(len(finite_draws)) and bool(np.ptp(finite_draws) <= 1e-9 * max(1.0, float(np.abs(finite_draws).max())))


def score_intervals(scorer: Scorer, draws: dict[str, Floats], resamples: Resamples) -> dict[str, Interval]:
    """Return the interval of each score of a model.

    Notes
    -----
    If all draws of a score agree, as those of a model without mistakes do, the rows do not show how the score varies.
    Its interval is then that of `unseen_intervals`, which for an accuracy of 1 is Wilson's [2]_. Biased scores get
    basic intervals, because the draws have the bias of the score a second time.
    """
    edges = {name: percentile_interval(values) for name, values in draws.items()}
    if biased_scores := [find_score(name) for name in draws if find_score(name).is_biased]:
        plain_scores = Scorer(scorer.targets, scorer.outputs, [score.name for score in biased_scores]).plain()
        edges |= {
            score.name: basic_interval(draws[score.name], plain_scores[score.name], score.limits)
            for score in biased_scores
        }
    constant = [name for name, values in draws.items() if is_constant(values)]
    return edges | unseen_intervals(scorer, constant, resamples.n_units)


def unseen_intervals(
    scorer: Scorer, names: Sequence[str], n_units: int, row_weights: Floats | None = None
) -> dict[str, Interval]:
    """Return the range of scores if rows of an unseen kind were predicted as well or as badly as possible.

    The assumed share of such rows is the upper limit of Wilson's interval of 0 out of `n_units`. With (n,) weights of
    the rows, scores are weighted.
    """
    if not names:
        return {}
    n, share = len(scorer), wilson_interval(0.0, n_units)[1]
    targets = scorer.targets.take(np.tile(np.arange(n), 2))
    weights = np.repeat([1 - share, share], n) * (1.0 if row_weights is None else np.tile(row_weights, 2))
    extremes = [
        np.concatenate([scorer.outputs, extreme_outputs])
        for extreme_outputs in scorer.targets.extreme_outputs(scorer.outputs)
    ]
    cases = [scorer.plain(row_weights), *(Scorer(targets, outputs, names).plain(weights) for outputs in extremes)]
    values = {name: [scores[name] for scores in cases if math.isfinite(scores[name])] for name in names}
    return {name: (min(numbers), max(numbers)) for name, numbers in values.items()}
