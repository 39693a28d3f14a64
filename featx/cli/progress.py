"""Progress on standard error: a bar a stage, with rate and time left."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
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
from rich.text import Text

from featx.progress import Watch


class RateColumn(ProgressColumn):
    """Steps a second, or seconds a step where they are slow."""

    def render(self, task: Task) -> Text:
        """See rich."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("–")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s/step")


@contextmanager
def watching() -> Iterator[Watch]:
    """Show what is told to the yielded watch until the block ends."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=120)
    stages: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as progress:

        def watch(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in stages or progress.tasks[stages[stage]].completed > done:
                stages[stage] = progress.add_task(stage, total=total, note=note)
            progress.update(stages[stage], completed=done, note=note)

        yield watch
