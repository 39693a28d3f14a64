"""Predictions of numbers: agreement with the true values, residuals, and errors by band of the true value."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from featx.evaluation.group_membership import GroupMembership, group_rows
from featx.evaluation.intervals import Resamples, percentile_interval
from featx.reports.page.components import Column, Component, Figure, Table
from featx.reports.page.figure_style import GRID, INK, PALETTE, STYLE, make_figure, shorten_name
from featx.reports.study_report.facts import RunFacts, TargetFacts, interval_text
from featx.reports.study_report.probability_figures import WIDTH, small_figure
from featx.tables.ids import Floats
from featx.text.four_digits import count_distinguishing_digits, four_digits, show_digits

# Number of points up to which a scatter plot is drawn as vectors, and in any scatter plot.
MAX_VECTOR_POINTS, MAX_POINTS = 500, 5000
# Number of bands of the true value, with about as many rows in each.
N_BANDS = 5
# Number of groups in a figure, the largest ones.
MAX_PLOTTED_GROUPS = 12
MIN_GROUP_ROWS = 5


def number_components(facts: TargetFacts, run: RunFacts, resamples: Resamples) -> list[Component]:
    """Return the figures and the table of errors of each number of a run."""
    components: list[Component] = []
    groups = facts.study.group_values(run.ids) if run.is_chosen else {}
    memberships = [group_rows(group, values) for group, values in groups.items()]
    columns = zip(run.targets.names, run.targets.y.T, run.outputs.T, strict=True)
    for number, true, predicted in columns:
        name = facts.component_name(run.name, number)
        components += [_plot_agreement(name, number, true, predicted), _plot_residuals(name, number, true, predicted)]
        figures = [_plot_group_residuals(name, number, predicted - true, membership) for membership in memberships]
        components += [figure for figure in figures if figure is not None]
        components.append(_band_table(name, number, (true, predicted), resamples))
    return components


def _sample(n: int) -> NDArray[np.intp]:
    """Return the positions of at most `MAX_POINTS` rows, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(np.intp))


@matplotlib.rc_context(STYLE)
def _plot_agreement(name: str, number: str, true: Floats, predicted: Floats) -> Figure:
    """Plot predicted numbers against true ones."""
    figure, axes = small_figure()
    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    axes.plot([low, high], [low, high], color=GRID, lw=1, ls="--")
    _scatter(axes, true, predicted)
    axes.set_xlabel(f"{shorten_name(number, 30)}, true")
    axes.set_ylabel("predicted")
    caption = f"Predicted against true values of {number}; exact predictions are on the dashed line."
    description = f"{len(true)} points; true values from {four_digits(true.min())} to {four_digits(true.max())}."
    return Figure(f"{name}-agreement", caption, description, figure)


@matplotlib.rc_context(STYLE)
def _plot_residuals(name: str, number: str, true: Floats, predicted: Floats) -> Figure:
    """Plot the residuals, predicted minus true, against the true values."""
    figure, axes = small_figure()
    axes.axhline(0, color=GRID, lw=1, ls="--")
    residuals = predicted - true
    _scatter(axes, true, residuals)
    axes.set_xlabel(f"{shorten_name(number, 30)}, true")
    axes.set_ylabel("predicted minus true")
    caption = f"Residuals of {number}: values above the dashed line are predicted too high."
    slope = float(np.polyfit(true, residuals, 1)[0]) if np.ptp(true) else 0.0
    description = (
        f"The mean residual is {four_digits(residuals.mean())}; it changes by {slope:.3g} per unit of the true value."
    )
    return Figure(f"{name}-residuals", caption, description, figure)


def _scatter(axes: Any, x: Floats, y: Floats) -> None:
    rows = _sample(len(x))
    is_large = len(rows) > MAX_VECTOR_POINTS
    axes.plot(x[rows], y[rows], "o", ms=3, alpha=0.4, color=PALETTE[0], rasterized=is_large)


@matplotlib.rc_context(STYLE)
def _plot_group_residuals(name: str, number: str, residuals: Floats, membership: GroupMembership) -> Figure | None:
    """Plot the distribution of the residuals in each of the largest groups; None if fewer than two have some rows."""
    boxes_by_group = {
        label: residuals[rows]
        for position, label in enumerate(membership.groups)
        if (rows := membership.rows_of(position)).sum() >= MIN_GROUP_ROWS
    }
    largest = sorted(boxes_by_group, key=lambda label: -len(boxes_by_group[label]))[:MAX_PLOTTED_GROUPS]
    # The first group is on top.
    shown_labels = [label for label in boxes_by_group if label in largest][::-1]
    if len(shown_labels) < 2:
        return None
    figure, (axes,) = make_figure(1, WIDTH, 1.1 + 0.3 * len(shown_labels))
    boxes = [boxes_by_group[label] for label in shown_labels]
    line = {"color": INK}
    axes.boxplot(
        boxes,
        orientation="horizontal",
        showfliers=False,
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops={"color": PALETTE[3], "lw": 2},
    )
    axes.axvline(0, color=GRID, lw=1, ls="--")
    labels = [f"{shorten_name(label, 20)} (n {len(box)})" for label, box in zip(shown_labels, boxes, strict=True)]
    axes.set_yticks(range(1, len(shown_labels) + 1), labels, parse_math=False)
    axes.set_xlabel(f"residual of {shorten_name(number, 24)}, predicted minus true")
    medians = {label: float(np.median(box)) for label, box in zip(shown_labels, boxes, strict=True)}
    lowest_label, highest_label = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    caption = (
        f"Residuals of {number} by {membership.name}: boxes from the first to the third quartile, with the median."
    )
    description = (
        f"Medians from {medians[lowest_label]:.4g} in {lowest_label} "
        f"to {medians[highest_label]:.4g} in {highest_label}."
    )
    return Figure(f"{name}-residuals-by-{membership.name}", caption, description, figure)


def _band_table(name: str, number: str, values: tuple[Floats, Floats], resamples: Resamples) -> Table:
    """Return the errors of rows in bands of the true value that have about the same number of rows."""
    true, predicted = values
    edges = np.unique(np.quantile(true, np.linspace(0, 1, N_BANDS + 1)))
    bands = np.clip(np.searchsorted(edges, true, side="right") - 1, 0, max(len(edges) - 2, 0))
    rows: list[Sequence[Any]] = []
    n_digits = count_distinguishing_digits([float(true[bands == band].min()) for band in np.unique(bands)])
    for band in np.unique(bands):
        in_band = bands == band
        residuals = (predicted - true)[in_band]
        interval = _mean_interval(np.abs(residuals), resamples.within(in_band))
        low, high = (show_digits(float(edge), n_digits) for edge in (true[in_band].min(), true[in_band].max()))
        rows.append([f"{low} … {high}", int(in_band.sum()), np.abs(residuals).mean(), interval, residuals.mean()])
    columns = [
        Column(f"true {number}"),
        Column("n", ",d"),
        Column("mean absolute error", ".4g"),
        Column("95 % interval"),
        Column("mean residual", "+.4g", "Mean of predicted minus true: the bias of this band."),
    ]
    return Table(f"{name}-bands", f"Errors by band of the true value of {number}.", columns, rows)


def _mean_interval(values: Floats, resamples: Resamples) -> str:
    """Return the 95 % interval of a mean as text."""
    draws = [values @ weights / weights.sum(0) for weights in resamples.weights()]
    return interval_text(percentile_interval(np.concatenate(draws)), ".4g")
