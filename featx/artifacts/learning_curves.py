"""Learning curves: plots of a network's losses by epoch and of boosted trees' scores by tree."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from featx.study.run_metrics import EpochMetrics, TreeScores


def draw_curves(axes: Axes, title: str, epochs: Sequence[EpochMetrics], best: int) -> None:
    """Draw the train loss (dashed), the held-out loss (solid), the kept epoch (dot) and the ends of phases (lines).

    Parameters
    ----------
    best
        Index of the epoch whose weights were kept.
    """
    numbers = [epoch.number for epoch in epochs]
    # Losses that are not finite are None; nan leaves a gap in the line.
    train_losses = np.array([epoch.train_loss for epoch in epochs], dtype=np.float64)
    held_losses = np.array([epoch.held_loss for epoch in epochs], dtype=np.float64)
    axes.plot(numbers, train_losses, "--", color="#8a97a5", label="train")
    axes.plot(numbers, held_losses, color="#3b6ea5", label="held out")
    axes.plot(best, held_losses[best], "o", color="#3b6ea5")
    for before, after in pairwise(epochs):
        if after.phase > before.phase > 0:
            axes.axvline(after.number - 0.5, color="#c9d2db", lw=1)
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)


def draw_tree_scores(axes: Axes, title: str, trees: TreeScores, name: str) -> None:
    """Draw the loss or the score of boosted trees by the number of trees: train dashed, val solid.

    Parameters
    ----------
    name
        ``loss`` or ``score``.
    """
    for part, style, color in (("train", "--", "#8a97a5"), ("val", "-", "#3b6ea5")):
        values = getattr(trees, f"{part}_{name}")
        if values:
            axes.plot(np.arange(1, len(values) + 1), values, style, color=color, label=part)
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_xlabel("trees", fontsize=8)
    axes.set_ylabel(getattr(trees, name).replace("_", " "), fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)


def write_curves(file: Path, title: str, epochs: Sequence[EpochMetrics], best: int) -> None:
    """Write the learning curves of one network as a PNG file; `draw_curves` describes the parameters."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_curves(axes, title, epochs, best)
    axes.set_ylabel("loss")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=110)
