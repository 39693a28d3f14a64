"""Results as tables and sentences on standard output."""

import errno
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any, cast

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from featx.cli.json_output import JsonList as JsonList
from featx.cli.json_output import as_json as as_json
from featx.cli.json_output import plain as plain
from featx.cli.output_settings import output_settings, printing
from featx.cli.table_layout import Column as Column
from featx.cli.table_layout import TableCells, all_columns, choose_columns, draw
from featx.cli.text import wrap_cells
from featx.text.sanitising import sanitise_text

SHORT = {
    "accuracy": "acc",
    "balanced_accuracy": "bal acc",
    "macro_precision": "P macro",
    "macro_recall": "R macro",
    "macro_f1": "F1 macro",
    "weighted_precision": "P wtd",
    "weighted_recall": "R wtd",
    "weighted_f1": "F1 wtd",
    "kappa": "kappa",
    "auc_ovr": "AUC",
    "log_loss": "log loss",
    "interval_width": "width",
    "selective_accuracy": "selective acc",
}
# Width of a line of text with a label, in files and pipes too, and of the label.
MAX_LINE_CELLS, LABEL_CELLS = 80, 9
# Number of runs that are named beside a text that concerns them.
MAX_LABELS_SHOWN = 4
# Width of lines that are written to a file or a pipe, unless the variable COLUMNS states one.
UNLIMITED_WIDTH = 100_000


