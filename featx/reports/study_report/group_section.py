"""Scores of the chosen run by group, and differences between the groups for every run."""

from collections.abc import Sequence
from typing import Any

import matplotlib

from featx.evaluation.evaluation_table import Evaluation
from featx.evaluation.group_biases import MEASURE_TEXTS, GroupBias, too_few_text
from featx.evaluation.group_scores import Group, Grouping
from featx.evaluation.group_texts import describe_differences, describe_size
from featx.metrics.score_texts import ScoreFormat
from featx.reports.page.components import Column, Component, Details, Figure, Items, Section, Table, Text
from featx.reports.page.figure_style import GRID, PALETTE, STYLE, make_figure, shorten_name
from featx.reports.study_report.facts import TargetFacts, interval_text, score_name

# Colour and mark of groups that are worse, compared with the others, and too small to compare.
MARKS = {"worse": (PALETTE[3], "v"), "compared": (PALETTE[0], "o"), "small": (GRID, "s")}
# Number of groups in one figure, the largest ones.
MAX_PLOTTED_GROUPS = 12
NOTE = (
    "Groups of fewer than 20 rows are grey and not compared, nor are groups of fewer than 5 units if the split keeps "
    "units whole. p is the p-value of errors equal to those of all other rows, after Holm's correction for all groups; "
    "the dashed line is the overall score."
)


def build_groups(facts: TargetFacts) -> Section | None:
    """Return the section about groups; None if the recipe names none."""
    evaluation = facts.evaluation
    if not evaluation.groupings:
        return None
    title = f"Scores of {evaluation.label(evaluation.chosen)} by group ({evaluation.part})"
    return Section(title, group_components(evaluation))


def group_components(evaluation: Evaluation) -> list[Component]:
    """Return notes, figures and tables of all groupings of one evaluation."""
    groupings = [grouping for grouping in evaluation.groupings if grouping.groups]
    prefix = f"{evaluation.target}-groups-on-{evaluation.part}"
    return [
        Text(NOTE, "note"),
        Items([_describe(grouping) for grouping in evaluation.groupings]),
        *(_plot_grouping(f"{prefix}-{grouping.name}", grouping) for grouping in groupings),
        *_bias_tables(evaluation),
        *(component for grouping in groupings for component in _group_table(prefix, grouping)),
    ]


def _describe(grouping: Grouping) -> str:
    text = describe_differences(grouping)
    score_format = ScoreFormat.of(grouping.score, [grouping.overall])
    if grouping.step is not None:
        text += f"; the error increases by {score_format.show(grouping.step)} from one group to the next"
    if grouping.largest_difference_by_thresholds is not None:
        text += (
            "; with one threshold per group, the largest difference would be "
            f"{score_format.show(grouping.largest_difference_by_thresholds)}"
        )
    return f"{text}."


def _bias_tables(evaluation: Evaluation) -> list[Component]:
    """Return one table per measure of the differences between groups: runs in rows, groupings in columns."""
    names = list(evaluation.rows[0].biases)
    main_score = evaluation.main_score
    score_format = evaluation.score_format(main_score)
    columns = [Column("run"), Column(score_name(main_score), score_format.value), *map(Column, names)]
    chosen_positions = frozenset(
        position for position, row in enumerate(evaluation.rows) if row.run == evaluation.chosen
    )
    components: list[Component] = []
    for number, (measure, text) in enumerate(MEASURE_TEXTS.items()):
        rows = [
            [
                row.label,
                row.scores[main_score],
                *(_bias_text(bias, measure, evaluation.bias_format(measure)) for bias in row.biases.values()),
            ]
            for row in evaluation.rows
        ]
        caption = f"{text[0].upper()}{text[1:]} of the groups, of every run, with its 95 % interval"
        name = f"{evaluation.target}-biases-on-{evaluation.part}-{measure}"
        components.append(
            Details(caption, [Table(name, f"{caption}.", columns, rows, {}, chosen_positions)], number == 0)
        )
    for name, bias in evaluation.rows[0].biases.items():
        if bias.too_few:
            groups_text = ", ".join(f"{group} (n {n})" for group, n in bias.too_few.items())
            components.append(Text(f"{name}: too few, not counted: {groups_text}; {too_few_text()}.", "note"))
    return components


