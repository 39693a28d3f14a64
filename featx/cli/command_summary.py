"""Summaries of commands: at most 12 lines, of which the most important ones stay, and details on request."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.text import Text

from featx.cli import console
from featx.cli.output_settings import output_settings
from featx.cli.table_layout import Column

MAX_SUMMARY_LINES = 12
# Rows of a table, and lines of it where names take several.
MAX_TABLE_ROWS, MAX_TABLE_LINES = 4, 8
# Rank of what `--verbose` alone prints, and of warnings, which give way only to the result and to the next step.
DETAIL, WARNING = 9, 1
# Space before the second of two commands.
_CONJUNCTION = re.compile(r"(?<=[,;]) (?=or |then |when |which )")


@dataclass(frozen=True)
class _Paragraph:
    """Lines that are printed or left out together.

    Attributes
    ----------
    lines
        The lines.
    rank
        Importance: paragraphs of the highest rank are left out first; 0 for those that stay.
    is_result
        Whether ``--quiet`` prints the lines too.
    """

    lines: list[Text]
    rank: int
    is_result: bool = False


class Summary:
    """The summary of a command, which is printed when the block ends without an error.

    Parameters
    ----------
    max_lines
        Number of lines, if ``--verbose`` is not given.
    """

    def __init__(self, max_lines: int = MAX_SUMMARY_LINES) -> None:
        self._max_lines = max_lines
        self._paragraphs: list[_Paragraph] = []
        self._next: list[Text] = []

    def __enter__(self) -> Self:
        """Return this summary."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        """Print the summary."""
        if kind is None:
            self.show()

    def say(self, text: str, rank: int = 0, label: str | None = None) -> None:
        """Add a text, after a label if there is one."""
        lines = console.text_lines(text) if label is None else console.labelled_lines(label, text)
        self._paragraphs.append(_Paragraph(lines, rank))

    def warn(self, texts: Iterable[str]) -> None:
        """Add warnings, the same text once."""
        for text in dict.fromkeys(texts):
            self.say(f"warning: {text}", WARNING)

    def table(
        self, title: str, columns: Sequence[str | Column], rows: Sequence[Sequence[object]], rank: int = 0
    ) -> None:
        """Add a table, of which the first rows are printed if ``--verbose`` is not given."""
        settings = output_settings()
        max_rows = len(rows) if settings.verbose else MAX_TABLE_ROWS
        lines = console.table_lines(title, columns, rows, max_rows)
        while not (settings.verbose or settings.wide) and max_rows > 1 and len(lines) > MAX_TABLE_LINES:
            max_rows -= 1
            lines = console.table_lines(title, columns, rows, max_rows)
        self._paragraphs.append(_Paragraph(lines, rank))

    def result(self, text: str) -> None:
        """Add a line that ``--quiet`` prints too."""
        self._paragraphs.append(_Paragraph(console.text_lines(text), 0, is_result=True))

    def next_step(self, text: str) -> None:
        """Add the command to type next; of several commands, each has a line of its own if one line is too short."""
        self._next = console.labelled_lines("next", text)
        if len(self._next) > 1:
            first_step, *later_steps = _CONJUNCTION.split(text)
            lines = [
                console.labelled_lines("next", first_step),
                *(console.labelled_lines("", step) for step in later_steps),
            ]
            self._next = [line for part in lines for line in part]

    def show(self) -> None:
        """Print the lines that the options of the command ask for."""
        settings = output_settings()
        if settings.quiet:
            paragraphs = [paragraph for paragraph in self._paragraphs if paragraph.is_result]
        else:
            paragraphs = self._paragraphs if settings.verbose else self._most_important()
        console.print_lines(line for paragraph in paragraphs for line in paragraph.lines)
        if settings.quiet:
            return
        n_left_out = sum(len(item.lines) for item in self._paragraphs) - sum(len(item.lines) for item in paragraphs)
        if n_left_out and not _mentions_verbose(paragraphs):
            console.say(f"{n_left_out} more {'line' if n_left_out == 1 else 'lines'}: --verbose")
        console.print_lines(self._next)

    def _most_important(self) -> list[_Paragraph]:
        """Return the paragraphs in order, without those of the highest rank that take too many lines."""
        paragraphs = [paragraph for paragraph in self._paragraphs if paragraph.rank < DETAIL]
        while any(item.rank for item in paragraphs) and self._n_lines(paragraphs) > self._max_lines:
            highest_rank = max(item.rank for item in paragraphs)
            last_position = max(i for i, item in enumerate(paragraphs) if item.rank == highest_rank)
            del paragraphs[last_position]
        return paragraphs

    def _n_lines(self, paragraphs: Sequence[_Paragraph]) -> int:
        """Return the number of lines, with that about lines that are left out and that about the next step."""
        n_lines = sum(len(item.lines) for item in paragraphs) + len(self._next)
        return n_lines + (len(paragraphs) < len(self._paragraphs) and not _mentions_verbose(paragraphs))


def _mentions_verbose(paragraphs: Sequence[_Paragraph]) -> bool:
    """Return whether a line says already that ``--verbose`` prints more."""
    return any("--verbose" in line.plain for item in paragraphs for line in item.lines)
