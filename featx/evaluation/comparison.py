"""Comparison of runs with a reference run: intervals of all scores, tests of the differences, and equivalence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.evaluation.equivalence import PairedDraws, default_margin, is_within
from featx.evaluation.intervals import (
    Resamples,
    draw_scores,
    is_constant,
    percentile_interval,
    score_intervals,
    unseen_intervals,
)
from featx.evaluation.paired_tests import bootstrap_p, holm, mcnemar_midp, sign_p
from featx.metrics.definitions import Scorer, available_scores, find_score
from featx.metrics.score_kinds import RankingScore
from featx.metrics.scores import NEEDS_PROBABILITIES, align, compared_score
from featx.metrics.share_intervals import Interval, wilson_interval
from featx.specs.head import Metric
from featx.tables.ids import Floats, Ids
from featx.tables.predictions import AnyPredictions
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth

# With fewer units (rows or groups), the draws do not show how much another sample would differ.
MIN_UNITS_TO_COMPARE = 30
# Level of significance of all tests.
ALPHA = 0.05
# Number of rows × classes up to which areas under curves are drawn; this many take a few seconds per run.
MAX_RANKED_VALUES = 2_000_000
# The same for all runs together; this many take about 20 s.
MAX_RANKED_VALUES_OF_RUNS = 5_000_000
MCNEMAR, BOOTSTRAP = "McNemar's mid-p", "paired bootstrap"
Relation = Literal["reference", "equivalent", "not shown to differ", "worse", "better", "too few rows"]


@dataclass(frozen=True)
class RunComparison:
    """One run compared with the reference run.

    Attributes
    ----------
    intervals
        Score name → its 95 % interval.
    score
        Value of the selection score.
    difference, difference_interval
        Selection score of this run minus that of the reference, and its paired 95 % interval; nan for the reference.
    p, p_holm
        p-value of no difference, before and after Holm's correction for all compared runs; nan for the reference.
    max_gap_to_best
        Upper limit, at 95 % for all runs together, of how much better the best of all runs is than this one.
    """

    intervals: dict[str, Interval]
    score: float
    difference: float = math.nan
    difference_interval: Interval = (math.nan, math.nan)
    p: float = math.nan
    p_holm: float = math.nan
    max_gap_to_best: float = math.inf


@dataclass(frozen=True)
class Comparison:
    """All runs on the same rows, each compared with a reference run.

    Attributes
    ----------
    reference
        Name of the run that the others are compared with.
    score, test
        Names of the score that is compared, and of the statistical test.
    margin
        Largest difference without practical consequence, in units of the score.
    n_units, by_group
        Number of rows, or number of groups if whole groups are sampled, without those of weight 0; and whether whole
        groups are sampled.
    runs
        Run name → its comparison, the reference first.
    labels
        Run name → label of the run in sentences; by default its name.
    """

    reference: str
    score: str
    test: str
    margin: float
    n_units: int
    by_group: bool
    runs: dict[str, RunComparison]
    labels: Mapping[str, str] = field(default_factory=dict)

    def label(self, run: str) -> str:
        """Return the label of a run."""
        return self.labels.get(run, run)

    @property
    def has_enough_units(self) -> bool:
        """Whether the rows or groups are enough to compare runs."""
        return self.n_units >= MIN_UNITS_TO_COMPARE

    def relation(self, run: str) -> Relation:
        """Return the relation of a run to the reference.

        Notes
        -----
        *Equivalent* needs evidence: the interval of the difference lies within the margin on both sides of 0. *Not
        shown to differ* is absence of evidence: p is .05 or more. Both depend on this one comparison only, so that
        adding runs changes neither.
        """
        comparison = self.runs[run]
        if run == self.reference:
            return "reference"
        if not self.has_enough_units:
            return "too few rows"
        if is_within(comparison.difference_interval, self.margin):
            return "equivalent"
        if not comparison.p < ALPHA:
            return "not shown to differ"
        return "better" if self.is_better(run) else "worse"

    def is_better(self, run: str) -> bool:
        """Return whether the score of a run is better than that of the reference."""
        return bool(find_score(self.score).signed(self.runs[run].difference) > 0)

    def can_replace_reference(self, run: str) -> bool:
        """Return whether the best of all runs is hardly better than this run.

        The upper limit of that lead must be finite, and lie within the margin or be no larger than that of the
        reference.
        """
        bound, reference_bound = self.runs[run].max_gap_to_best, self.runs[self.reference].max_gap_to_best
        return math.isfinite(bound) and bound <= max(self.margin, reference_bound)

    def related(self, relation: Relation) -> list[str]:
        """Return the names of the runs with one relation to the reference."""
        return [run for run in self.runs if self.relation(run) == relation]


def compare(
    truth: AnyTruth,
    tables: Mapping[str, AnyPredictions],
    metric: Metric,
    groups: NDArray[Any] | None = None,
    margin: float | None = None,
) -> Comparison:
    """Compare runs with the first of them.

    Parameters
    ----------
    truth
        True values of the rows; it may have more rows.
    tables
        Run name → predictions, the reference first; rows are matched by id.
    metric
        Name of the score to compare; rows count by their weights if they have some.
    groups
        (n,) groups that the split keeps whole, in the order of the first table; whole groups are drawn. By default rows
        are drawn.
    margin
        Largest difference without practical consequence; `featx.evaluation.equivalence.default_margin` by default.

    Raises
    ------
    AlignmentError
        an id of the first run is missing from another.
    """
    names = list(tables)
    ids = tables[names[0]].ids
    pairs = [align(truth, _take_rows(name, table, ids)) for name, table in tables.items()]
    targets = pairs[0][0]
    resamples = Resamples.of(len(targets), groups)
    weighted_pairs, weighted_resamples = _drop_rows_without_weight(pairs, resamples)
    metric_scorers = [Scorer(*pair, [metric]) for pair in weighted_pairs]
    n_units, weights = weighted_resamples.n_units, weighted_pairs[0][0].weights
    values = np.array([scorer.plain(weights)[metric] for scorer in metric_scorers])
    metric_draws = draw_scores(metric_scorers, weighted_resamples, weights)
    draws = np.stack([scores[metric] for scores in metric_draws])
    # Without weights, the draws of the metric are those of its interval.
    run_intervals = _run_intervals(
        pairs, resamples, [{} for _ in pairs] if targets.weights is not None else metric_draws
    )
    if (compared := compared_score(metric, targets)) != metric:
        weighted_intervals = [
            {compared: _weighted_interval(scorer, metric, run_draws, n_units)}
            for scorer, run_draws in zip(metric_scorers, draws, strict=True)
        ]
        run_intervals = [
            edges | extra_intervals for edges, extra_intervals in zip(run_intervals, weighted_intervals, strict=True)
        ]
    n_differing = _count_differing(weighted_pairs, metric, weighted_resamples)
    paired_draws = PairedDraws(metric, values, draws, n_units, n_differing)
    # McNemar's test counts rows, so each row must be independent, count once and have one true class.
    is_counted = targets.kind == "classes" and metric == "accuracy" and groups is None
    is_counted = is_counted and targets.weights is None and targets.shares is None
    p = _mcnemar_p(pairs) if is_counted else _bootstrap_p(paired_draws)
    runs = _compare_runs(names, run_intervals, paired_draws, p)
    margin = default_margin(metric, float(values[0])) if margin is None else margin
    test = MCNEMAR if is_counted else BOOTSTRAP
    return Comparison(names[0], metric, test, margin, n_units, resamples.by_group, runs)


def _drop_rows_without_weight(
    pairs: Sequence[tuple[TargetValues, Floats]], resamples: Resamples
) -> tuple[Sequence[tuple[TargetValues, Floats]], Resamples]:
    """Return the rows of positive weight and their random weights; rows of weight 0 are no evidence of a difference."""
    weights = pairs[0][0].weights
    if weights is None or weights.all() or not weights.any():
        return pairs, resamples
    rows = np.flatnonzero(weights)
    return [(targets.take(rows), outputs[rows]) for targets, outputs in pairs], resamples.within(weights > 0)


def _run_intervals(
    pairs: Sequence[tuple[TargetValues, Floats]], resamples: Resamples, known_draws: Sequence[dict[str, Floats]]
) -> list[dict[str, Interval]]:
    """Return for each run the interval of each score.

    Parameters
    ----------
    known_draws
        Draws that exist already, one dictionary per run: score name → (draws,); these are not drawn again.
    """
    names = [name for name in drawable_scores(pairs[0][0], len(pairs)) if name not in known_draws[0]]
    scorers = [Scorer(*pair, names) for pair in pairs]
    return [
        score_intervals(Scorer(*pair, [*existing_draws, *names]), existing_draws | draws, resamples)
        for pair, existing_draws, draws in zip(pairs, known_draws, draw_scores(scorers, resamples), strict=True)
    ]


def _weighted_interval(scorer: Scorer, metric: Metric, draws: Floats, n_units: int) -> Interval:
    """Return the interval of a weighted score; draws that all agree do not show how it varies."""
    if is_constant(draws):
        return unseen_intervals(scorer, [metric], n_units, scorer.targets.weights)[metric]
    return percentile_interval(draws)


def _compare_runs(
    names: Sequence[str], run_intervals: Sequence[dict[str, Interval]], paired_draws: PairedDraws, p: Sequence[float]
) -> dict[str, RunComparison]:
    """Compare each run with the first."""
    corrected_p, bounds = holm(p), paired_draws.loss_bounds()
    runs = {names[0]: RunComparison(run_intervals[0], float(paired_draws.values[0]), max_gap_to_best=float(bounds[0]))}
    for index, name in enumerate(names[1:], start=1):
        runs[name] = RunComparison(
            run_intervals[index],
            float(paired_draws.values[index]),
            float(paired_draws.values[index] - paired_draws.values[0]),
            _difference_interval(paired_draws, index, p[index - 1]),
            p[index - 1],
            corrected_p[index - 1],
            float(bounds[index]),
        )
    return runs


def _difference_interval(paired_draws: PairedDraws, index: int, p: float) -> Interval:
    """Return the paired interval of the difference of one run, whose p-value is given, to the first.

    If all draws agree, it is widened by Wilson's limit for a difference that was not observed. So it is, to contain 0,
    if p shows no difference and so few units differ that all draws may have the same sign. It never exceeds the largest
    difference that is possible.
    """
    draws = paired_draws.draws[index] - paired_draws.draws[0]
    low, high = percentile_interval(draws)
    unseen = paired_draws.scale * wilson_interval(0.0, paired_draws.n_units)[1]
    limit = find_score(paired_draws.score).max_difference
    if p >= ALPHA and sign_p(1.0, paired_draws.n_differing[index]) >= ALPHA:
        return max(min(low - unseen, 0.0), -limit), min(max(high + unseen, 0.0), limit)
    return (max(low - unseen, -limit), min(high + unseen, limit)) if is_constant(draws) else (low, high)


def _take_rows(run: str, table: AnyPredictions, ids: Ids) -> AnyPredictions:
    try:
        return table.take(ids)
    except AlignmentError as error:
        raise AlignmentError(f"{run}: {error}; make the run again, as with 'featx fit --force'") from error


def drawable_scores(targets: TargetValues, n_runs: int = 1) -> list[str]:
    """Return the names of the scores to draw for each run; areas of many classes, rows and runs would take minutes."""
    n_values = targets.n_outputs * len(targets)
    is_large = n_values > MAX_RANKED_VALUES or n_runs * n_values > MAX_RANKED_VALUES_OF_RUNS
    return [
        name for name, score in available_scores(targets).items() if not (is_large and isinstance(score, RankingScore))
    ]


def _mcnemar_p(pairs: Sequence[tuple[TargetValues, Floats]]) -> list[float]:
    reference, *runs = (targets.correctness(outputs).astype(bool) for targets, outputs in pairs)
    return [float(mcnemar_midp((run & ~reference).sum(), (reference & ~run).sum())) for run in runs]


def _bootstrap_p(paired_draws: PairedDraws) -> list[float]:
    differences = paired_draws.values - paired_draws.values[0]
    return [
        bootstrap_p(draws - paired_draws.draws[0], float(difference), n_differing)
        for draws, difference, n_differing in zip(
            paired_draws.draws[1:], differences[1:], paired_draws.n_differing[1:], strict=True
        )
    ]


def _count_differing(pairs: Sequence[tuple[TargetValues, Floats]], metric: Metric, resamples: Resamples) -> list[int]:
    """Return for each run the number of units in which it differs from the first, as far as a metric depends on it."""
    reference_values, *run_values = (_scored_values(metric, targets, outputs) for targets, outputs in pairs)
    are_different = [(values != reference_values).reshape(len(values), -1).any(axis=1) for values in run_values]
    return [0, *(len(np.unique(resamples.units[is_different])) for is_different in are_different)]


def _scored_values(metric: Metric, targets: TargetValues, outputs: Floats) -> NDArray[Any]:
    """Return (n, …) values of a run that a metric depends on: whether it is right, what it predicts, or its outputs."""
    if metric == "accuracy":
        return targets.correctness(outputs)
    needs_outputs = metric in NEEDS_PROBABILITIES or isinstance(find_score(metric), RankingScore)
    return outputs if needs_outputs else targets.decisions(outputs)
