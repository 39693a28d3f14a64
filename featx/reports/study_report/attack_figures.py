"""Figures of attacks: robust accuracy by limit, smallest perturbations, and accuracy on images of other runs."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from featx.reports.page.components import Figure
from featx.reports.page.figure_style import PALETTE, STYLE, add_legend, make_figure, shorten_name
from featx.reports.study_report.probability_figures import MAX_LEGEND_LENGTH, small_figure
from featx.robustness.attack_results import AttackedRuns
from featx.robustness.attack_tables import AttackTable
from featx.robustness.robustness_evaluation import RobustAccuracy, RobustnessEvaluation, limit_text
from featx.specs.attacking import Norm

# Number of runs with a curve of their own, the most robust ones; up to this many, curves have intervals.
MAX_PLOTTED_RUNS, MAX_RUNS_WITH_INTERVALS = 8, 4
# Number of runs up to which a matrix has the numbers.
MAX_RUNS_WITH_NUMBERS = 12
NORM_NAMES = {"linf": "change of a pixel × 255 (l∞)", "l2": "root of the sum of squares (l2)"}
# Units of the axes for each unit of the pixels: limits of single pixels are whole numbers of levels.
AXIS_UNITS = {"linf": 255, "l2": 1}


@matplotlib.rc_context(STYLE)
def plot_accuracy_by_limit(name: str, evaluation: RobustnessEvaluation, norm: Norm) -> Figure:
    """Plot the accuracy of the most robust runs under all attacks within each limit of a norm."""
    figure, axes = small_figure()
    rows_by_run = _worst_cases_by_run(evaluation, norm)
    attacked_runs = [run for run in evaluation.runs if rows_by_run[run.run]]
    runs = attacked_runs[:MAX_PLOTTED_RUNS]
    for number, run in enumerate(runs):
        rows = rows_by_run[run.run]
        accuracies = [run.clean, *(row.accuracy for row in rows)]
        low, high = [run.low, *(row.low for row in rows)], [run.high, *(row.high for row in rows)]
        colour, positions = PALETTE[number], [0.0, *(AXIS_UNITS[norm] * (row.eps or 0.0) for row in rows)]
        axes.plot(
            positions,
            accuracies,
            color=colour,
            lw=1.3,
            marker="o",
            ms=3,
            label=shorten_name(run.label, MAX_LEGEND_LENGTH),
        )
        if len(runs) <= MAX_RUNS_WITH_INTERVALS:
            axes.fill_between(positions, low, high, color=colour, alpha=0.15, lw=0)
    axes.set_xlabel(f"limit: {NORM_NAMES[norm]}")
    axes.set_ylabel("accuracy under the strongest attack")
    axes.set_ylim(-0.03, 1.03)
    add_legend(axes)
    best_run, last_row = runs[0], rows_by_run[runs[0].run][-1]
    band = " Bands: 95 % intervals." if len(runs) <= MAX_RUNS_WITH_INTERVALS else ""
    omission_note = "" if len(runs) == len(attacked_runs) else f" The {len(runs)} most robust runs are shown."
    caption = f"Accuracy within each limit; at 0 the images are unperturbed.{band}{omission_note}"
    description = (
        f"Curves of {len(runs)} runs; {best_run.label} falls from {best_run.clean:.2f} to "
        f"{last_row.accuracy:.2f} at {limit_text(norm, last_row.eps or 0.0)}."
    )
    return Figure(name, caption, description, figure)


def _worst_cases_by_run(evaluation: RobustnessEvaluation, norm: Norm) -> dict[str, list[RobustAccuracy]]:
    """Return the worst case of each run within each limit of a norm within which it was attacked, limits rising."""
    worst_cases = [evaluation.worst(norm, eps) for eps in evaluation.limits[norm]]
    return {run.run: [rows[run.run] for rows in worst_cases if run.run in rows] for run in evaluation.runs}


@matplotlib.rc_context(STYLE)
def plot_smallest_perturbations(
    name: str, attacked_runs: AttackedRuns, runs: Sequence[str], norm: Norm
) -> Figure | None:
    """Plot the share of images predicted wrongly under perturbations up to each norm; None if no attack succeeded."""
    norms_by_run = {run: AXIS_UNITS[norm] * attacked_runs.smallest_norms(run, norm) for run in runs[:MAX_PLOTTED_RUNS]}
    finite_norms = np.concatenate([np.zeros(0), *(norms[np.isfinite(norms)] for norms in norms_by_run.values())])
    if not finite_norms.any():
        return None
    figure, axes = small_figure()
    largest = float(finite_norms.max())
    for number, (run, norms) in enumerate(norms_by_run.items()):
        label = shorten_name(attacked_runs.labels[run], MAX_LEGEND_LENGTH)
        # Images on which all attacks fail are to the right of the figure.
        axes.ecdf(np.minimum(norms, 2 * largest), color=PALETTE[number], lw=1.3, label=label)
    axes.set_xlim(0, 1.05 * largest)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(f"smallest perturbation: {NORM_NAMES[norm]}")
    axes.set_ylabel("share of images predicted wrongly")
    add_legend(axes, "lower right")
    first_run = next(iter(norms_by_run))
    median_norm = float(np.median(norms_by_run[first_run]))
    median = f"{median_norm:.3g}" if np.isfinite(median_norm) else "not reached"
    caption = (
        "Smallest perturbation of all attacks that makes a prediction wrong; images that are predicted wrongly without "
        "a perturbation are at 0, and those on which all attacks fail keep the curve below 1."
    )
    description = (
        f"Distribution functions of {len(norms_by_run)} runs; the median of {attacked_runs.labels[first_run]} "
        f"is {median}."
    )
    return Figure(name, caption, description, figure)


@matplotlib.rc_context(STYLE)
def plot_transfer(name: str, attacked_runs: AttackedRuns, tables: Sequence[AttackTable], runs: Sequence[str]) -> Figure:
    """Plot the accuracy of each run (column) on the images that an attack made on each run (row)."""
    sources = [table.source for table in tables]
    matrix = np.array([[_accuracy(table, run) for run in runs] for table in tables])
    figure, (axes,) = make_figure(1, 2.6 + 0.42 * len(runs), 1.9 + 0.36 * len(tables))
    axes.grid(visible=False)
    image = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    names = [shorten_name(attacked_runs.labels[run], MAX_LEGEND_LENGTH) for run in runs]
    axes.set_xticks(range(len(runs)), names, rotation=90, parse_math=False)
    axes.set_yticks(
        range(len(sources)),
        [shorten_name(attacked_runs.labels[run], MAX_LEGEND_LENGTH) for run in sources],
        parse_math=False,
    )
    axes.set_xlabel("evaluated run")
    axes.set_ylabel("attacked run")
    if len(runs) <= MAX_RUNS_WITH_NUMBERS:
        for (i, j), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                colour = "black" if value > 0.6 else "white"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axes, label="accuracy", shrink=0.8)
    is_other = np.array([[run != source for run in runs] for source in sources])
    accuracies = matrix[is_other & np.isfinite(matrix)]
    mean = f"{accuracies.mean():.2f}" if len(accuracies) else "not measured"
    caption = (
        f"Transfer of {attack_name(tables[0])}: accuracy of each run on the images that were made on each run. Low "
        "values off the diagonal: the attack transfers."
    )
    description = (
        f"Matrix of {len(tables)} attacked and {len(runs)} evaluated runs; mean on images of other runs {mean}."
    )
    return Figure(name, caption, description, figure)


def _accuracy(table: AttackTable, run: str) -> float:
    if run not in table.rows:
        return float("nan")
    return float((~(table.is_wrong(run) | table.is_wrong_before(run))).mean())


def attack_name(table: AttackTable) -> str:
    """Return the name of an attack with its limit."""
    return limited_name(table.attack.spec.method, table.attack.spec.norm, table.attack.eps)


def limited_name(method: str, norm: str, eps: float | None) -> str:
    """Return the name of an attack with its limit if it has one.

    Examples
    --------
    >>> limited_name("pgd", "linf", 0.1), limited_name("cw", "l2", None)
    ('pgd linf 0.1', 'cw')
    """
    return method if eps is None else f"{method} {norm} {limit_text(norm, eps)}"
