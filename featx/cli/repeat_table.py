"""What ``featx run --repeats`` prints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.workflow.repeats import Repeats


def repeated(found: "Sequence[Repeats]") -> None:
    """Print how runs did over other cuts of train and val, one table a target."""
    for one in found:
        metric = console.SHORT.get(one.metric, one.metric.replace("_", " "))
        rows = [
            (("* " if number == 0 else "  ") + row.run, row.mean, row.sd, row.difference, row.p)
            for number, row in enumerate(one.rows)
        ]
        title = f"{one.target}: {one.n_repeats} cuts of train and val (n {one.n_train:.0f} and {one.n_val:.0f})"
        columns = ["  run", f"val {metric}, mean", "sd", "difference", "p"]
        console.table(title, columns, rows)
        console.say("* best mean; p that a run is its equal, by the corrected resampled t-test, Holm-corrected")
