"""Runs beside the best of them, as people read it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import show

if TYPE_CHECKING:
    from featx.evaluation.evaluate import Evaluation, Row


def standings(found: "Evaluation", title: str) -> None:
    """Print each run with its score, its difference to the chosen one, and its cost; then what that comes to."""
    name = show.SHORT.get(found.score, found.score.replace("_", " "))
    columns = ["  run", f"{name} (95 %)", "to the best (95 %)", "p", "fit s", "images/s", "MB", ""]
    show.table(title, columns, [_line(row, found) for row in found.rows])
    show.say(f"  p: {found.test}, after Holm's correction for {len(found.rows) - 1} comparisons")
    show.say(f"  {found.verdict}")


def _line(row: "Row", found: "Evaluation") -> tuple[str | None, ...]:
    value = row.scores.get(found.score)
    marks = [*(["tied"] if row.is_tied and row.run != found.chosen else []), *row.marks]
    return (
        ("* " if row.run == found.chosen else "  ") + row.run,
        None if value is None else f"{show.cell(value)} ({span(row.intervals.get(found.score))})",
        None
        if row.difference is None
        else f"{row.difference:+.4f} ({span((row.difference_low, row.difference_high))})",
        None if row.p_holm is None else f"{row.p_holm:.2g}" if row.p_holm >= 0.001 else "<.001",
        None if row.fit_s is None else f"{row.fit_s:.1f}",
        None if row.images_per_s is None else f"{row.images_per_s:.3g}",
        None if row.n_bytes is None else f"{row.n_bytes / 1e6:.1f}",
        ", ".join(marks),
    )


def span(edges: Sequence[float | None] | None) -> str:
    """Write an interval; a dash for what there is not."""
    if not edges or None in edges:
        return "–"
    return " … ".join(f"{edge:.3f}" for edge in edges if edge is not None)
