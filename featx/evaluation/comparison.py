"""Runs beside the best of them: intervals of all scores, and which differences are more than chance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.evaluation.cost import Cost
from featx.evaluation.intervals import Interval, Resamples, drawn_scores, interval, intervals, wilson
from featx.evaluation.paired import bootstrap_p, holm, mcnemar_midp
from featx.facts import Facts
from featx.metrics import aligned
from featx.scoring import Floats, Ranked, Scorer, is_better_less, right, scores_of
from featx.specs.head import Metric
from featx.tables import Answered, Ids, Known

FEWEST = 30  # units: on fewer no draw says how another sample would have come out
SIGNIFICANT = 0.05
MOST_RANKED = 2_000_000  # rows × classes that areas are drawn for: a few seconds a run
MCNEMAR, BOOTSTRAP = "McNemar's mid-p", "paired bootstrap"


@dataclass(frozen=True)
class Compared:
    """One run beside the reference.

    Attributes
    ----------
    intervals
        Of each score, at 95 %.
    difference, difference_interval
        Of the score that chooses, this run's minus the reference's, and its paired interval; nan of the reference.
    p, p_holm
        Of no difference, and after Holm's correction for all runs that are compared; nan of the reference.
    """

    intervals: dict[str, Interval]
    difference: float = math.nan
    difference_interval: Interval = (math.nan, math.nan)
    p: float = math.nan
    p_holm: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """All runs on the same rows.

    Attributes
    ----------
    reference
        The run that the others are compared with: the best by what chooses.
    score, test
        What is compared, and by which test.
    n_units, by_group
        Rows, or groups where these are drawn whole.
    runs
        By name, the reference first.
    """

    reference: str
    score: str
    test: str
    n_units: int
    by_group: bool
    runs: dict[str, Compared]

    @property
    def is_telling(self) -> bool:
        """Whether there are enough rows to tell anything."""
        return self.n_units >= FEWEST

    def apart(self, run: str) -> int:
        """Return 1 for a run that is better than the reference beyond chance, -1 for a worse one, 0 for a tie."""
        one = self.runs[run]
        if not self.is_telling or not one.p_holm < SIGNIFICANT:
            return 0
        return 1 if (one.difference < 0) == is_better_less(self.score) else -1

    @property
    def tied(self) -> list[str]:
        """The reference, and the runs whose difference to it may be chance."""
        return [run for run in self.runs if not self.apart(run)]

    @property
    def unseen(self) -> float:
        """The difference that would about not show: half the width of the middle run's paired interval."""
        edges = [one.difference_interval for one in self.runs.values()]
        widths = [high - low for low, high in edges if math.isfinite(high - low)]
        return float(np.median(widths)) / 2 if widths else math.nan


def compare(
    known: Known, tables: Mapping[str, Answered], metric: Metric, groups: NDArray[Any] | None = None
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

    Raises
    ------
    AlignmentError
        an id of the first run is missing from another.
    """
    names = list(tables)
    ids = tables[names[0]].ids
    pairs = [aligned(known, _rows_of(name, table, ids)) for name, table in tables.items()]
    facts = pairs[0][0]
    resamples = Resamples.of(facts, groups)
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
    by_rows = facts.kind == "classes" and metric == "accuracy" and groups is None
    by_rows = by_rows and facts.weights is None and facts.shares is None
    p = _by_rows(pairs) if by_rows else _by_draws(drawn, seen)
    corrected = holm(p)
    runs = {names[0]: Compared(found[0])}
    for at, name in enumerate(names[1:], start=1):
        edges = interval(drawn[at] - drawn[0])
        if metric == "accuracy" and edges == (0.0, 0.0):  # right and wrong on the same rows: so is every draw
            beyond = wilson(0.0, resamples.n_units)[1]
            edges = (-beyond, beyond)
        runs[name] = Compared(found[at], float(seen[at] - seen[0]), edges, p[at - 1], corrected[at - 1])
    return Comparison(names[0], metric, MCNEMAR if by_rows else BOOTSTRAP, resamples.n_units, resamples.by_group, runs)


def _rows_of(run: str, table: Answered, ids: Ids) -> Answered:
    try:
        return table.take(ids)
    except AlignmentError as error:
        raise AlignmentError(f"{run}: {error}; make the run again with '--force'") from error


def drawable(facts: Facts) -> list[str]:
    """Return the scores that are worth drawing again: areas of many classes over many rows would take minutes."""
    is_large = facts.n_outputs * len(facts) > MOST_RANKED
    return [name for name, of in scores_of(facts).items() if not (is_large and isinstance(of, Ranked))]


def _by_rows(pairs: Sequence[tuple[Facts, Floats]]) -> list[float]:
    first, *others = (right(facts, outputs).astype(bool) for facts, outputs in pairs)
    return [float(mcnemar_midp((other & ~first).sum(), (first & ~other).sum())) for other in others]


def _by_draws(drawn: Floats, seen: Floats) -> list[float]:
    each = zip(drawn[1:], seen[1:], strict=True)
    return [bootstrap_p(draws - drawn[0], float(one - seen[0])) for draws, one in each]


def cheapest(runs: Sequence[str], costs: Mapping[str, Cost]) -> str:
    """Return the run that answers the most images a second; where that is not known of all, the smallest on disk.

    Of equals the one that was made in the least time, then the first.
    """

    def price(run: str) -> tuple[float, float]:
        cost = costs[run]
        made = math.inf if cost.fit_s is None else cost.fit_s
        if all(costs[one].images_per_s for one in runs):
            return -(cost.images_per_s or 0.0), made
        return math.inf if cost.n_bytes is None else cost.n_bytes, made

    return min(runs, key=price)


def statement(found: Comparison, costs: Mapping[str, Cost], on: str) -> str:
    """Say which runs are tied for best, and which of them is the cheapest.

    Parameters
    ----------
    on
        What they were compared on, as ``394 val rows``.
    """
    if len(found.runs) == 1:
        return f"{found.reference} is the only run: there is nothing to compare it with"
    if not found.is_telling:
        return f"{on} are too few to tell any two runs apart (expected {FEWEST} or more): all are tied for best"
    better = [run for run in found.runs if found.apart(run) > 0]
    if better:
        return f"better than {found.reference} on {on}, beyond chance: {', '.join(better)}"
    tied = found.tied
    if len(tied) == 1:
        return f"{found.reference} is better than all others on {on}, beyond chance"
    low = cheapest(tied, costs)
    whom = "all runs are" if len(tied) == len(found.runs) else f"{', '.join(tied)} are"
    small = f"; differences below about {found.unseen:.2g} would not show here" if found.unseen > 0 else ""
    return f"{whom} tied for best: what sets them apart on {on} may be chance{small}. The cheapest of them is {low}"
