"""Page about repeated outer splits: means, spreads and paired differences of all runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from featx.artifacts.header import commit
from featx.evaluation.split_summary import CHOSEN, RunOverSplits, SplitSummary
from featx.reports.page.components import Column, Component, Figure, Section, Table, Text
from featx.reports.page.figure_style import PALETTE, STYLE, make_figure, shorten_name
from featx.reports.page.page import Page
from featx.reports.study_report.facts import score_name
from featx.study.study import Study

SPLIT_PAGE = "splits.html"
# Scores that are shown until the reader chooses others.
SHOWN_SCORES = frozenset({"accuracy", "confidence_accuracy", "balanced_accuracy", "macro_f1", "log_loss", "mae", "r2"})
# Number of runs in the figure, the best ones.
MAX_PLOTTED_RUNS = 30


def write_split_page(study: Study, summaries: Sequence[SplitSummary], seeds: Sequence[int]) -> Path:
    """Write the page about the outer splits of a study into its folder, and return its path."""
    version = f" · featx at {name[:12]}" if (name := commit()) else ""
    subtitle = f"{len(seeds)} outer splits with the seeds {_seeds_text(seeds)}{version}"
    path = study.folder / SPLIT_PAGE
    Page(study.recipe.name, subtitle, [build_split_section(summary, seeds) for summary in summaries]).write(path)
    return path


def _seeds_text(seeds: Sequence[int]) -> str:
    is_range = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} … {seeds[-1]}" if is_range else ", ".join(map(str, seeds))


def build_split_section(summary: SplitSummary, seeds: Sequence[int]) -> Section:
    """Return the section of one target."""
    components: list[Component] = [
        Text(_summary_text(summary), "summary"),
        *_build_figure(summary),
        _build_table(summary),
        Text(
            f"chosen: in each split, the run with the best {summary.chosen_by}. Difference: mean over the same splits "
            "to chosen, with its 95 % interval. Splits overlap, so intervals and p-values are those of the corrected "
            "resampled t-test of Nadeau and Bengio (2003); p-values are corrected by Holm's procedure for all runs.",
            "note",
        ),
        _build_splits_table(summary, seeds),
    ]
    return Section(summary.target, components)


def _summary_text(summary: SplitSummary) -> str:
    """Return a sentence about the score of the run that was chosen inside each split."""
    chosen_run, metric = summary.rows[0], summary.metric
    rows_text = f"on {summary.n_scored:.0f} {summary.rows_name} rows, after training on {summary.n_train:.0f}"
    if metric not in chosen_run.means:
        n_defined = np.isfinite(chosen_run.scores.get(metric, [])).sum()
        return (
            f"The run chosen inside each split has no mean {score_name(metric)}, which is undefined in "
            f"{summary.n_splits - n_defined} of {summary.n_splits} splits, {rows_text}."
        )
    score_format = summary.score_format(metric)
    edges = " … ".join(map(score_format.show, chosen_run.intervals[metric]))
    return (
        f"The run chosen inside each split has {score_name(metric)} {score_format.show(chosen_run.means[metric])} ± "
        f"{score_format.show(chosen_run.sds[metric])} (mean and standard deviation over {summary.n_splits} splits; "
        f"95 % interval of the mean {edges}) {rows_text}."
    )


def _build_table(summary: SplitSummary) -> Table:
    names = summary.score_names
    columns = [Column("run"), Column("chosen in", ".0f", "number of splits in which the run was chosen")]
    for name in names:
        is_shown = name in SHOWN_SCORES or name == summary.metric
        columns += [
            Column(score_name(name), summary.score_format(name).value, "mean over the splits", is_shown),
            Column(
                f"{score_name(name)}, sd",
                summary.score_format(name).value,
                "standard deviation over the splits",
                is_shown,
            ),
        ]
    number_format = summary.score_format(summary.metric).value
    columns += [Column(name, number_format) for name in ("difference", "low", "high")] + [Column("p", ".3g")]
    rows = [
        [run.run, run.n_chosen]
        + [table.get(name) for name in names for table in (run.means, run.sds)]
        + [run.difference, run.difference_low, run.difference_high, run.p]
        for run in summary.rows
    ]
    caption = f"Runs over {summary.n_splits} outer splits, {summary.rows_name} rows"
    return Table(f"{summary.target}-splits", caption, columns, rows, highlighted=frozenset({0}))


def _build_splits_table(summary: SplitSummary, seeds: Sequence[int]) -> Table:
    number_format = summary.score_format(summary.metric).value
    columns = [Column("seed"), *(Column(run.run, number_format) for run in summary.rows)]
    values = [run.scores.get(summary.metric, [None] * summary.n_splits) for run in summary.rows]
    rows = [[str(seed), *scores] for seed, *scores in zip(seeds, *values, strict=True)]
    return Table(f"{summary.target}-by-split", f"{score_name(summary.metric)} of each split", columns, rows)


@matplotlib.rc_context(STYLE)
def _build_figure(summary: SplitSummary) -> list[Figure]:
    """Return the figure with one point for each split, and the mean of each run with its interval; none without any."""
    runs = [run for run in summary.rows if summary.metric in run.means][:MAX_PLOTTED_RUNS]
    if not runs:
        return []
    figure, (axes,) = make_figure(1, 7.5, 0.9 + 0.32 * len(runs))
    for position, run in enumerate(runs):
        _plot_run(axes, position, run, summary.metric)
    axes.set_yticks(range(len(runs)), [shorten_name(run.run) for run in runs], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(score_name(summary.metric))
    axes.grid(visible=False, axis="y")
    caption = (
        f"{score_name(summary.metric).capitalize()} of each run: a dot for each split; the diamond is the mean, with "
        "its 95 % interval, corrected for the overlap of the splits."
    )
    return [Figure(f"{summary.target}-by-run", caption, f"{score_name(summary.metric)} of each run by split", figure)]


def _plot_run(axes: Any, position: int, run: RunOverSplits, metric: str) -> None:
    colour = PALETTE[0 if run.run == CHOSEN else 1]
    values = np.array(run.scores[metric])
    offsets = np.linspace(-0.25, 0.25, len(values))
    axes.plot(values, position + offsets, "o", markersize=4, color=colour, alpha=0.5, markeredgewidth=0)
    axes.plot(run.intervals[metric], [position, position], color=colour, linewidth=2)
    axes.plot([run.means[metric]], [position], "D", markersize=5, color=colour)
