"""Figure of the scores of groups, each with its interval, and the overall score."""

from collections.abc import Sequence
from typing import Any

from featx.evaluation.group_scores import Group, Grouping
from featx.reports.figures import encode_figure, make_axes, shorten_name

COLORS = {"worse": "#a03a1c", "compared": "#3b6ea5", "small": "#c9d2db"}
# Number of groups in one plot, the largest ones.
MAX_PLOTTED_GROUPS = 12


def plot_group_scores(groupings: Sequence[Grouping]) -> str:
    """Plot the groups of each grouping in their order; flagged groups are red, groups that are not compared grey."""
    max_groups = max(len(_plotted_groups(grouping)) for grouping in groupings)
    figure, all_axes = make_axes(len(groupings), 5.6, 1.1 + 0.3 * max_groups, max_columns=2)
    for axes, grouping in zip(all_axes, groupings, strict=True):
        _plot_grouping(axes, grouping)
    return encode_figure(figure)


def _plotted_groups(grouping: Grouping) -> list[Group]:
    """Return the largest groups, in the order of the grouping."""
    largest = sorted(grouping.groups, key=lambda group: -group.n)[:MAX_PLOTTED_GROUPS]
    names = {group.name for group in largest}
    return [group for group in grouping.groups if group.name in names]


def _plot_grouping(axes: Any, grouping: Grouping) -> None:
    groups = _plotted_groups(grouping)[::-1]
    for y, group in enumerate(groups):
        color = COLORS["worse" if group.is_flagged else "compared" if group.is_compared else "small"]
        if group.is_compared:
            axes.plot(group.intervals[grouping.score], [y, y], color=color, lw=2)
        axes.plot(group.scores[grouping.score], y, "o", color=color)
    axes.axvline(grouping.overall, color="#5d6b79", lw=1, ls="--")
    names = [f"{shorten_name(group.name)} (n {group.n})" for group in groups]
    axes.set_yticks(range(len(groups)), names, fontsize=8, parse_math=False)
    axes.set_title(shorten_name(grouping.name), fontsize=9, parse_math=False)
    axes.set_xlabel(grouping.score, fontsize=8)
    axes.grid(axis="x", alpha=0.25)
