"""Tables of one figure of runs by their settings: one setting in the rows, another in the columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featx.errors import DataError
from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
from featx.evaluation.group_biases import MEASURES
from featx.evaluation.recommendation import has_failed
from featx.registry import suggest_names
from featx.specs.sequences import as_tuple
from featx.study.run_settings import find_called, setting_text


@dataclass(frozen=True)
class PivotCell:
    """The best of the runs with the settings of one cell.

    Attributes
    ----------
    row, column
        Texts of the settings.
    settings
        Name of each setting of the table → its JSON value.
    run
        Name of the run with the best selection score.
    value, low, high
        Figure of the run and its 95 % interval; None where undefined.
    train_value
        The figure on the rows that the run was trained on; None where it was not measured.
    is_chosen
        Whether the run is the chosen one of all runs.
    has_failed
        Whether a warning of its training means that it is not usable, for example that it predicts one class.
    flags
        Names of the warnings of its training.
    n_runs
        Number of runs with these settings.
    """

    row: str
    column: str
    settings: dict[str, Any]
    run: str
    value: float | None
    low: float | None
    high: float | None
    train_value: float | None
    is_chosen: bool
    has_failed: bool
    flags: list[str]
    n_runs: int


@dataclass(frozen=True)
class Pivot:
    """A score, or a difference between groups, of the runs of one target by some of their settings.

    Attributes
    ----------
    target, part
        Name of the target, and part of the split that the runs are scored on.
    score
        Name of the score, or of the measure of the difference between groups (`GroupBias`).
    by
        Names of the settings: the last one in the columns, unless it is the only one.
    rows, columns
        Texts of the settings, in the order of the recipe's values; one empty text for a table without columns.
    cells
        Cells with at least one run.
    left_out
        Labels of the runs that do not have these settings.
    others
        Names of other settings in which runs of one cell differ.
    grouping
        Name of the grouping whose groups differ in their errors; None for a score.
    unit_of
        Name of the score whose unit the figures have; empty for ratios.
    """

    target: str
    part: str
    score: str
    by: list[str]
    rows: list[str]
    columns: list[str]
    cells: list[PivotCell]
    left_out: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    grouping: str | None = None
    unit_of: str = ""

    def cell(self, row: str, column: str) -> PivotCell | None:
        """Return one cell; None if no run has these settings."""
        return next((cell for cell in self.cells if (cell.row, cell.column) == (row, column)), None)


@dataclass(frozen=True)
class _Figure:
    """A score of runs, or by its grouping a difference between the mean errors of groups."""

    name: str
    grouping: str | None = None

    def measure(self, run: RunEvaluation) -> tuple[float | None, float | None, float | None]:
        """Return the figure of a run and its interval."""
        if self.grouping is None:
            value, intervals = run.scores[self.name], run.intervals
        else:
            bias = run.biases[self.grouping]
            value, intervals = getattr(bias, self.name), bias.intervals
        low, high = intervals.get(self.name, (None, None))
        return value if value == value else None, low, high


def pivot_runs(
    evaluations: Sequence[Evaluation],
    by: Sequence[str] | str,
    score: str | None = None,
    runs: Sequence[str] | str = (),
    bias: str | None = None,
) -> list[Pivot]:
    """Return a table for each target whose runs differ in the settings, or with `bias` for each of its groupings.

    Parameters
    ----------
    evaluations
        Scores of all runs, from `featx.evaluate`.
    by
        Names of settings, as ``("lr", "strategy")``: the last one is in the columns, all others are in the rows.
    score
        Name of the score; by default the one that runs are compared in. Targets without it are left out if another
        has it.
    runs
        Labels, or beginnings of names, of the runs in the tables, for example names of sections; empty for all.
    bias
        Measure of the difference between groups (`featx.evaluation.group_biases.MEASURES`) instead of a score.

    Raises
    ------
    DataError
        No runs differ in one of the settings, they have no such score or no groups, or none has one of the names.
    """
    by, runs = as_tuple(by), as_tuple(runs)
    evaluations = [replace(table, rows=_named(table.rows, runs)) for table in evaluations] if runs else evaluations
    rows = [row for table in evaluations for row in table.rows]
    if unmatched_names := [name for name in runs if not _named(rows, [name])]:
        raise DataError(f"no run is called {unmatched_names[0]!r}; expected labels or beginnings of names of runs")
    settings = dict.fromkeys(name for table in evaluations for row in table.rows for name in row.settings)
    if unknown_names := [name for name in by if name not in settings]:
        settings_text = ", ".join(settings) or "none"
        raise DataError(
            f"no runs of a target differ in {unknown_names[0]!r}; settings in which runs differ: {settings_text}"
        )
    tables = [table for table in evaluations if any(set(by) <= row.settings.keys() for row in table.rows)]
    if not tables:
        raise DataError(
            f"no run has all of the settings {', '.join(map(repr, by))}; expected settings of the same kind"
        )
    if bias is not None:
        return _bias_tables(tables, list(by), bias)
    scored_tables = [table for table in tables if score is None or score in table.scores]
    for table in scored_tables or tables:
        if (name := score or table.compared) not in table.rows[0].scores:
            raise DataError(f"runs of {table.target!r} have no score {name!r}; {suggest_names(name, table.scores)}")
    return [_pivot(table, list(by), _Figure(score or table.compared)) for table in scored_tables or tables]


def _bias_tables(tables: Sequence[Evaluation], setting_names: list[str], bias: str) -> list[Pivot]:
    """Return one table for each grouping of each target."""
    figures = [(table, _Figure(MEASURES[bias], grouping)) for table in tables for grouping in table.rows[0].biases]
    if not figures:
        raise DataError("no run has errors of groups to compare; the recipe needs [groups], such as NAME = 'COLUMN'")
    return [_pivot(table, setting_names, figure) for table, figure in figures]


def _named(rows: Sequence[RunEvaluation], names: Sequence[str]) -> list[RunEvaluation]:
    # A label begins with the stem.
    stems = {row.run: row.label.partition("/")[0] for row in rows}
    labels = {row.run: row.label for row in rows}
    run_names = {run for name in names for run in find_called(name, stems, labels)}
    return [row for row in rows if row.run in run_names]


def _pivot(table: Evaluation, setting_names: list[str], figure: _Figure) -> Pivot:
    """Return the table of one figure of the runs of a target."""
    *row_names, column_name = setting_names if len(setting_names) > 1 else [*setting_names, ""]
    runs_by_cell: dict[tuple[str, str], list[RunEvaluation]] = {}
    pivot_rows = [row for row in table.rows if set(setting_names) <= row.settings.keys()]
    for run in sorted(pivot_rows, key=lambda row: _order(row, setting_names)):
        row = ", ".join(setting_text(run.settings[name]) for name in row_names)
        column = setting_text(run.settings[column_name]) if column_name else ""
        runs_by_cell.setdefault((row, column), []).append(run)
    other_settings = {
        name
        for runs in runs_by_cell.values()
        for name in runs[0].settings.keys() - set(setting_names)
        if len({repr(run.settings.get(name)) for run in runs}) > 1
    }
    return Pivot(
        table.target,
        table.part,
        figure.name,
        setting_names,
        list(dict.fromkeys(row for row, _ in runs_by_cell)),
        list(dict.fromkeys(column for _, column in runs_by_cell)),
        [_cell(table, place, runs, setting_names, figure) for place, runs in runs_by_cell.items()],
        [row.label for row in table.rows if row not in pivot_rows],
        sorted(other_settings),
        figure.grouping,
        figure.name if figure.grouping is None else "" if figure.name == "ratio" else table.main_score,
    )


def _order(row: RunEvaluation, setting_names: Sequence[str]) -> list[tuple[bool, float, str]]:
    """Return a key that sorts numbers by size, and other values by their text."""
    values = [row.settings[name] for name in setting_names]
    return [
        (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, setting_text(value))
        for value in values
    ]


def _cell(
    table: Evaluation,
    place: tuple[str, str],
    runs: Sequence[RunEvaluation],
    setting_names: Sequence[str],
    figure: _Figure,
) -> PivotCell:
    """Return the cell of some runs; of several, the first in the order of the evaluation is shown."""
    best = min(runs, key=lambda run: (has_failed(run.flags), table.rows.index(run)))
    return PivotCell(
        *place,
        {name: best.settings[name] for name in setting_names},
        best.run,
        *figure.measure(best),
        best.train_scores.get(figure.name) if figure.grouping is None else None,
        best.run == table.chosen,
        has_failed(best.flags),
        list(best.flags),
        len(runs),
    )
