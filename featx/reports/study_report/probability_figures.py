"""Figures of predicted probabilities: reliability, coverage, ROC and precision-recall curves."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from numpy.typing import NDArray

from featx.evaluation.class_intervals import ReliabilityBand
from featx.metrics.reliability import Reliability
from featx.reports.page.components import Figure
from featx.reports.page.figure_style import GRID, PALETTE, STYLE, add_legend, make_figure, shorten_name
from featx.reports.study_report.facts import plural
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

# Size of one figure in inches: it fits the width of a phone.
WIDTH, HEIGHT = 4.1, 3.3
# Number of points of a curve, evenly spaced among all of its points.
MAX_CURVE_POINTS = 150
# Number of classes or labels with a curve of their own, those with the smallest areas.
MAX_PLOTTED_CLASSES = 6
MAX_LEGEND_LENGTH = 28
# Number of images from which on an accuracy is plotted.
MIN_PLOTTED_IMAGES = 20

Curve = tuple[Floats, Floats, float]


def small_figure() -> tuple[MatplotlibFigure, Axes]:
    """Return a figure for the width of a phone, whose margins are fixed, because to fit them takes most of the time."""
    figure, (axes,) = make_figure(1, WIDTH, HEIGHT)
    figure.set_layout_engine(None)
    figure.subplots_adjust(left=0.16, right=0.97, top=0.97, bottom=0.16)
    return figure, axes


def wide_figure() -> tuple[MatplotlibFigure, Axes]:
    """Return a figure of about twice the width, for many runs."""
    figure, (axes,) = make_figure(1, 2 * WIDTH, HEIGHT)
    return figure, axes


def thin_out(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return at most `MAX_CURVE_POINTS` points of a curve, with the first and the last one."""
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_CURVE_POINTS)).astype(int))
    return x[rows], y[rows]


@matplotlib.rc_context(STYLE)
def plot_reliability_band(name: str, band: ReliabilityBand) -> Figure:
    """Plot the reliability diagram of one run, with the interval of each bin."""
    figure, axes = small_figure()
    axes.plot([0, 1], [0, 1], color=GRID, lw=1, ls="--")
    bins = band.bins
    axes.fill_between(bins.mean_probability, band.low, band.high, color=PALETTE[0], alpha=0.2, lw=0)
    axes.plot(bins.mean_probability, bins.observed_share, color=PALETTE[0], lw=1)
    sizes = 6 + 100 * bins.n / bins.n.sum()
    axes.scatter(bins.mean_probability, bins.observed_share, s=sizes, color=PALETTE[0])
    axes.set_xlabel("mean predicted probability")
    axes.set_ylabel("observed frequency")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    caption = (
        f"Reliability: calibrated probabilities are on the dashed line. Band: 95 % interval; dots grow with the number "
        f"of predictions; expected calibration error {bins.ece:.3f}."
    )
    largest = np.abs(bins.mean_probability - bins.observed_share).max()
    description = f"Reliability diagram of {len(bins.n)} bins; the largest distance to the diagonal is {largest:.2f}."
    return Figure(name, caption, description, figure)


@matplotlib.rc_context(STYLE)
def plot_reliability(name: str, runs: Mapping[str, Reliability]) -> Figure:
    """Plot the reliability diagrams of several runs, one dot per bin."""
    figure, axes = small_figure()
    axes.plot([0, 1], [0, 1], color=GRID, lw=1, ls="--")
    for label, bins in runs.items():
        points = bins.mean_probability, bins.observed_share
        axes.plot(*points, "o-", ms=3, lw=1, label=f"{shorten_name(label, MAX_LEGEND_LENGTH)} ({bins.ece:.3f})")
    axes.set_xlabel("mean predicted probability")
    axes.set_ylabel("observed frequency")
    add_legend(axes)
    caption = (
        "Reliability diagram: for calibrated probabilities, the dots are on the dashed line. In parentheses: expected "
        "calibration error."
    )
    best = min(runs, key=lambda label: runs[label].ece)
    return Figure(name, caption, f"Reliability of {len(runs)} runs; {best} has the smallest calibration error.", figure)


