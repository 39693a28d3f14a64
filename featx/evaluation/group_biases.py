"""Differences between the mean errors of groups, for every run, with intervals.

The measures are functions of the groups' mean errors: 1 minus the accuracy, or the absolute error of numbers. Chance
alone makes the errors of groups differ, so that the draws of a bootstrap never contain equal errors. The interval of a
measure therefore also contains the value for equal errors, unless a test rejects that all groups have equal errors.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featx.evaluation.group_membership import GroupMembership
from featx.evaluation.group_scores import (
    MIN_GROUP_ROWS,
    MIN_GROUP_UNITS,
    GroupPredictions,
    comparable_groups,
    largest_groups,
)
from featx.evaluation.intervals import Resamples, percentile_interval
from featx.metrics.share_intervals import CONFIDENCE
from featx.tables.ids import Floats

# Value of each measure if all groups have equal errors.
EQUAL_ERRORS = {"largest_difference": 0.0, "mean_deviation": 0.0, "sd": 0.0, "ratio": 1.0}
# Measures by their names on the command line.
MEASURES = {"largest": "largest_difference", "deviation": "mean_deviation", "sd": "sd", "ratio": "ratio"}
MEASURE_TEXTS = {
    "largest_difference": "largest difference between the mean errors",
    "mean_deviation": "mean absolute deviation of the mean errors",
    "sd": "standard deviation of the mean errors",
    "ratio": "ratio of the smallest to the largest mean error",
}


@dataclass(frozen=True)
class GroupBias:
    """Differences between the mean errors of the groups of one grouping, for one run.

    Attributes
    ----------
    largest_difference
        Difference between the largest and the smallest error; None, as all measures, if fewer than two groups have
        enough rows.
    mean_deviation
        Mean absolute deviation of the groups' errors from the error over all rows with a group.
    sd
        Standard deviation of the groups' errors, with the number of groups as divisor.
    ratio
        Smallest error divided by the largest one; None if all errors are 0.
    intervals
        Name of a measure → low and high edge of its 95 % interval.
    errors
        Name of a group with enough rows → its mean error.
    too_few
        Name of a group with too few rows or units to be compared → its number of rows.
    """

    largest_difference: float | None = None
    mean_deviation: float | None = None
    sd: float | None = None
    ratio: float | None = None
    intervals: dict[str, Sequence[float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    too_few: dict[str, int] = field(default_factory=dict)


def group_biases(
    runs: Mapping[str, GroupPredictions], memberships: Sequence[GroupMembership]
) -> dict[str, dict[str, GroupBias]]:
    """Return run name → grouping name → bias.

    Parameters
    ----------
    runs
        Run name → predictions for the same rows.
    memberships
        Groups of these rows.
    """
    first_predictions = next(iter(runs.values()))
    resamples = Resamples.of(len(first_predictions.targets), first_predictions.units)
    errors = np.stack([predictions.errors for predictions in runs.values()])
    biases: dict[str, dict[str, GroupBias]] = {name: {} for name in runs}
    for membership in memberships:
        shown_groups = largest_groups(membership)
        groups = comparable_groups(membership, shown_groups, resamples.units)
        excluded_groups = {
            membership.groups[group]: int(membership.rows_of(group).sum())
            for group in shown_groups
            if group not in groups
        }
        run_biases = _biases_of_grouping(errors, membership, groups, resamples) if len(groups) > 1 else None
        for index, run in enumerate(runs):
            if run_biases is None:
                biases[run][membership.name] = GroupBias(too_few=excluded_groups)
            else:
                biases[run][membership.name] = replace(run_biases[index], too_few=excluded_groups)
    return biases


def _biases_of_grouping(
    errors: Floats, membership: GroupMembership, groups: Sequence[int], resamples: Resamples
) -> list[GroupBias]:
    """Return the bias of each run, without the groups that have too few rows.

    Parameters
    ----------
    errors
        (r, n) errors of the runs.
    groups
        Codes of the g groups to compare.
    """
    parts = [np.flatnonzero(membership.rows_of(group)) for group in groups]
    parts.append(np.flatnonzero(membership.has_value))
    means = np.stack([errors[:, rows].mean(axis=1) for rows in parts])
    draws = np.concatenate(list(_drawn_means(errors, parts, resamples)), axis=2)
    results = []
    for run in range(len(errors)):
        run_means, run_draws = means[:, run, None], draws[:, run]
        values = {name: float(value[0]) for name, value in _measures(run_means).items()}
        equal_draws = _measures(run_draws - run_means + run_means[-1])
        bias = GroupBias(
            values["largest_difference"],
            values["mean_deviation"],
            values["sd"],
            None if math.isnan(values["ratio"]) else values["ratio"],
            {
                name: list(_interval(name, values[name], m, equal_draws[name]))
                for name, m in _measures(run_draws).items()
            },
            {membership.groups[group]: float(mean) for group, mean in zip(groups, means[:-1, run], strict=True)},
        )
        results.append(bias)
    return results


def _drawn_means(errors: Floats, parts: Sequence[Any], resamples: Resamples) -> Iterator[Floats]:
    """Yield (g + 1, r, m) mean errors of the parts of the rows in m draws at a time."""
    for weights in resamples.weights():
        yield np.stack([errors[:, rows] @ weights[rows] / weights[rows].sum(axis=0) for rows in parts])


def _measures(means: Floats) -> dict[str, Floats]:
    """Return the measures (m,) of (g + 1, m) mean errors, of which the last is that over all rows."""
    groups, overall = means[:-1], means[-1]
    smallest, largest = groups.min(axis=0), groups.max(axis=0)
    ratio = np.full(len(largest), np.nan)
    return {
        "largest_difference": largest - smallest,
        "mean_deviation": np.abs(groups - overall).mean(axis=0),
        "sd": groups.std(axis=0),
        "ratio": np.divide(np.maximum(smallest, 0.0), largest, out=ratio, where=largest > 0),
    }


def _interval(name: str, value: float, draws: Floats, equal_draws: Floats) -> tuple[float, float]:
    """Return the percentile interval, extended to the value for equal errors unless a test rejects equal errors.

    Parameters
    ----------
    equal_draws
        Values of the measure in draws in which all groups have equal expected errors.
    """
    low, high = percentile_interval(draws)
    equal_value = EQUAL_ERRORS[name]
    finite_deviations = np.abs(equal_draws[np.isfinite(equal_draws)] - equal_value)
    if len(finite_deviations) and abs(value - equal_value) <= np.quantile(finite_deviations, CONFIDENCE):
        low, high = min(low, equal_value), max(high, equal_value)
    return low, high


def too_few_text() -> str:
    """Return the limits below which a group is not compared, as text."""
    return f"expected {MIN_GROUP_ROWS} rows or more, and {MIN_GROUP_UNITS} units or more if a split keeps units whole"
