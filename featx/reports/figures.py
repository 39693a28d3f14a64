"""The pictures of a report, each as a PNG inside a data URI."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from featx.artifacts.learning_curves import draw_curves
from featx.metrics.reliability import Reliability
from featx.text.escaping import escaped

DPI = 110
THUMBNAIL_PX = 120
FEWEST_SHOWN = 20  # images that an accuracy is drawn for
LONGEST_DRAWN = 60  # characters of a name
MOST_NUMBERS = 12  # classes up to which a confusion matrix shows its counts


def as_uri(figure: Figure) -> str:
    """Draw a figure as a data URI."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return _uri("png", buffer.getvalue())


def thumbnail(image: Image.Image) -> str:
    """Return a small JPEG of an image as a data URI."""
    small = image.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return _uri("jpeg", buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def drawn_name(name: str) -> str:
    """Return a name as a figure shows it: on one line, long ones without their middle."""
    text, half = escaped(name), LONGEST_DRAWN // 2
    return text if len(text) <= LONGEST_DRAWN else f"{text[:half]}…{text[-half:]}"


def confusion_matrices(tables: Mapping[str, Sequence[Sequence[float]]], classes: Sequence[str]) -> str:
    """Draw one matrix a run: rows are true classes and sum to 1, numbers are counts."""
    columns = min(3, len(tables))
    rows = math.ceil(len(tables) / columns)
    side = 3.4 if len(classes) <= MOST_NUMBERS else 5.0
    names = [drawn_name(name) for name in classes]
    figure = Figure(figsize=(side * columns, (side + 0.3) * rows), layout="constrained")
    for at, (name, counts) in enumerate(tables.items(), start=1):
        axes = figure.add_subplot(rows, columns, at)
        matrix = np.asarray(counts)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(drawn_name(name), fontsize=9, parse_math=False)
        axes.set_xlabel("guessed", fontsize=8)
        axes.set_ylabel("true", fontsize=8)
        axes.set_xticks(
            range(len(classes)), names, fontsize=7, rotation=0 if len(classes) < 4 else 90, parse_math=False
        )
        axes.set_yticks(range(len(classes)), names, fontsize=7, parse_math=False)
        if len(classes) <= MOST_NUMBERS:
            for (i, j), count in np.ndenumerate(matrix):
                axes.text(
                    j, i, f"{count:.10g}", ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black"
                )
    return as_uri(figure)


def search_history(trials: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> str:
    """Draw each head's trials in order: the score of each with the sd over folds, and the best so far as a line."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for at, (name, rows) in enumerate(trials.items()):
        numbers = np.array([row["number"] + 1 for row in rows]) + 0.06 * at
        values = np.array([row["score"] for row in rows])
        spread = [float(np.std(row["fold_scores"])) for row in rows]
        points = axes.errorbar(numbers, values, yerr=spread, fmt="o", ms=4, lw=0.8, alpha=0.6, label=drawn_name(name))
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=points[0].get_color(), lw=1.5)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{metric}, mean over folds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    _legend(axes, "lower right")
    return as_uri(figure)


def learning_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], best: Mapping[str, int]) -> str:
    """Draw each network's learning curves (`featx.artifacts.learning_curves`)."""
    columns = min(3, len(runs))
    rows = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(3.8 * columns, 2.8 * rows), layout="constrained")
    for at, (name, epochs) in enumerate(runs.items(), start=1):
        axes = figure.add_subplot(rows, columns, at)
        draw_curves(axes, drawn_name(name), epochs, best[name])
        if at == 1:
            axes.set_ylabel("loss", fontsize=8)
            axes.legend(fontsize=7)
    return as_uri(figure)


def agreement(truth: Sequence[float], found: Sequence[float], name: str) -> str:
    """Draw a number's estimates against the truth."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    low, high = min(*truth, *found), max(*truth, *found)
    axes.plot([low, high], [low, high], color="#c9d2db", lw=1)
    axes.plot(truth, found, "o", ms=3, alpha=0.4, color="#3b6ea5")
    axes.set_xlabel(f"{drawn_name(name)}, true", parse_math=False)
    axes.set_ylabel("estimated")
    axes.grid(alpha=0.25)
    return as_uri(figure)


def reliability_curves(runs: Mapping[str, Reliability]) -> str:
    """Draw what was said against what happened, a dot for each bin, larger where more answers are in it."""
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#c9d2db", lw=1)
    for name, one in runs.items():
        (line,) = axes.plot(one.said, one.happened, lw=1, alpha=0.7, label=f"{drawn_name(name)} (ECE {one.ece:.3f})")
        axes.scatter(one.said, one.happened, s=6 + 160 * one.n / one.n.sum(), color=line.get_color(), alpha=0.5)
    axes.set_xlabel("probability that was said")
    axes.set_ylabel("share that came true")
    axes.grid(alpha=0.25)
    _legend(axes, "upper left")
    return as_uri(figure)


def abstention_curves(runs: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> str:
    """Draw the accuracy on the images that are answered, the surest first."""
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    lowest = 1.0
    for name, (coverage, accuracy) in runs.items():
        shown = coverage >= min(FEWEST_SHOWN / len(coverage), 1)
        axes.plot(coverage[shown], accuracy[shown], lw=1.3, label=drawn_name(name))
        lowest = min(lowest, accuracy[shown].min())
    axes.set_xlabel("share of images that are answered")
    axes.set_ylabel("accuracy on them")
    axes.set_ylim(lowest - 0.02, 1.005)
    axes.grid(alpha=0.25)
    _legend(axes, "lower left")
    return as_uri(figure)


def _legend(axes: Any, place: str) -> None:
    """Name the runs; a $ in a name is no formula."""
    for text in axes.legend(fontsize=7, loc=place).get_texts():
        text.set_parse_math(False)


def intervals(rows: Mapping[str, tuple[float, float, float]], what: str, blue: Sequence[str] = ()) -> str:
    """Draw each run's score with its interval, best on top; values are (score, low, high), some runs in blue."""
    figure = Figure(figsize=(9, 0.8 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for at, (name, (value, low, high)) in enumerate(reversed(list(rows.items()))):
        color = "#3b6ea5" if name in blue else "#9aa7b4"
        axes.plot([low, high], [at, at], color=color, lw=2)
        axes.plot(value, at, "o", color=color)
    axes.set_yticks(range(len(rows)), [drawn_name(name) for name in reversed(list(rows))], fontsize=8, parse_math=False)
    axes.set_xlabel(what, parse_math=False)
    axes.grid(axis="x", alpha=0.25)
    return as_uri(figure)
