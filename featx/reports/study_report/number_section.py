"""Predictions of numbers: predicted against true values."""

import matplotlib

from featx.reports.page.components import Component, Figure
from featx.reports.page.figure_style import GRID, PALETTE, STYLE, shorten_name
from featx.reports.study_report.facts import RunFacts, TargetFacts
from featx.reports.study_report.probability_figures import small_figure
from featx.tables.ids import Floats

# Number of points up to which a scatter plot is drawn as vectors.
MAX_VECTOR_POINTS = 500


def number_figures(facts: TargetFacts, run: RunFacts) -> list[Component]:
    """Return the figures of each number of a run."""
    columns = zip(run.targets.names, run.targets.y.T, run.outputs.T, strict=True)
    return [
        _plot_agreement(facts.component_name(run.name, name), name, true, predicted)
        for name, true, predicted in columns
    ]


@matplotlib.rc_context(STYLE)
def _plot_agreement(name: str, number: str, true: Floats, predicted: Floats) -> Figure:
    """Plot predicted numbers against true ones."""
    figure, axes = small_figure()
    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    axes.plot([low, high], [low, high], color=GRID, lw=1, ls="--")
    axes.plot(true, predicted, "o", ms=3, alpha=0.4, color=PALETTE[0], rasterized=len(true) > MAX_VECTOR_POINTS)
    axes.set_xlabel(f"{shorten_name(number, 30)}, true")
    axes.set_ylabel("predicted")
    caption = f"Predicted against true values of {number}; exact predictions are on the dashed line."
    description = f"{len(true)} points; true values from {true.min():.4g} to {true.max():.4g}."
    return Figure(f"{name} agreement", caption, description, figure)
