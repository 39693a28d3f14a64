"""Progress on standard error: one bar for each stage, with rate and remaining time."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from featx.cli.output_settings import output_settings
from featx.cli.progress_lines import ProgressLines
from featx.cli.text import as_text
from featx.progress import NOTE_STAGE, ProgressCallback, no_progress
from featx.text.sanitising import sanitise_text

# Separates the news of a search from the text beside its bar.
NEWS_END = " · "
N_NEWS_SHOWN = 8
REFRESHED_PER_S = 8
# Width of the terminal from which on the note of a stage has room beside its bar, rate and remaining time.
MIN_CELLS_WITH_NOTES = 110


class RateColumn(ProgressColumn):
    """A column with steps per second, or seconds per step if a step takes longer than a second."""

    def render(self, task: Task) -> Text:
        """Return the rate of a task as text."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("–")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s/step")


class ProgressDisplay:
    """The progress display: one bar for each stage, and below them the latest news of a search.

    Parameters
    ----------
    console
        The console to draw on. News are shown on a terminal only.
    """

    def __init__(self, console: Console) -> None:
        self._has_note_column = console.width >= MIN_CELLS_WITH_NOTES
        self._note = ("", "")
        note = TextColumn(
            "{task.fields[note]}", style="dim", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
        )
        columns = (
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            RateColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            *([note] if self._has_note_column else []),
        )
        self._bars = Progress(*columns, console=console)
        self._stages: dict[str, TaskID] = {}
        self._news: deque[tuple[str, str]] | None = deque(maxlen=N_NEWS_SHOWN) if console.is_terminal else None

    def __rich__(self) -> Group:
        """Return the bars and the news as one renderable."""
        news_table = Table(box=None, pad_edge=False, show_header=False, style="dim")
        lines = [*(self._news or ()), *([self._note] if self._note[1] else [])]
        for line in lines:
            news_table.add_row(*map(as_text, line))
        return Group(self._bars, news_table) if lines else Group(self._bars)

    def progress(self, stage: str, n_done: int, total: int, note: str = "") -> None:
        """Update the bar of a stage (a `featx.progress.ProgressCallback`); the first part of a note is news."""
        if stage == NOTE_STAGE:
            self._bars.console.print(as_text(note))
            return
        *news, message = note.split(NEWS_END)
        if stage not in self._stages or self._bars.tasks[self._stages[stage]].completed > n_done:
            self._stages[stage] = self._bars.add_task(sanitise_text(stage), total=total, note=sanitise_text(message))
        self._bars.update(self._stages[stage], completed=n_done, total=total, note=sanitise_text(message))
        if not self._has_note_column:
            self._note = (f"  {stage}", message)
        if news and self._news is not None:
            self._news.append((f"  {stage}", news[0]))

    def done_line(self, seconds: float) -> str:
        """Return all finished stages as one line; empty if there were none."""
        tasks = [task for task in self._bars.tasks if task.completed]
        if not tasks:
            return ""
        if len(tasks) == 1:
            return f"{tasks[0].description} {tasks[0].completed:.0f}/{tasks[0].total:.0f} in {seconds:.1f} s"
        return f"{len(tasks)} steps in {seconds:.1f} s; last step: {tasks[-1].description}"


@contextmanager
def watching() -> Iterator[ProgressCallback]:
    """Display the progress that the yielded callback receives until the block ends; then one line of it is left.

    Where standard error is no terminal, lines are printed now and then instead; with ``--quiet`` there is nothing.
    """
    console = Console(stderr=True, color_system=None if os.environ.get("NO_COLOR") else "auto")
    if output_settings().quiet or not sys.stderr.isatty():
        yield no_progress if output_settings().quiet else ProgressLines().progress
        return
    screen = ProgressDisplay(console)
    start = time.monotonic()
    # Lines on standard output are moved above the bars only if they are on the same terminal.
    with Live(
        screen,
        console=console,
        refresh_per_second=REFRESHED_PER_S,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ):
        yield screen.progress
    if line := screen.done_line(time.monotonic() - start):
        console.print(as_text(line, "dim"))
