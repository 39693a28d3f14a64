"""Runs compared with one of them: intervals of all scores, tests of the differences, and equivalence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.evaluation.equivalence import PairedDraws, default_margin, is_unbounded, is_within
from featx.evaluation.intervals import (
    Interval,
    Resamples,
    drawn_scores,
    interval,
    intervals,
    is_constant,
    wilson,
)
from featx.evaluation.paired_tests import bootstrap_p, holm, mcnemar_midp
from featx.metrics.definitions import Floats, Scorer, is_better_less, scores_of
from featx.metrics.row_scores import right
from featx.metrics.score_kinds import Ranked
from featx.metrics.scores import aligned
from featx.specs.head import Metric
from featx.tables.ids import Ids
from featx.tables.predictions import Answered
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known

FEWEST = 30  # units: on fewer no draw says how another sample would have come out
SIGNIFICANT = 0.05
MOST_RANKED = 2_000_000  # rows × classes that areas are drawn for: a few seconds a run
MCNEMAR, BOOTSTRAP = "McNemar's mid-p", "paired bootstrap"
Relation = Literal["reference", "equivalent", "not shown to differ", "worse", "better", "too few rows"]


@dataclass(frozen=True)
class Compared:
    """One run beside the reference.

    Attributes
    ----------
    intervals
        Of each score, at 95 %.
    score
        The score that chooses.
    difference, difference_interval
        Of the score that chooses, this run's minus the reference's, and its paired interval; nan of the reference.
    p, p_holm
        Of no difference, and after Holm's correction for all runs that are compared; nan of the reference.
    loss_bound
        Upper limit, at 95 % for all runs together, of how much better the best of all runs is than this one.
    """

    intervals: dict[str, Interval]
    score: float
    difference: float = math.nan
    difference_interval: Interval = (math.nan, math.nan)
    p: float = math.nan
    p_holm: float = math.nan
    loss_bound: float = math.inf


@dataclass(frozen=True)
class Comparison:
    """All runs on the same rows.

    Attributes
    ----------
    reference
        The run that the others are compared with.
    score, test
        What is compared, and by which test.
    margin
        Largest difference without practical consequence.
    n_units, by_group
        Number of rows, or of groups where these are sampled whole.
    runs
        By name, the reference first.
    """

    reference: str
    score: str
    test: str
    margin: float
    n_units: int
    by_group: bool
    runs: dict[str, Compared]

    @property
    def has_enough_units(self) -> bool:
        """Whether there are enough rows or groups to compare runs."""
        return self.n_units >= FEWEST

    def relation(self, run: str) -> Relation:
        """Return how a run relates to the reference.

        Notes
        -----
        *Equivalent* needs evidence: the interval of the difference lies within the margin on both sides of 0. *Not
        shown to differ* is absence of evidence: p is .05 or more. Both are of this one comparison, so that further
        runs change neither.
        """
        one = self.runs[run]
        if run == self.reference:
            return "reference"
        if not self.has_enough_units:
            return "too few rows"
        if is_within(one.difference_interval, self.margin):
            return "equivalent"
        if not one.p < SIGNIFICANT:
            return "not shown to differ"
        return "better" if (one.difference < 0) == is_better_less(self.score) else "worse"

    def is_safe(self, run: str) -> bool:
        """Return whether a run can take the reference's place: the best of all runs is hardly better than it.

        The limit of what the best run is better by lies within the margin, or is no larger than the reference's.
        """
        return self.runs[run].loss_bound <= max(self.margin, self.runs[self.reference].loss_bound)

    def related(self, relation: Relation) -> list[str]:
        """Return the runs of one relation to the reference."""
        return [run for run in self.runs if self.relation(run) == relation]


def compare(
    known: Known,
    tables: Mapping[str, Answered],
    metric: Metric,
    groups: NDArray[Any] | None = None,
    margin: float | None = None,
) -> Comparison:
    """Compare runs with the first of them.

    Parameters
    ----------
    known
        What is known of their rows, and maybe more.
    tables
        By the runs' names, the reference first; rows are matched by id.
    metric
        What is compared; rows count by their weights where they have some.
    groups
        (n,) by the rows of the first table, what a split keeps whole; draws do so too.
    margin
        Largest difference without practical consequence; `featx.evaluation.equivalence.default_margin` by default.

    Raises
    ------
    AlignmentError
        an id of the first run is missing from another.
    """
    names = list(tables)
    ids = tables[names[0]].ids
    pairs = [aligned(known, _rows_of(name, table, ids)) for name, table in tables.items()]
    facts = pairs[0][0]
    resamples = Resamples.of(len(facts), groups)
    names_drawn = drawable(facts)
    scorers = [Scorer(*pair, names_drawn) for pair in pairs]
    found = [
        intervals(scorer, draws, resamples)
        for scorer, draws in zip(scorers, drawn_scores(scorers, resamples), strict=True)
    ]
    choosing = [Scorer(*pair, [metric]) for pair in pairs]
    seen = np.array([scorer.plain(facts.weights)[metric] for scorer in choosing])
    drawn = np.stack([one[metric] for one in drawn_scores(choosing, resamples, facts.weights)])
    if facts.weights is not None and facts.weights.any() and metric in {"accuracy", "mae"}:
        found = [one | {f"confidence_{metric}": interval(draws)} for one, draws in zip(found, drawn, strict=True)]
    paired = PairedDraws(metric, seen, drawn, resamples.n_units)
    by_rows = facts.kind == "classes" and metric == "accuracy" and groups is None
    by_rows = by_rows and facts.weights is None and facts.shares is None
    p = _by_rows(pairs) if by_rows else _by_draws(paired)
    runs = _runs(names, found, paired, p)
    margin = default_margin(metric, float(seen[0])) if margin is None else margin
    test = MCNEMAR if by_rows else BOOTSTRAP
    return Comparison(names[0], metric, test, margin, resamples.n_units, resamples.by_group, runs)


def _runs(
    names: Sequence[str], found: Sequence[dict[str, Interval]], paired: PairedDraws, p: Sequence[float]
) -> dict[str, Compared]:
    """Return each run beside the first."""
    corrected, bounds = holm(p), paired.loss_bounds()
    runs = {names[0]: Compared(found[0], float(paired.values[0]), loss_bound=float(bounds[0]))}
    for at, name in enumerate(names[1:], start=1):
        difference = float(paired.values[at] - paired.values[0])
        edges = _difference_interval(paired, at)
        value, bound = float(paired.values[at]), float(bounds[at])
        runs[name] = Compared(found[at], value, difference, edges, p[at - 1], corrected[at - 1], bound)
    return runs


def _difference_interval(paired: PairedDraws, at: int) -> Interval:
    """Return the paired interval of a difference; where all draws agree, Wilson's of a difference not seen."""
    draws = paired.draws[at] - paired.draws[0]
    low, high = interval(draws)
    if not is_constant(draws):
        return low, high
    scale = float(np.abs(paired.values).max()) if is_unbounded(paired.score) else 1.0
    unseen = scale * wilson(0.0, paired.n_units)[1]
    return low - unseen, high + unseen


def _rows_of(run: str, table: Answered, ids: Ids) -> Answered:
    try:
        return table.take(ids)
    except AlignmentError as error:
        raise AlignmentError(f"{run}: {error}; make the run again with '--force'") from error


def drawable(facts: TargetValues) -> list[str]:
    """Return the scores that are worth drawing again: areas of many classes over many rows would take minutes."""
    is_large = facts.n_outputs * len(facts) > MOST_RANKED
    return [name for name, of in scores_of(facts).items() if not (is_large and isinstance(of, Ranked))]


def _by_rows(pairs: Sequence[tuple[TargetValues, Floats]]) -> list[float]:
    first, *others = (right(facts, outputs).astype(bool) for facts, outputs in pairs)
    return [float(mcnemar_midp((other & ~first).sum(), (first & ~other).sum())) for other in others]


def _by_draws(paired: PairedDraws) -> list[float]:
    return [
        bootstrap_p(draws - paired.draws[0], float(value - paired.values[0]), paired.n_units)
        for draws, value in zip(paired.draws[1:], paired.values[1:], strict=True)
    ]
