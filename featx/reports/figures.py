"""Figures of the report, each as an image inside a data URI."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from featx.artifacts.learning_curves import LOSS, draw_curves
from featx.metrics.reliability import Reliability
from featx.study.run_metrics import NetworkMetrics, ScoredTrial
from featx.tables.ids import Floats
from featx.text.escaping import escape_text

DPI = 110
THUMBNAIL_PX = 120
# Number of images from which on an accuracy is plotted.
MIN_PLOTTED_IMAGES = 20
# Length of a name in characters; longer names are shortened.
MAX_NAME_LENGTH = 60
# Number of classes up to which a confusion matrix shows its counts.
MAX_CLASSES_WITH_COUNTS = 12


def encode_figure(figure: Figure) -> str:
    """Return a figure as a PNG in a data URI."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return _uri("png", buffer.getvalue())


def make_axes(n: int, width: float, height: float, max_columns: int = 3) -> tuple[Figure, list[Any]]:
    """Return a figure with n axes in rows, each of a width and a height in inches."""
    n_columns = min(max_columns, n)
    n_rows = math.ceil(n / n_columns)
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    return figure, [figure.add_subplot(n_rows, n_columns, number) for number in range(1, n + 1)]


def encode_thumbnail(image: Image.Image) -> str:
    """Return a small JPEG of an image in a data URI."""
    small = image.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return _uri("jpeg", buffer.getvalue())


def _uri(image_format: str, content: bytes) -> str:
    return f"data:image/{image_format};base64,{base64.b64encode(content).decode()}"


def shorten_name(name: str) -> str:
    """Return a name for a figure: on one line, and without its middle if it is long."""
    text, half = escape_text(name), MAX_NAME_LENGTH // 2
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[:half]}…{text[-half:]}"


def plot_confusion_matrices(tables: Mapping[str, Sequence[Sequence[float]]], classes: Sequence[str]) -> str:
    """Plot one confusion matrix per run. Rows are true classes; colours are shares of a row, numbers are counts."""
    side = 3.4 if len(classes) <= MAX_CLASSES_WITH_COUNTS else 5.0
    names = [shorten_name(name) for name in classes]
    figure, all_axes = make_axes(len(tables), side, side + 0.3)
    for axes, (name, counts) in zip(all_axes, tables.items(), strict=True):
        matrix = np.asarray(counts)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(shorten_name(name), fontsize=9, parse_math=False)
        axes.set_xlabel("predicted", fontsize=8)
        axes.set_ylabel("true", fontsize=8)
        rotation = 0 if len(classes) < 4 else 90
        axes.set_xticks(range(len(classes)), names, fontsize=7, rotation=rotation, parse_math=False)
        axes.set_yticks(range(len(classes)), names, fontsize=7, parse_math=False)
        if len(classes) <= MAX_CLASSES_WITH_COUNTS:
            for (i, j), count in np.ndenumerate(matrix):
                color = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, f"{count:.10g}", ha="center", va="center", color=color)
    return encode_figure(figure)


def plot_search_history(trials: Mapping[str, Sequence[ScoredTrial]], metric: str) -> str:
    """Plot the score of each trial of each head with its standard deviation over folds, and the best score so far."""
    figure, (axes,) = make_axes(1, 9, 3.6)
    for index, (name, rows) in enumerate(trials.items()):
        # Points of different heads are moved apart so that they do not overlap.
        numbers = np.array([row.number + 1 for row in rows]) + 0.06 * index
        values = np.array([row.score for row in rows])
        label = shorten_name(name)
        deviations = [float(np.std(row.fold_scores)) for row in rows]
        points = axes.errorbar(numbers, values, yerr=deviations, fmt="o", ms=4, lw=0.8, alpha=0.6, label=label)
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=points[0].get_color(), lw=1.5)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric}, mean over folds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    _legend(axes, "lower right")
    return encode_figure(figure)


