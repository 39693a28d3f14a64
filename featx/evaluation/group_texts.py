"""Scores of groups as text."""

from featx.evaluation.comparison import ALPHA
from featx.evaluation.group_scores import MIN_GROUP_ROWS, MIN_GROUP_UNITS, Group, Grouping
from featx.metrics.definitions import find_score
from featx.metrics.score_texts import ScoreFormat


def describe_differences(grouping: Grouping) -> str:
    """Describe the differences between the groups, and name the groups with too few units to compare."""
    return "; ".join(filter(None, [_difference_text(grouping), _too_few_units_text(grouping)]))


def _difference_text(grouping: Grouping) -> str:
    if grouping.largest_difference is None or grouping.mean_deviation is None:
        has_units = any(group.n_units is not None for group in grouping.groups)
        units = f" and {MIN_GROUP_UNITS} units" if has_units else ""
        return (
            f"{grouping.name}: groups are not compared, since fewer than two have {MIN_GROUP_ROWS} rows{units} or more"
        )
    is_error = not find_score(grouping.score).greater_is_better
    score = "mean absolute error" if is_error else "accuracy"
    significant_groups = [group for group in grouping.groups if group.p_holm is not None and group.p_holm < ALPHA]
    worse = ", ".join(group.name for group in significant_groups if group.is_flagged)
    better = ", ".join(group.name for group in significant_groups if not group.is_flagged)
    tests = [
        f"significantly {word} in {names}"
        for word, names in (("higher" if is_error else "lower", worse), ("lower" if is_error else "higher", better))
        if names
    ]
    score_format = ScoreFormat.of(grouping.score, [grouping.overall])
    largest_difference, mean_deviation = map(score_format.show, (grouping.largest_difference, grouping.mean_deviation))
    return (
        f"{grouping.name}: overall {score} {score_format.show(grouping.overall)}; "
        f"{'; '.join(tests) or 'no significant differences between groups'}; "
        f"largest difference {largest_difference}, mean absolute deviation {mean_deviation}"
    )


def describe_size(group: Group) -> str:
    """Return the number of rows of a group, and the number of its units if rows come in units."""
    return f"{group.n} rows" if group.n_units is None else f"{group.n} rows, {group.n_units} units"


def _too_few_units_text(grouping: Grouping) -> str:
    """Name the groups with enough rows but too few units; groups with too few rows are many, and the table has them."""
    groups = [
        group
        for group in grouping.groups
        if not group.is_compared and group.n_units is not None and group.n >= MIN_GROUP_ROWS
    ]
    if not groups:
        return ""
    groups_text = ", ".join(f"{group.name} ({describe_size(group)})" for group in groups)
    return f"too few units (expected {MIN_GROUP_UNITS} or more inside and outside of the group): {groups_text}"
