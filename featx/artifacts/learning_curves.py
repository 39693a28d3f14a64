"""Learning curves: plots of networks by epoch and of boosted trees by tree, for run folders and the report."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from featx.study.run_metrics import EpochMetrics, NetworkMetrics, TreeScores

# Label, line style and colour of each part.
PARTS = {
    "train": ("train", "--", "#8a97a5"),
    "held": ("held out", "-", "#0072b2"),
    "val": ("val", "-", "#d55e00"),
}
# Part whose rows choose the epoch, by the rows that are monitored.
MONITORED_PARTS = {"holdout": "held", "val": "val", "none": "train"}
LOSS = "loss"


def draw_curves(axes: Axes, title: str, metrics: NetworkMetrics, measure: str = LOSS) -> None:
    """Draw the loss or a score of train (dashed), of the held-out rows and of val by epoch.

    A dot marks the kept epoch on the curve of the monitored rows, and vertical lines mark the ends of phases.

    Parameters
    ----------
    measure
        ``loss``, or the name of a score.
    """
    epochs = metrics.epochs
    numbers = [epoch.number for epoch in epochs]
    for part, (label, style, colour) in PARTS.items():
        values = _values(epochs, part, measure)
        if np.isnan(values).all():
            continue
        axes.plot(numbers, values, style, color=colour, label=label)
        if part == MONITORED_PARTS[metrics.monitor]:
            axes.plot(metrics.best_epoch, values[metrics.best_epoch], "o", color=colour)
    for previous_epoch, next_epoch in pairwise(epochs):
        if next_epoch.phase > previous_epoch.phase > 0:
            axes.axvline(next_epoch.number - 0.5, color="#c9d2db", lw=1)
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel(measure.replace("_", " "), fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)


def _values(epochs: tuple[EpochMetrics, ...], part: str, measure: str) -> NDArray[np.float64]:
    """Return the values of one part by epoch; nan leaves a gap in the line where there is none."""
    values: list[Any] = [
        getattr(epoch, f"{part}_loss") if measure == LOSS else getattr(epoch, f"{part}_scores").get(measure)
        for epoch in epochs
    ]
    return np.array(values, dtype=np.float64)


def draw_tree_scores(axes: Axes, title: str, trees: TreeScores, name: str) -> None:
    """Draw the loss or the score of boosted trees by the number of trees: train dashed, val solid.

    Parameters
    ----------
    name
        ``loss`` or ``score``.
    """
    for part, style, color in (("train", "--", "#8a97a5"), ("val", "-", "#0072b2")):
        values = getattr(trees, f"{part}_{name}")
        if values:
            axes.plot(np.arange(1, len(values) + 1), values, style, color=color, label=part)
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_xlabel("trees", fontsize=8)
    axes.set_ylabel(getattr(trees, name).replace("_", " "), fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)


def write_curves(file: Path, title: str, metrics: NetworkMetrics) -> None:
    """Write the learning curves of one network as a PNG file: losses beside scores."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for number, measure in enumerate((LOSS, metrics.score), start=1):
        axes = figure.add_subplot(1, 2, number)
        draw_curves(axes, title, metrics, measure)
        axes.legend(fontsize=8)
    figure.savefig(file, dpi=110)
