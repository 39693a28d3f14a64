"""The tables of ``featx evaluate --by``: a score, or a difference between groups, by the settings of runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.evaluation.evaluation_table import Evaluation
    from featx.evaluation.pivot import Pivot, PivotCell
    from featx.metrics.score_texts import ScoreFormat


def check_options(by: str | None, score: str | None, runs: str | None, bias: str | None) -> None:
    """Check the options ``--by``, ``--score``, ``--runs`` and ``--bias`` as far as this is possible without runs.

    Raises
    ------
    UnknownNameError
        No difference between groups has the name of the bias.
    DataError
        There is a score or a run without a setting, or a score beside a bias.
    """
    from featx.errors import DataError, UnknownNameError
    from featx.evaluation.group_biases import MEASURES
    from featx.registry import suggest_names

    if bias is not None and bias not in MEASURES:
        raise UnknownNameError(
            f"no difference between groups is called {bias!r}; {suggest_names(bias, list(MEASURES))}"
        )
    if by is None:
        for option, value in (("--score", score), ("--runs", runs)):
            if value is not None:
                raise DataError(
                    f"found {option} {value} without --by; expected settings beside it, as '--by lr,strategy'"
                )
    elif score is not None and bias is not None:
        raise DataError(f"found --score {score} and --bias {bias} beside --by; expected one of them")


def build(
    evaluations: "Sequence[Evaluation]", by: str | None, score: str | None, runs: str | None, bias: str | None
) -> "list[Pivot]":
    """Return the tables of the options ``--by``, ``--score``, ``--runs`` and ``--bias``; none without the first.

    Raises
    ------
    DataError
        The runs do not have these settings or this score.
    """
    from featx.evaluation.pivot import pivot_runs

    return [] if by is None else pivot_runs(evaluations, _names(by), score, _names(runs or ""), bias)


def _names(text: str) -> list[str]:
    """Return names that are separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def pivots(tables: "Sequence[Pivot]") -> None:
    """Print tables, one below the other."""
    for number, table in enumerate(tables):
        if number:
            console.say()
        _pivot(table)


def _pivot(table: "Pivot") -> None:
    from featx.metrics.score_texts import ScoreFormat

    has_train = any(cell.train_value is not None for cell in table.cells)
    name = console.short_name(table.score)
    title = f"{table.target}: {_title(table, name, has_train)}"
    *row_names, column_name = table.by if len(table.by) > 1 else [*table.by, ""]
    columns = [", ".join(row_names), *(f"{column_name} {text}" if column_name else name for text in table.columns)]
    score_format = ScoreFormat.of(table.unit_of, [cell.value for cell in table.cells])
    rows = [
        (row, *(_text(table, table.cell(row, column), has_train, score_format) for column in table.columns))
        for row in table.rows
    ]
    console.table(title, columns, rows, has_all_columns=True)
    if any(cell.is_chosen for cell in table.cells):
        console.say("* chosen run")
    if failed_cells := [cell for cell in table.cells if cell.has_failed]:
        console.say(
            f"! {len(failed_cells)} of {len(table.cells)} runs failed in training: "
            "the score is not that of a usable run"
        )
    if table.others:
        console.say(f"best of several runs where a number is shown (×2); these differ in {', '.join(table.others)}")
    if table.left_out:
        console.say(f"without these settings, not shown: {console.limited_list(table.left_out)}")


def _title(table: "Pivot", name: str, has_train: bool) -> str:
    from featx.evaluation.group_biases import MEASURE_TEXTS

    if table.grouping is not None:
        return f"{table.part} {MEASURE_TEXTS[table.score]} of {table.grouping} (95 %)"
    return f"{'train / ' if has_train else ''}{table.part} {name} (95 % of {table.part})"


def _text(table: "Pivot", cell: "PivotCell | None", has_train: bool, score_format: "ScoreFormat") -> str | None:
    """Return the figures of a cell, with marks of the chosen run and of failed runs; None for a cell without runs."""
    if cell is None:
        return None
    if table.grouping is not None and cell.low is None:
        return "too few"
    values = [*([score_format.show(cell.train_value)] if has_train else []), score_format.show(cell.value)]
    mark = "* " if cell.is_chosen else ""
    count = f" ×{cell.n_runs}" if cell.n_runs > 1 else ""
    failure = f" ! {', '.join(cell.flags)}" if cell.has_failed else ""
    return f"{mark}{' / '.join(values)} ({score_format.interval((cell.low, cell.high))}){count}{failure}"