def plot_learning_curves(runs: Mapping[str, NetworkMetrics]) -> str:
    """Plot the losses and the scores of each network by epoch (`featx.artifacts.learning_curves`), side by side."""
    figure, all_axes = make_axes(2 * len(runs), 3.4, 2.6, max_columns=4)
    panels = ((name, metrics, measure) for name, metrics in runs.items() for measure in (LOSS, metrics.score))
    for axes, (name, metrics, measure) in zip(all_axes, panels, strict=True):
        draw_curves(axes, shorten_name(name), metrics, measure)
    all_axes[0].legend(fontsize=7)
    return encode_figure(figure)


def plot_true_and_predicted(true: Sequence[float], predicted: Sequence[float], name: str) -> str:
    """Plot predicted numbers against true ones."""
    figure, (axes,) = make_axes(1, 4.2, 4.0)
    low, high = min(*true, *predicted), max(*true, *predicted)
    axes.plot([low, high], [low, high], color="#c9d2db", lw=1)
    axes.plot(true, predicted, "o", ms=3, alpha=0.4, color="#3b6ea5")
    axes.set_xlabel(f"{shorten_name(name)}, true", parse_math=False)
    axes.set_ylabel("predicted")
    axes.grid(alpha=0.25)
    return encode_figure(figure)


def plot_reliability(runs: Mapping[str, Reliability]) -> str:
    """Plot reliability diagrams, one dot per bin, whose size grows with the number of predictions in the bin."""
    figure, (axes,) = make_axes(1, 5.4, 4.2)
    axes.plot([0, 1], [0, 1], color="#c9d2db", lw=1)
    for name, bins in runs.items():
        label = f"{shorten_name(name)} (ECE {bins.ece:.3f})"
        points = bins.mean_probability, bins.observed_share
        (line,) = axes.plot(*points, lw=1, alpha=0.7, label=label)
        axes.scatter(*points, s=6 + 160 * bins.n / bins.n.sum(), color=line.get_color(), alpha=0.5)
    axes.set_xlabel("mean predicted probability")
    axes.set_ylabel("observed frequency")
    axes.grid(alpha=0.25)
    _legend(axes, "upper left")
    return encode_figure(figure)


def plot_abstention(runs: Mapping[str, tuple[Floats, Floats]]) -> str:
    """Plot the accuracy on the most certain predictions against their share of all images."""
    figure, (axes,) = make_axes(1, 5.4, 4.2)
    lowest = 1.0
    for name, (coverage, accuracy) in runs.items():
        is_plotted = coverage >= min(MIN_PLOTTED_IMAGES / len(coverage), 1)
        axes.plot(coverage[is_plotted], accuracy[is_plotted], lw=1.3, label=shorten_name(name))
        lowest = min(lowest, accuracy[is_plotted].min())
    axes.set_xlabel("share of images with a prediction")
    axes.set_ylabel("accuracy on these images")
    axes.set_ylim(lowest - 0.02, 1.005)
    axes.grid(alpha=0.25)
    _legend(axes, "lower left")
    return encode_figure(figure)


def _legend(axes: Any, location: str) -> None:
    """Add a legend in which a $ in a name does not start a formula."""
    for text in axes.legend(fontsize=7, loc=location).get_texts():
        text.set_parse_math(False)


def plot_intervals(rows: Mapping[str, tuple[float, float, float]], label: str, highlighted: Sequence[str] = ()) -> str:
    """Plot the score of each run with its interval, the first run on top.

    Parameters
    ----------
    rows
        Run name → score, low and high edge of the interval.
    label
        Label of the horizontal axis.
    highlighted
        Names of the runs in blue; the others are grey.
    """
    figure, (axes,) = make_axes(1, 9, 0.8 + 0.36 * len(rows))
    names = list(rows)[::-1]
    for y, name in enumerate(names):
        value, low, high = rows[name]
        color = "#3b6ea5" if name in highlighted else "#9aa7b4"
        axes.plot([low, high], [y, y], color=color, lw=2)
        axes.plot(value, y, "o", color=color)
    axes.set_yticks(range(len(rows)), list(map(shorten_name, names)), fontsize=8, parse_math=False)
    axes.set_xlabel(label, parse_math=False)
    axes.grid(axis="x", alpha=0.25)
    return encode_figure(figure)
