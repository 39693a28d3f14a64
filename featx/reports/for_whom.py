"""A picture of groups: each one's score with its interval, and the overall score."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from featx.evaluation.group_scores import Group, Grouping
from featx.reports.figures import as_uri, drawn_name

COLORS = {"worse": "#a03a1c", "compared": "#3b6ea5", "small": "#c9d2db"}
MOST_SHOWN = 12  # groups in one picture


def group_scores(groupings: Sequence[Grouping]) -> str:
    """Draw the groups of each grouping in their order, those that pay in red, those too small to compare in grey."""
    columns = min(2, len(groupings))
    rows = math.ceil(len(groupings) / columns)
    tallest = max(len(_shown(one)) for one in groupings)
    figure = Figure(figsize=(5.6 * columns, (1.1 + 0.3 * tallest) * rows), layout="constrained")
    for at, one in enumerate(groupings, start=1):
        _draw(figure.add_subplot(rows, columns, at), one)
    return as_uri(figure)


def _shown(one: Grouping) -> list[Group]:
    return sorted(one.groups, key=lambda group: -group.n)[:MOST_SHOWN]


def _draw(axes: Any, one: Grouping) -> None:
    kept = {group.name for group in _shown(one)}
    groups = [group for group in one.groups if group.name in kept][::-1]
    for at, group in enumerate(groups):
        color = COLORS["worse" if group.is_flagged else "compared" if group.is_compared else "small"]
        if group.is_compared:
            axes.plot(group.intervals[one.score], [at, at], color=color, lw=2)
        axes.plot(group.scores[one.score], at, "o", color=color)
    axes.axvline(one.overall, color="#5d6b79", lw=1, ls="--")
    names = [f"{drawn_name(group.name)} (n {group.n})" for group in groups]
    axes.set_yticks(range(len(groups)), names, fontsize=8, parse_math=False)
    axes.set_title(drawn_name(one.name), fontsize=9, parse_math=False)
    axes.set_xlabel(one.score, fontsize=8)
    axes.grid(axis="x", alpha=0.25)