def _bias_text(bias: GroupBias, measure: str, score_format: ScoreFormat) -> str:
    if not bias.intervals:
        return "too few"
    edges = interval_text(bias.intervals[measure], score_format.value)
    return f"{score_format.show(getattr(bias, measure))} ({edges})"


def _group_table(prefix: str, grouping: Grouping) -> list[Component]:
    has_thresholds = grouping.largest_difference_by_thresholds is not None
    score = score_name(grouping.score)
    number_format = ScoreFormat.of(grouping.score, [group.scores[grouping.score] for group in grouping.groups]).value
    columns = [
        Column(grouping.name),
        Column("n", ",d"),
        Column(score, number_format),
        Column("95 % interval"),
        Column("p", ".2g"),
    ]
    if has_thresholds:
        columns += [Column("own threshold", ".4f"), Column(f"{score} with own threshold", ".4f")]
    columns.append(Column("remarks"))
    rows = [_group_cells(grouping, group, has_thresholds, number_format) for group in grouping.groups]
    hints = {(position, 1): describe_size(group) for position, group in enumerate(grouping.groups)}
    table = Table(f"{prefix}-{grouping.name}-scores", f"Groups of {grouping.name}.", columns, rows, hints)
    if not (grouping.n_missing or grouping.n_omitted_groups):
        return [table]
    note = f"{grouping.n_missing} rows have no value; {grouping.n_omitted_groups} small groups are not shown."
    return [table, Text(note, "note")]


def _group_cells(grouping: Grouping, group: Group, has_thresholds: bool, number_format: str) -> list[Any]:
    interval = interval_text(group.intervals[grouping.score], number_format) if group.is_compared else None
    cells = [group.name, group.n, group.scores[grouping.score], interval, group.p_holm]
    cells += [group.threshold, group.score_by_threshold] if has_thresholds else []
    return [*cells, "worse" if group.is_flagged else "" if group.is_compared else "too few to compare"]


@matplotlib.rc_context(STYLE)
def _plot_grouping(name: str, grouping: Grouping) -> Figure:
    """Plot the groups in their order; the largest ones if there are many."""
    groups = _plotted_groups(grouping)[::-1]
    figure, (axes,) = make_figure(1, 5.0, 1.1 + 0.3 * len(groups))
    for y, group in enumerate(groups):
        color, marker = MARKS["worse" if group.is_flagged else "compared" if group.is_compared else "small"]
        if group.is_compared:
            axes.plot(group.intervals[grouping.score], [y, y], color=color, lw=2)
        axes.plot(group.scores[grouping.score], y, marker, color=color)
    axes.axvline(grouping.overall, color=GRID, lw=1, ls="--")
    names = [f"{shorten_name(group.name, 30)} (n {group.n})" for group in groups]
    axes.set_yticks(range(len(groups)), names, parse_math=False)
    axes.set_xlabel(score_name(grouping.score))
    axes.grid(visible=False, axis="y")
    caption = (
        f"{score_name(grouping.score).capitalize()} by {grouping.name} with 95 % intervals; triangles: worse than the "
        "other rows, grey squares: too few rows to compare; dashed line: all rows."
    )
    return Figure(name, caption, f"{_describe(grouping)}", figure)


def _plotted_groups(grouping: Grouping) -> Sequence[Group]:
    """Return the largest groups, in the order of the grouping."""
    largest = sorted(grouping.groups, key=lambda group: -group.n)[:MAX_PLOTTED_GROUPS]
    names = {group.name for group in largest}
    return [group for group in grouping.groups if group.name in names]
