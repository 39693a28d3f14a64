"""Figures of scores on corrupted images: heat maps of kinds, and probes of texture and shape."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from featx.metrics.definitions import find_score
from featx.metrics.score_texts import has_target_unit
from featx.reports.page.components import Figure
from featx.reports.page.figure_style import GRID, PALETTE, STYLE, add_legend, make_figure, shorten_name
from featx.reports.study_report.facts import score_name
from featx.reports.study_report.probability_figures import HEIGHT, WIDTH
from featx.robustness.corruption_results import EDGES, PATCH_SHUFFLE, SHUFFLED_GRIDS, CorruptedRun, CorruptionResults
from featx.tables.ids import Floats

# Number of runs in a heat map and of lines in a figure, the best ones.
MAX_HEAT_MAP_RUNS, MAX_LINES = 8, 6
MAX_RUN_NAME_LENGTH = 22
# Height of a row and width of a column of a heat map in inches, and the space for names.
ROW_IN, COLUMN_IN, KIND_NAMES_IN, RUN_NAMES_IN = 0.2, 0.42, 1.6, 1.3
GRIDS = tuple(f"{n} × {n}" for n in SHUFFLED_GRIDS)
# Value on the colour scale from which on black is easier to read than white.
LIGHT_FROM = 0.55


def plot_kinds_by_run(name: str, results: CorruptionResults) -> Figure:
    """Return the heat map of the mean score under each kind of corruption, one column for each of the best runs."""
    runs, kinds = results.runs[:MAX_HEAT_MAP_RUNS], list(results.score_drop_by_kind)
    values = np.array([[run.by_kind[kind] for run in runs] for kind in kinds])
    originals = np.array([[run.original.score for run in runs]])
    rows = ["original", *kinds]
    names = [shorten_name(run.label, MAX_RUN_NAME_LENGTH) for run in runs]
    caption = (
        f"{_title(results)} under each kind of corruption, mean over severities; the best runs on the left, the most "
        "harmful kinds at the top. Brighter is better."
    )
    return _heat_map(name, caption, results.score, np.vstack([originals, values]), rows, names)


def plot_severities(name: str, results: CorruptionResults, run: CorruptedRun) -> Figure:
    """Return the heat map of the score of one run under each kind of corruption at each severity."""
    severities = sorted({cell.severity for cell in run.cells})
    scores_by_cell = {(cell.kind, cell.severity): cell.score for cell in run.cells}
    kinds = list(results.score_drop_by_kind)
    values = np.array([[scores_by_cell.get((kind, severity), np.nan) for severity in severities] for kind in kinds])
    original_text = format(run.original.score, results.score_format.edge)
    caption = f"{_title(results)} of {run.label} at each severity ({original_text} on the original images)."
    return _heat_map(name, caption, results.score, values, kinds, [str(severity) for severity in severities])


def _title(results: CorruptionResults) -> str:
    text = score_name(results.score)
    return text[0].upper() + text[1:]


# Numbers that fit a cell of a heat map without exponent.
MIN_PLAIN, MAX_PLAIN = 0.01, 10_000


@matplotlib.rc_context(STYLE)
def _heat_map(  # noqa: PLR0913 (each is one part of a figure)
    name: str, caption: str, score: str, values: Floats, rows: Sequence[str], columns: Sequence[str]
) -> Figure:
    is_numbered = max(map(len, columns)) <= 2
    height = ROW_IN * len(rows) + (0.5 if is_numbered else RUN_NAMES_IN)
    figure, (axes,) = make_figure(1, KIND_NAMES_IN + COLUMN_IN * len(columns), height)
    sign = find_score(score).signed(1.0)
    image = axes.imshow(sign * values, cmap="viridis", aspect="auto")
    shades = image.norm(sign * values)
    for row, column in np.ndindex(values.shape):
        if np.isfinite(values[row, column]):
            colour = "#000000" if shades[row, column] > LIGHT_FROM else "#ffffff"
            axes.text(
                column,
                row,
                _short(float(values[row, column]), score),
                color=colour,
                ha="center",
                va="center",
                fontsize=6.5,
            )
    axes.set_yticks(range(len(rows)), rows, fontsize=7, parse_math=False)
    angle = {} if is_numbered else {"rotation": 50, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), columns, fontsize=7, parse_math=False, **angle)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return Figure(name, caption, caption, figure)


def _short(value: float, score: str = "") -> str:
    """Return a score in a few characters.

    Examples
    --------
    >>> _short(0.876), _short(1.0), _short(12.34), _short(-0.05), _short(1.2e-6, "mae")
    ('.88', '1.0', '12', '-.05', '1e-06')
    """
    if has_target_unit(score) and value and not MIN_PLAIN <= abs(value) < MAX_PLAIN:
        return f"{value:.0e}"
    if abs(value) >= 10:
        return f"{value:.0f}"
    text = f"{value:.2f}"
    return f"{value:.1f}" if abs(value) >= 0.995 else text.replace("0.", ".", 1)


@matplotlib.rc_context(STYLE)
def plot_texture_and_shape(name: str, results: CorruptionResults) -> Figure:
    """Return the scores on shuffled patches by the number of patches, and on edges alone, of the best runs."""
    figure, (axes,) = make_figure(1, WIDTH, HEIGHT)
    runs = results.runs[:MAX_LINES]
    shuffle_cells = [cell for cell in runs[0].probes if cell.kind == PATCH_SHUFFLE]
    ticks = ["1 × 1", *GRIDS[: len(shuffle_cells)], *(["edges"] if runs[0].probe_scores(EDGES) else [])]
    for number, run in enumerate(runs):
        colour = PALETTE[number % len(PALETTE)]
        line = [run.original.score, *run.probe_scores(PATCH_SHUFFLE)]
        axes.plot(range(len(line)), line, "o-", ms=3, lw=1.2, color=colour, label=shorten_name(run.label, 28))
        if edges := run.probe_scores(EDGES):
            axes.plot(len(line), edges[0], "D", ms=4, color=colour)
    if len(ticks) > 1 + len(shuffle_cells):
        axes.axvline(len(shuffle_cells) + 0.5, color=GRID, lw=1, ls="--")
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel("shuffled patches")
    axes.set_ylabel(score_name(results.score))
    add_legend(axes)
    caption = (
        "Shuffled patches keep texture and lose shape; edges, in black on white, keep shape and lose texture "
        "(diamonds). 1 × 1 is the original image."
    )
    return Figure(name, caption, caption, figure)
