"""The table that ``featx run --repeats`` prints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.workflow.repeats import Repeats


def repeated(targets: "Sequence[Repeats]") -> None:
    """Print the scores of runs over repeated train/val splits, one table per target."""
    from featx.metrics.score_texts import ScoreFormat

    for target in targets:
        score_format = ScoreFormat.of(target.metric, [row.mean for row in target.rows])
        metric = console.short_name(target.metric)
        rows = [
            (
                ("* " if number == 0 else "  ") + row.run,
                *map(score_format.show, (row.mean, row.sd, row.difference)),
                row.p,
            )
            for number, row in enumerate(target.rows)
        ]
        title = f"{target.target}: {target.n_repeats} train/val splits (n {target.n_train:.0f} and {target.n_val:.0f})"
        columns = ["  run", f"val {metric}, mean", "sd", "difference", "p"]
        console.say()
        console.table(title, columns, rows)
        console.say("* best mean score; p: corrected resampled t-test against it, Holm-corrected for all pairs")