@matplotlib.rc_context(STYLE)
def plot_abstention(name: str, runs: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Plot the accuracy on the most certain predictions against their share of all images."""
    figure, axes = small_figure()
    y_min = 1.0
    for label, (coverage, accuracy) in runs.items():
        is_plotted = coverage >= min(MIN_PLOTTED_IMAGES / len(coverage), 1)
        x, y = thin_out(coverage[is_plotted], accuracy[is_plotted])
        axes.plot(x, y, lw=1.3, label=shorten_name(label, MAX_LEGEND_LENGTH))
        y_min = min(y_min, float(y.min()))
    axes.set_xlabel("share of images with a prediction")
    axes.set_ylabel("accuracy on these images")
    axes.set_ylim(y_min - 0.02, 1.005)
    if len(runs) > 1:
        add_legend(axes, "lower left")
    caption = (
        "Coverage and abstention: accuracy if predictions with low probability are left out ('featx predict "
        "--abstain-below')."
    )
    label, (_, accuracy) = next(iter(runs.items()))
    half = float(accuracy[max(len(accuracy) // 2 - 1, 0)])
    description = f"On the most certain half of the images, {label} has an accuracy of {half:.3f}."
    return Figure(name, caption, description, figure)


def plot_roc(name: str, targets: TargetValues, outputs: Floats) -> Figure | None:
    """Plot the ROC curves of one run, one curve per class against the others, or per label."""
    return _plot_curves(name, _ROC, targets, outputs)


def plot_precision_recall(name: str, targets: TargetValues, outputs: Floats) -> Figure | None:
    """Plot the precision-recall curves of one run, one curve per class against the others, or per label."""
    return _plot_curves(name, _PRECISION_RECALL, targets, outputs)


def _roc(is_true: Floats, proba: Floats) -> Curve:
    true_positives, false_positives = _cumulative_counts(is_true, proba)
    false_rate: Floats = np.append(0, false_positives / false_positives[-1])
    true_rate: Floats = np.append(0, true_positives / true_positives[-1])
    return false_rate, true_rate, float(np.trapezoid(true_rate, false_rate))


def _precision_recall(is_true: Floats, proba: Floats) -> Curve:
    true_positives, false_positives = _cumulative_counts(is_true, proba)
    recall: Floats = np.append(0, true_positives / true_positives[-1])
    precision: Floats = np.append(1, true_positives / (true_positives + false_positives))
    return recall, precision, float(np.sum(np.diff(recall) * precision[1:]))


def _cumulative_counts(is_true: Floats, proba: Floats) -> tuple[Floats, Floats]:
    """Return the true and the false positives at each distinct threshold, the highest first.

    `sklearn.metrics.roc_curve` counts the same. A report of 30 runs of 40 labels has 2,400 curves, for which its checks
    of arguments take several seconds.
    """
    order = np.argsort(-proba, kind="stable")
    last_positions: NDArray[np.intp] = np.append(np.flatnonzero(np.diff(proba[order])), len(order) - 1)
    true_positives = np.cumsum(is_true[order])[last_positions]
    return true_positives, 1 + last_positions - true_positives


# Function of a curve, names of its axes, name of the figure, and name of the area below it.
_Kind = tuple[Callable[[Floats, Floats], Curve], str, str, str, str]
_ROC: _Kind = (_roc, "false positive rate", "true positive rate", "ROC curve", "area under the curve")
_PRECISION_RECALL: _Kind = (_precision_recall, "recall", "precision", "Precision-recall curve", "average precision")


def _class_curves(kind: _Kind, targets: TargetValues, outputs: Floats) -> dict[str, Curve]:
    """Return the curve of each class or label of which there are rows with and without it."""
    hard = targets.y if targets.kind == "labels" else np.eye(targets.n_outputs)[targets.y]
    positions: Sequence[int] = range(targets.n_outputs)
    if targets.kind == "classes" and targets.n_outputs == 2:
        positions = [1]
    has_both = {i: 0 < hard[:, i].sum() < len(hard) for i in positions}
    return {targets.names[i]: kind[0](hard[:, i], outputs[:, i]) for i in positions if has_both[i]}


@matplotlib.rc_context(STYLE)
def _plot_curves(name: str, kind: _Kind, targets: TargetValues, outputs: Floats) -> Figure | None:
    _, x_label, y_label, title, area_name = kind
    curves = _class_curves(kind, targets, outputs)
    if not curves:
        return None
    shown_labels = sorted(curves, key=lambda label: curves[label][2])[:MAX_PLOTTED_CLASSES]
    figure, axes = small_figure()
    if kind is _ROC:
        axes.plot([0, 1], [0, 1], color=GRID, lw=1, ls="--")
    for label in shown_labels:
        x, y, area = curves[label]
        axes.plot(*thin_out(x, y), lw=1.3, label=f"{shorten_name(label, MAX_LEGEND_LENGTH)} ({area:.3f})")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    add_legend(axes, "lower right" if kind is _ROC else "lower left")
    return Figure(name, _curve_caption(title, area_name, targets, len(curves)), _curve_text(title, curves), figure)


def _curve_caption(title: str, area_name: str, targets: TargetValues, n_curves: int) -> str:
    scope = "" if targets.n_outputs == 2 and targets.kind == "classes" else f" of each {targets.noun}"
    if n_curves > MAX_PLOTTED_CLASSES:
        scope = f" of the {MAX_PLOTTED_CLASSES} of {plural(n_curves, targets.noun)} with the smallest areas"
    return f"{title}{scope}. In parentheses: {area_name}."


def _curve_text(title: str, curves: Mapping[str, Curve]) -> str:
    worst_label = min(curves, key=lambda label: curves[label][2])
    return (
        f"{title} of {len(curves)} classes or labels; the smallest area, {curves[worst_label][2]:.3f}, "
        f"is that of {worst_label}."
    )
