"""Comparison of all runs of a target: tables of scores, figure of intervals, and warnings."""

from collections.abc import Sequence
from typing import Any

import matplotlib

from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
from featx.metrics.score_texts import ScoreFormat
from featx.reports.page.components import Column, Component, Figure, Items, Section, Table, Text
from featx.reports.page.figure_style import GRID, PALETTE, STYLE, make_figure, shorten_name
from featx.reports.study_report.facts import TargetFacts, interval_text, score_name

# Scores in the table, beside the one that runs are compared in, until the reader chooses others.
SHOWN_SCORES = frozenset(
    {"accuracy", "balanced_accuracy", "macro_f1", "auc_ovr", "log_loss"}
    | {"exact_match", "average_precision", "auc"}
    | {"mae", "rmse", "r2", "pearson", "ccc"}
)
# Number of runs in the figure, the best ones.
MAX_PLOTTED_RUNS = 40
RELATIONS = ("equivalent", "not shown to differ", "worse", "better")


def build_comparison(facts: TargetFacts) -> Section:
    """Return the section that compares all runs on the selection rows."""
    evaluation = facts.evaluation
    components: list[Component] = [Text(f"{warning}.", "warning") for warning in evaluation.warnings]
    components += compare_runs(evaluation)
    components += [Items(texts)] if (texts := _run_warnings(facts)) else []
    return Section(f"All runs on {evaluation.part}", components)


def compare_runs(evaluation: Evaluation) -> list[Component]:
    """Return the figure of intervals, the tables of scores and the recommendation of one evaluation."""
    components: list[Component] = [_build_table(evaluation, column) for column in evaluation.scores_by_column]
    components.insert(1, Text(_table_note(evaluation), "note"))
    if evaluation.recommendation:
        components.insert(1, Text(f"{evaluation.recommendation[0].upper()}{evaluation.recommendation[1:]}."))
    figure = _plot_intervals(evaluation)
    return components if figure is None else [figure, *components]


def _run_warnings(facts: TargetFacts) -> list[str]:
    """Return each warning with the labels of the runs that have it."""
    labels_by_text: dict[str, list[str]] = {}
    for run in facts.runs:
        for warning in run.folder.metrics.run_warnings:
            labels_by_text.setdefault(warning.text, []).append(run.label)
    return [f"{', '.join(labels)}: {text}" for text, labels in labels_by_text.items()]


def _table_note(evaluation: Evaluation) -> str:
    optimism = " The chosen run was selected on these rows, so its own score is slightly optimistic."
    if evaluation.part == "oof":
        optimism += (
            " Settings of heads were chosen on the same folds: all scores are optimistic, more so with more trials."
        )
    return (
        "Each score shows its 95 % interval when it is pointed at. Difference: to the chosen run, with its paired 95 % "
        f"interval; p: p-value of {evaluation.test} for one comparison, without correction. A run is equivalent to the "
        "chosen run if the interval of its difference lies within the margin. It is not shown to differ if p is 0.05 "
        "or more, which is no evidence of equivalence. Images/s: rate of the networks and heads, without reading and "
        f"decoding; MB: size with the weights.{'' if evaluation.part == 'test' else optimism}"
    )


def _build_table(evaluation: Evaluation, number: str) -> Table:
    """Return the table of the scores of all columns, with the comparison, or of one of several numbers."""
    names = evaluation.scores_by_column[number]
    if not number:
        names = [evaluation.compared, *(name for name in names if name != evaluation.compared)]
    heading = "run" if not number else f"run, scores of {number}"
    sizes = sorted({row.scores["n"] for row in evaluation.rows})
    columns = [Column(heading), Column("n", ",d", "Number of rows.", is_shown=len(sizes) > 1)]
    formats = {name: evaluation.score_format(name).value for name in names}
    scores = [
        Column(score_name(name.partition(".")[0]), formats[name], is_shown=_is_shown(evaluation, name))
        for name in names
    ]
    edges = [] if number else _interval_columns(evaluation)
    columns += [*scores[:1], *edges, *scores[1:]]
    hints: dict[tuple[int, int], str] = {}
    cells: list[list[Any]] = []
    for row_number, row in enumerate(evaluation.rows):
        hints[row_number, 0] = row.run
        for position, name in enumerate(names):
            if name in row.intervals:
                column = 2 + position + (len(edges) if position else 0)
                hints[row_number, column] = f"95 % interval: {interval_text(row.intervals[name], formats[name])}"
        values = [row.scores.get(name) for name in names]
        interval = row.intervals.get(evaluation.compared, (None, None)) if edges else ()
        line = [row.label, row.scores["n"], *values[:1], *interval, *values[1:]]
        cells.append(line if number else line + _comparison_cells(evaluation, row))
    columns += [] if number else _comparison_columns(evaluation)
    title = f"{evaluation.target}-runs-on-{evaluation.part}{f'-{number}' if number else ''}"
    chosen_positions = frozenset(
        position for position, row in enumerate(evaluation.rows) if row.run == evaluation.chosen
    )
    n_rows = f" ({sizes[0]:,} rows)" if len(sizes) == 1 else ""
    caption = f"All runs on {evaluation.part}{n_rows}, best selection score first; the chosen run is highlighted."
    return Table(title, caption, columns, cells, hints, chosen_positions)


