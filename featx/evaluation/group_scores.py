"""Scores of groups with intervals, differences between groups, and tests of each group against the other rows.

References
----------
.. [1] S. Bird et al., Fairlearn: a toolkit for assessing and improving fairness in AI, Microsoft 2020.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.comparison import ALPHA, drawable_scores
from featx.evaluation.group_membership import GroupMembership
from featx.evaluation.group_tests import cross_fit_threshold, group_p_values
from featx.evaluation.intervals import Resamples, draw_scores, score_intervals
from featx.evaluation.paired_tests import holm
from featx.metrics.definitions import MAIN_SCORES, Scorer
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

# Groups of fewer rows are not compared.
MIN_GROUP_ROWS = 20
# Groups of fewer units, for example patients, are not compared: so few give neither an interval nor a test.
MIN_GROUP_UNITS = 5
# Number of groups of a grouping that are shown, the largest ones.
MAX_SHOWN_GROUPS = 40


@dataclass(frozen=True)
class Group:
    """Scores of one group.

    Attributes
    ----------
    name
        Name of the group.
    n
        Number of rows.
    scores
        Score name → value (`featx.metrics.scores.scores`); nan for undefined scores, such as the AUC of one class.
    is_compared
        Whether the group and the other rows have enough rows and units. If not, there are no intervals and no p.
    n_units
        Number of units, for example patients, that the rows come from; None if each row is a unit.
    intervals
        Score name → 95 % interval, from draws of the group's own rows or units.
    p_holm
        p-value of errors equal to those of the other rows, after Holm's correction for all groups of all groupings.
    is_flagged
        Whether the errors are significantly larger than those of the other rows.
    predicted_positive_rate
        Share of rows that are predicted as the second class; None unless there are two classes.
    threshold, score_by_threshold
        Threshold fitted to the group by cross-fitting, and accuracy with it; None unless there are two classes.
    """

    name: str
    n: int
    scores: dict[str, float]
    is_compared: bool
    n_units: int | None = None
    intervals: dict[str, Sequence[float]] = field(default_factory=dict)
    p_holm: float | None = None
    is_flagged: bool = False
    predicted_positive_rate: float | None = None
    threshold: float | None = None
    score_by_threshold: float | None = None


@dataclass(frozen=True)
class Grouping:
    """Scores of all groups of one column or of two combined columns; differences are between the compared groups.

    Attributes
    ----------
    name
        Name of the grouping.
    groups
        The groups, in their order.
    score, overall
        Name of the score that groups are compared in, accuracy or mean absolute error, and its value over all rows
        that have a group.
    ordered
        Whether the groups have an order.
    n_missing, n_omitted_groups
        Number of rows without a value, and number of groups that are left out because there are too many.
    largest_difference, ratio
        Difference between the best and the worst group, and the smaller score divided by the larger one [1]_.
    mean_deviation
        Mean absolute deviation of the groups' scores from the overall score.
    step
        Increase of the error from one group to the next by least squares; None unless the groups have an order.
    parity_difference
        Largest difference between the groups' shares of the second class [1]_; None unless there are two classes.
    largest_difference_by_thresholds
        Value of `largest_difference` if each group has its own threshold.
    """

    name: str
    groups: list[Group]
    score: str
    overall: float
    ordered: bool
    n_missing: int
    n_omitted_groups: int
    largest_difference: float | None = None
    ratio: float | None = None
    mean_deviation: float | None = None
    step: float | None = None
    parity_difference: float | None = None
    largest_difference_by_thresholds: float | None = None

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Grouping":
        """Return the grouping whose `dataclasses.asdict` is given."""
        return cls(**fields | {"groups": [Group(**group) for group in fields["groups"]]})


@dataclass(frozen=True)
class GroupPredictions:
    """Predictions of a run for rows whose true values are known.

    Attributes
    ----------
    targets
        True values of n rows.
    outputs
        (n, k) probabilities or (n, t) values.
    units
        (n,) units that the split keeps whole; None if each row is a unit.
    can_fit_thresholds
        Whether thresholds may be fitted to these rows; not so for test rows.
    """

    targets: TargetValues
    outputs: Floats
    units: NDArray[Any] | None = None
    can_fit_thresholds: bool = True

    @cached_property
    def unit_codes(self) -> NDArray[np.intp]:
        """(n,) codes of the units; each row is a unit if `units` is None."""
        return Resamples.of(len(self.targets), self.units).units

    @cached_property
    def errors(self) -> Floats:
        """(n,) errors of the rows."""
        return self.targets.errors(self.outputs)

    @property
    def score(self) -> str:
        """Name of the score that groups are compared in."""
        return MAIN_SCORES[self.targets.kind]

    @property
    def is_binary(self) -> bool:
        """Whether the number of classes is two."""
        return self.targets.kind == "classes" and self.targets.n_outputs == 2

    def without_weights(self) -> "GroupPredictions":
        """Return the same predictions with equal weights of all rows."""
        return replace(self, targets=replace(self.targets, weights=None))


def score_groups(predictions: GroupPredictions, memberships: Sequence[GroupMembership]) -> list[Grouping]:
    """Return the scores of the groups of each grouping, and flag the groups with significantly larger errors.

    Parameters
    ----------
    predictions
        Predictions of one run.
    memberships
        Groups of the same rows (`featx.evaluation.group_membership.groupings`).

    Notes
    -----
    Groups of fewer than 20 rows or 5 units have scores and nothing else. The errors of a group are tested against those
    of all other rows of the grouping: by Fisher's exact test, by permutations of the rows, or by permutations of the
    units if a split keeps units whole. Holm's method corrects for all tests together. Two groups that contain all rows
    are one test.
    """
    predictions = predictions.without_weights()
    resamples = Resamples.of(len(predictions.targets), predictions.units)
    largest_group_lists = [largest_groups(membership) for membership in memberships]
    compared_group_lists = [
        comparable_groups(membership, groups, resamples.units)
        for membership, groups in zip(memberships, largest_group_lists, strict=True)
    ]
    tested_group_lists = [
        _tested_groups(membership, groups) for membership, groups in zip(memberships, compared_group_lists, strict=True)
    ]
    p = [
        _test_groups(predictions, membership, groups)
        for membership, groups in zip(memberships, tested_group_lists, strict=True)
    ]
    corrected_p = iter(holm([value for values in p for value in values]))
    results = []
    for membership, shown_groups, groups, tests in zip(
        memberships, largest_group_lists, compared_group_lists, tested_group_lists, strict=True
    ):
        p_by_test = {group: next(corrected_p) for group in tests}
        p_by_group = {group: p_by_test.get(group, p_by_test[tests[0]]) for group in groups}
        results.append(_score_grouping(predictions, membership, shown_groups, p_by_group, resamples))
    return results


def largest_groups(membership: GroupMembership) -> list[int]:
    """Return the groups that are shown, in their order."""
    sizes = np.bincount(membership.codes[membership.has_value], minlength=len(membership.groups))
    n_shown = min(MAX_SHOWN_GROUPS, int((sizes > 0).sum()))
    return sorted(np.argsort(-sizes, kind="stable")[:n_shown].tolist())


def comparable_groups(membership: GroupMembership, groups: Sequence[int], units: NDArray[np.intp]) -> list[int]:
    """Return those of some groups with enough rows and units, both inside and outside of the group."""
    return [
        group
        for group in groups
        if all(
            rows.sum() >= MIN_GROUP_ROWS and len(np.unique(units[rows])) >= MIN_GROUP_UNITS
            for rows in (membership.rows_of(group), membership.has_value & ~membership.rows_of(group))
        )
    ]


def _tested_groups(membership: GroupMembership, groups: list[int]) -> list[int]:
    """Return the groups to test; of two groups that contain all rows, testing one is enough."""
    is_pair = len(groups) == 2 and np.isin(membership.codes[membership.has_value], groups).all()
    return groups[:1] if is_pair else groups


def _test_groups(predictions: GroupPredictions, membership: GroupMembership, groups: Sequence[int]) -> list[float]:
    """Return for each group the p-value of errors equal to those of the other rows with a value."""
    rows = membership.has_value
    units = None if predictions.units is None else predictions.unit_codes[rows]
    group_masks = [membership.rows_of(group)[rows] for group in groups]
    return group_p_values(predictions.errors[rows], group_masks, units)


def _score_grouping(
    predictions: GroupPredictions,
    membership: GroupMembership,
    groups: Sequence[int],
    p_holm: dict[int, float],
    resamples: Resamples,
) -> Grouping:
    """Return the scores of the groups of one grouping."""
    targets, name = predictions.targets, predictions.score
    rows = np.flatnonzero(membership.has_value)
    mean_error = predictions.errors[rows].mean() if len(rows) else math.nan
    overall = math.nan
    if len(rows):
        overall = Scorer(targets.take(rows), predictions.outputs[rows], [name]).plain()[name]
    grouping = Grouping(
        membership.name,
        [_score_group(predictions, membership, group, p_holm.get(group), mean_error, resamples) for group in groups],
        name,
        overall,
        membership.ordered,
        len(targets) - len(rows),
        len(membership.groups) - len(groups),
    )
    grouping = _add_differences(grouping, membership, predictions.errors)
    if predictions.is_binary and predictions.can_fit_thresholds:
        return _add_thresholds(grouping, predictions, membership, groups)
    return grouping


def _score_group(  # noqa: PLR0913 (what is common to all groups comes from the caller)
    predictions: GroupPredictions,
    membership: GroupMembership,
    group: int,
    p_holm: float | None,
    mean_error: float,
    resamples: Resamples,
) -> Group:
    """Return the scores of one group; `p_holm` is None if it is not compared."""
    rows = membership.rows_of(group)
    targets, outputs = predictions.targets, predictions.outputs
    scorer = Scorer(targets.take(np.flatnonzero(rows)), outputs[rows])
    has_larger_errors = bool(predictions.errors[rows].mean() > mean_error)
    return Group(
        membership.groups[group],
        int(rows.sum()),
        scorer.plain(),
        p_holm is not None,
        None if predictions.units is None else len(np.unique(predictions.unit_codes[rows])),
        {} if p_holm is None else _intervals(scorer, resamples.within(rows)),
        p_holm,
        p_holm is not None and p_holm < ALPHA and has_larger_errors,
        float((targets.decisions(outputs)[rows] == 1).mean()) if predictions.is_binary else None,
    )


def _intervals(scorer: Scorer, resamples: Resamples) -> dict[str, Sequence[float]]:
    (draws,) = draw_scores([Scorer(scorer.targets, scorer.outputs, drawable_scores(scorer.targets))], resamples)
    return {name: list(edges) for name, edges in score_intervals(scorer, draws, resamples).items()}


def _spread(values: Floats, overall: float) -> tuple[float, float]:
    """Return the largest difference between scores, and their mean absolute deviation from the overall score."""
    return float(np.ptp(values)), float(np.abs(values - overall).mean())


def _add_differences(grouping: Grouping, membership: GroupMembership, errors: Floats) -> Grouping:
    """Add the differences between the compared groups."""
    compared_groups = [group for group in grouping.groups if group.is_compared]
    if len(compared_groups) < 2:
        return grouping
    values = np.array([group.scores[grouping.score] for group in compared_groups])
    largest, deviation = _spread(values, grouping.overall)
    shares = [group.predicted_positive_rate for group in compared_groups if group.predicted_positive_rate is not None]
    rows = membership.has_value
    codes, step = membership.codes[rows], None
    if grouping.ordered and codes.var():
        step = float(np.cov(codes, errors[rows], ddof=0)[0, 1] / codes.var())
    return replace(
        grouping,
        largest_difference=largest,
        ratio=float(values.min() / values.max()) if values.max() else None,
        mean_deviation=deviation,
        step=step,
        parity_difference=float(np.ptp(shares)) if shares else None,
    )


def _add_thresholds(
    grouping: Grouping, predictions: GroupPredictions, membership: GroupMembership, groups: Sequence[int]
) -> Grouping:
    """Add one threshold per compared group, and the accuracy and the largest difference with it."""
    results = [
        _add_threshold(result, predictions, membership.rows_of(group)) if result.is_compared else result
        for group, result in zip(groups, grouping.groups, strict=True)
    ]
    values = [result.score_by_threshold for result in results if result.score_by_threshold is not None]
    difference = float(np.ptp(values)) if len(values) > 1 else None
    return replace(grouping, groups=results, largest_difference_by_thresholds=difference)


def _add_threshold(group: Group, predictions: GroupPredictions, rows: NDArray[np.bool_]) -> Group:
    """Add the threshold of one group, whose rows are a (n,) mask, and the accuracy with it."""
    threshold, accuracy = cross_fit_threshold(
        predictions.targets.memberships[rows, 1], predictions.outputs[rows, 1], predictions.unit_codes[rows]
    )
    return replace(group, threshold=threshold, score_by_threshold=accuracy)
