"""Figures of counts and distributions for the page of an exploration."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure
from numpy.typing import NDArray

from featx.reports.page.figure_style import INK, PALETTE, add_legend, make_figure, shorten_name

# Number of bars in a figure, and of slices of a pie; the rest is summed up.
MAX_BARS, MAX_SLICES = 40, 8
MAX_BINS = 60
# Number of classes whose densities are drawn.
MAX_DENSITIES = 8
# Number of points of a density.
N_GRID = 200
MAX_LABEL_LENGTH = 28
Values = NDArray[np.float64]


def short_label(name: str) -> str:
    """Return a name for an axis: one line, and without its middle if it is long."""
    return shorten_name(name, MAX_LABEL_LENGTH)


def plot_counts(counts: Mapping[str, Mapping[str, int]], noun: str) -> MatplotlibFigure:
    """Plot stacked bars of counts beside a pie of their sums.

    Parameters
    ----------
    counts
        Name of a bar → name of a stacked part → number of images.
    noun
        What the bars are, for the label of the axis.
    """
    names = list(counts)[:MAX_BARS]
    height = max(2.2, 0.6 + 0.24 * len(names))
    figure, (bars, pie) = make_figure(2, width=4.6, height=height)
    parts = list(dict.fromkeys(part for values in counts.values() for part in values))
    cumulative_counts = np.zeros(len(names))
    for part in parts:
        values = np.array([counts[name].get(part, 0) for name in names], dtype=float)
        bars.barh(range(len(names)), values, left=cumulative_counts, label=part, height=0.72)
        cumulative_counts += values
    for row, total in enumerate(cumulative_counts):
        bars.text(total, row, f" {total:,.0f}", va="center", fontsize=7, color=INK)
    bars.margins(x=0.12)
    bars.set_yticks(range(len(names)), [short_label(name) for name in names], parse_math=False)
    bars.invert_yaxis()
    bars.set_xlabel("images (count)")
    bars.set_ylabel(noun)
    if len(parts) > 1:
        add_legend(bars)
    _draw_pie(pie, {name: sum(values.values()) for name, values in counts.items()})
    return figure


def _draw_pie(axes: Any, totals: Mapping[str, int]) -> None:
    """Draw the shares of the largest slices; the others are one slice."""
    sorted_totals = sorted(totals.items(), key=lambda item: -item[1])
    shown_totals = sorted_totals if len(sorted_totals) <= MAX_SLICES else sorted_totals[: MAX_SLICES - 1]
    slices = [
        *shown_totals,
        *(
            [("others", sum(n for _, n in sorted_totals[len(shown_totals) :]))]
            if len(shown_totals) < len(sorted_totals)
            else []
        ),
    ]
    total = max(1, sum(totals.values()))
    labels = [f"{short_label(name)} {n / total:.0%}" for name, n in slices]
    if sum(n for _, n in slices) > 0:
        _, texts = axes.pie(
            [n for _, n in slices], labels=labels, colors=PALETTE, startangle=90, counterclock=False, radius=0.9
        )
        for text in texts:
            text.set(fontsize=7, color=INK)
            text.set_parse_math(False)
    axes.set_axis_off()


def plot_histograms(columns: Mapping[str, tuple[Values, str]]) -> MatplotlibFigure:
    """Plot one histogram for each column: name → values and unit."""
    figure, all_axes = make_figure(len(columns), width=3.6, height=2.6, max_columns=3)
    for axes, (name, (values, unit)) in zip(all_axes, columns.items(), strict=True):
        axes.hist(values, bins=_bins(values), color=PALETTE[0])
        axes.set_xlabel(f"{name} ({unit})" if unit else name)
        axes.set_ylabel("images (count)")
    return figure


def _bins(values: Values) -> Any:
    n_values = len(np.unique(values))
    return min(MAX_BINS, max(5, n_values)) if n_values > 1 else 5


def plot_densities(columns: Mapping[str, str], groups: Mapping[str, Mapping[str, Values]]) -> MatplotlibFigure:
    """Plot the densities of columns, one line for each group of images.

    Parameters
    ----------
    columns
        Column → label of its axis with the unit.
    groups
        Name of a group → column → values of its images.
    """
    figure, all_axes = make_figure(len(columns), width=3.6, height=2.6, max_columns=3)
    for axes, (column, label) in zip(all_axes, columns.items(), strict=True):
        all_values = np.concatenate([values[column] for values in groups.values()])
        low, high = float(all_values.min()), float(all_values.max())
        grid = np.linspace(low, high if high > low else low + 1, N_GRID)
        for name, values in list(groups.items())[:MAX_DENSITIES]:
            axes.plot(grid, kernel_density(values[column], grid), label=short_label(name), lw=1.3)
        axes.set_xlabel(label)
        axes.set_ylabel("density")
    if len(groups) > 1:
        add_legend(all_axes[0])
    return figure


def kernel_density(values: Values, grid: Values) -> Values:
    """Return a Gaussian kernel density on a grid; the bandwidth is that of Silverman's rule.

    References
    ----------
    .. [1] B. W. Silverman, Density Estimation for Statistics and Data Analysis, 1986, section 3.4.2.
    """
    step = float(grid[1] - grid[0])
    if not len(values):
        return np.zeros(len(grid))
    quartiles = np.percentile(values, (25, 75))
    spread = min(values.std(), (quartiles[1] - quartiles[0]) / 1.349) or float(values.std())
    bandwidth = max(0.9 * spread * len(values) ** -0.2, step)
    # Counts on the grid are smoothed, so that the cost does not grow with the number of values.
    edges = np.append(grid - step / 2, grid[-1] + step / 2)
    counts = np.histogram(values, edges)[0]
    offsets = np.arange(-len(grid) + 1, len(grid)) * step
    kernel = np.exp(-0.5 * (offsets / bandwidth) ** 2) / (bandwidth * np.sqrt(2 * np.pi))
    density: Values = np.convolve(counts, kernel, mode="valid" if len(grid) == 1 else "full")[
        len(grid) - 1 : 2 * len(grid) - 1
    ] / len(values)
    return density


def plot_sizes(widths: Values, heights: Values) -> MatplotlibFigure:
    """Plot the number of images of each width and height; larger points are more images."""
    figure, (axes,) = make_figure(1, width=4.6, height=3.4)
    sizes, counts = np.unique(np.column_stack([widths, heights]), axis=0, return_counts=True)
    areas = 12 + 240 * counts / counts.max()
    axes.scatter(sizes[:, 0], sizes[:, 1], s=areas, alpha=0.6, lw=0, rasterized=len(sizes) > 500)
    axes.set_xlabel("width (px)")
    axes.set_ylabel("height (px)")
    return figure