def _is_shown(evaluation: Evaluation, name: str) -> bool:
    stem = name.partition(".")[0]
    return name == evaluation.compared or stem in SHOWN_SCORES or stem.endswith("without_leaks")


def _interval_columns(evaluation: Evaluation) -> list[Column]:
    name, number_format = score_name(evaluation.compared), evaluation.score_format(evaluation.compared).value
    return [
        Column("95 % low", number_format, f"Low edge of the 95 % interval of {name}."),
        Column("95 % high", number_format, f"High edge of the 95 % interval of {name}."),
    ]


def _comparison_columns(evaluation: Evaluation) -> list[Column]:
    number_format = evaluation.score_format(evaluation.compared).value
    return [
        Column(
            "on train", number_format, "Score on the rows that the run was trained on.", evaluation.has_train_scores
        ),
        Column("difference", f"+{number_format}", "Difference to the chosen run."),
        Column("difference, low", f"+{number_format}", "Low edge of its paired 95 % interval.", is_shown=False),
        Column("difference, high", f"+{number_format}", "High edge of its paired 95 % interval.", is_shown=False),
        Column("p", ".2g", f"p-value of {evaluation.test}."),
        Column("fit, s", ".1f", "Seconds of search and training."),
        Column("images/s", ",.10g", "Images per second at prediction, without reading and decoding."),
        Column("MB", ".1f", "Size of the run with its weights."),
        Column("remarks", description="Relation to the chosen run, and warnings of the training."),
    ]


def _comparison_cells(evaluation: Evaluation, row: RunEvaluation) -> list[Any]:
    remarks = ["recommended"] if row.run == evaluation.recommended else []
    remarks += [row.relation] if row.relation in RELATIONS else []
    return [
        row.train_scores.get(evaluation.score),
        row.difference,
        row.difference_low,
        row.difference_high,
        row.p,
        row.fit_s,
        None if row.images_per_s is None else float(f"{row.images_per_s:.3g}"),
        None if row.n_bytes is None else row.n_bytes / 1e6,
        ", ".join([*remarks, *row.flags]),
    ]


@matplotlib.rc_context(STYLE)
def _plot_intervals(evaluation: Evaluation) -> Figure | None:
    """Plot the compared score of each run with its interval, the best run on top."""
    name = evaluation.compared
    rows = [row for row in evaluation.rows if name in row.intervals][:MAX_PLOTTED_RUNS]
    if not rows:
        return None
    figure, (axes,) = make_figure(1, 7.5, 0.8 + 0.28 * len(rows))
    highlighted = {evaluation.chosen, *evaluation.equivalent}
    for y, row in enumerate(reversed(rows)):
        color = PALETTE[0] if row.run in highlighted else GRID
        axes.plot(row.intervals[name], [y, y], color=color, lw=2)
        axes.plot(row.scores[name], y, "o" if row.run in highlighted else "s", color=color)
    labels = [shorten_name(row.label) for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), labels, parse_math=False)
    axes.set_xlabel(f"{score_name(name)} on {evaluation.part}, with its 95 % interval")
    axes.grid(visible=False, axis="y")
    n_left_out = len(evaluation.rows) - len(rows)
    return Figure(
        f"{evaluation.target}-intervals-on-{evaluation.part}",
        f"{score_name(name).capitalize()} of each run with its 95 % interval; blue dots: the chosen run and the runs "
        f"that are equivalent to it, grey squares: all others{_left_out_text(n_left_out)}.",
        f"Dot plot of {len(rows)} runs; {_extremes(rows, name)}",
        figure,
    )


def _left_out_text(n_runs: int) -> str:
    return f"; {n_runs} runs with lower scores are left out" if n_runs else ""


def _extremes(rows: Sequence[RunEvaluation], name: str) -> str:
    best, worst_run = rows[0], rows[-1]
    score_format = ScoreFormat.of(name, [row.scores[name] for row in rows])
    best_text, worst_text = (score_format.show(row.scores[name]) for row in (best, worst_run))
    return f"{best.label} has {best_text}, the last one, {worst_run.label}, {worst_text}."
