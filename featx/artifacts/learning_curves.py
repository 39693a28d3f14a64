"""Learning curves: a network's losses by epoch, as a picture in its run folder and on the report's page."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Epochs = Sequence[Mapping[str, Any]]  # `featx.finetuning.history.Epoch` as JSON knows it


def draw_curves(axes: Axes, title: str, epochs: Epochs, best: int) -> None:
    """Draw the loss of train dashed, of held-out rows solid, a dot where weights were kept, a line between phases."""
    numbers = [epoch["number"] for epoch in epochs]
    axes.plot(numbers, [epoch["train_loss"] for epoch in epochs], "--", color="#8a97a5", label="train")
    axes.plot(numbers, [epoch["held_loss"] for epoch in epochs], color="#3b6ea5", label="held out")
    axes.plot(best, epochs[best]["held_loss"], "o", color="#3b6ea5")
    for before, after in pairwise(epochs):
        if after["phase"] > before["phase"] > 0:
            axes.axvline(after["number"] - 0.5, color="#c9d2db", lw=1)
    axes.set_title(title, fontsize=8, parse_math=False)
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)


def write_curves(file: Path, title: str, epochs: Epochs, best: int) -> None:
    """Write one network's curves as PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_curves(axes, title, epochs, best)
    axes.set_ylabel("loss")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=110)