class _AboveBars:
    """Standard output while bars are drawn, whose lines are moved above these.

    It hides from rich that it is redirected: rich would write to the terminal itself, into the line of a bar.
    """

    def write(self, text: str) -> int:
        """Write a text."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        sys.stdout.flush()

    def isatty(self) -> bool:
        """Return whether the lines are shown on a terminal."""
        return sys.stdout.isatty()


class _PipeConsole(Console):
    """A console whose reader may end, as ``head`` does."""

    def on_broken_pipe(self) -> None:
        """Raise the error, with which the command ends without a message; rich would raise `SystemExit`."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console() -> Console:
    """Return a console on standard output; lines have any width unless it is a terminal or COLUMNS is set.

    With the variable ``NO_COLOR`` nothing is bold or coloured; with ``FORCE_COLOR`` files and pipes get colours too.
    """
    has_width = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return _PipeConsole(
        file=cast("IO[str]", _AboveBars()) if hasattr(sys.stdout, "rich_proxied_file") else None,
        highlight=False,
        soft_wrap=True,
        width=None if has_width else UNLIMITED_WIDTH,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def width() -> int:
    """Return the number of characters in a line of standard output."""
    return console().width


def table(
    title: str, columns: Sequence[str | Column], rows: Iterable[Sequence[object]], has_all_columns: bool = False
) -> None:
    """Print a table; the first column is text, the others are right-aligned unless they are texts.

    If the table is wider than the terminal, long texts take several lines, and the columns of the highest rank are
    hidden, which is stated below. With ``--wide`` all columns are printed: in several parts, if they do not fit.

    Parameters
    ----------
    has_all_columns
        Whether all columns are printed without ``--wide`` too.
    """
    with printing(replace(output_settings(), wide=output_settings().wide or has_all_columns)):
        print_lines(table_lines(title, columns, list(rows)))


def table_lines(
    title: str, columns: Sequence[str | Column], rows: Sequence[Sequence[object]], max_rows: int | None = None
) -> list[Text]:
    """Return the lines of a table; beyond `max_rows`, rows are left out, which the last line states."""
    shown_rows = rows[:max_rows]
    cells = TableCells.of(columns, [[cell(value) for value in row] for row in shown_rows])
    available_width, is_wide = width(), output_settings().wide
    parts = all_columns(cells, available_width) if is_wide else [choose_columns(cells, available_width)]
    lines = text_lines(title, style="bold") if title else []
    for number, part in enumerate(parts):
        lines += [Text()] if number else []
        lines += [Text(line, "bold" if is_heading else "") for is_heading, line in draw(cells, part)]
    hidden_names = [] if is_wide else [c.name for i, c in enumerate(cells.columns) if i not in parts[0].columns]
    return [*lines, *_hidden_lines(len(rows) - len(shown_rows), hidden_names)]


def _hidden_lines(n_rows: int, columns: Sequence[str]) -> list[Text]:
    """Return a line about the rows and columns of a table that are not printed, and how to print them."""
    texts = [f"{n_rows} more {'row' if n_rows == 1 else 'rows'}: --verbose"] if n_rows else []
    if columns:
        texts.append(f"{len(columns)} more {'column' if len(columns) == 1 else 'columns'}: --wide")
    line = f"  {'; '.join(texts)}"
    line_with_columns = f"{line} ({', '.join(filter(None, columns))})" if columns else line
    return (
        text_lines(line_with_columns if cell_len(line_with_columns) <= width() else line, style="dim") if texts else []
    )


def text_lines(text: str = "", style: str = "", indent: str | None = None) -> list[Text]:
    """Return a text as lines that fit the terminal, broken between words.

    Parameters
    ----------
    indent
        Beginning of all lines but the first; by default two more spaces than the first line begins with.
    """
    safe_text = sanitise_text(text)
    spaces = " " * (len(safe_text) - len(safe_text.lstrip(" ")) + 2) if indent is None else indent
    return [Text(line, style) for line in wrap_cells(safe_text, width(), spaces)]


def labelled_lines(label: str, text: str, max_width: int = MAX_LINE_CELLS) -> list[Text]:
    """Return a text after its label as lines that are broken between words."""
    # A label that is as wide as its column is followed by a space.
    line = sanitise_text(f"{label:<{LABEL_CELLS - 1}} {text}")
    return [Text(part) for part in wrap_cells(line, min(width(), max_width), " " * LABEL_CELLS)]


def print_lines(lines: Iterable[Text]) -> None:
    """Print lines that were broken before."""
    terminal = console()
    for line in lines:
        terminal.print(line)


def cell(value: object) -> str:
    """Return a value as text for a table: four decimals, a dash for a missing value."""
    if value is None or value != value:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def say(text: str = "") -> None:
    """Print a text in lines that are broken between words; nothing with ``--quiet``."""
    if not output_settings().quiet:
        print_lines(text_lines(text))


def say_wrapped(label: str, text: str, width: int = MAX_LINE_CELLS) -> None:
    """Print a text after its label, in lines that are broken between words; nothing with ``--quiet``."""
    if not output_settings().quiet:
        print_lines(labelled_lines(label, text, width))


def show(text: str = "", indent: str | None = None) -> None:
    """Print a text that is the result of a command, with ``--quiet`` too, in lines that are broken between words."""
    print_lines(text_lines(text, indent=indent))


def result(text: str) -> None:
    """Print a line that ``--quiet`` prints too, such as the path of a file, unbroken so that it can be copied."""
    console().print(Text(sanitise_text(text)))


def run_name(run: str, label: str) -> str:
    """Return the short name of a run, with ``--wide`` the full one."""
    return run if output_settings().wide or not label else label


def limited_list(labels: Sequence[str]) -> str:
    """Return the first labels of runs as text, and how many more there are."""
    n_more = len(labels) - MAX_LABELS_SHOWN
    return ", ".join(labels[:MAX_LABELS_SHOWN]) + (f", and {n_more} more" if n_more > 0 else "")


def format_counts(counts: Mapping[str, int], limit: int = 12) -> str:
    """Return counts as text, for example ``cat 12, dog 30``."""
    texts = [f"{name} {n}" for name, n in list(counts.items())[:limit]]
    return ", ".join(texts) + (f", … ({len(counts)} in all)" if len(counts) > limit else "")


def short_name(score: str) -> str:
    """Return the name of a score for a table."""
    from featx.metrics.definitions import WEIGHTED_PREFIX

    stem = score.removeprefix(WEIGHTED_PREFIX)
    return SHORT.get(stem, stem.replace("_", " ")) + (" by weight" if stem != score else "")


def setting_text(params: Mapping[str, Any]) -> str:
    """Return a setting as text, for example ``C 0.01, scaling standard``."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )
