"""The lines and the table that ``featx run`` prints for a recipe with outer splits."""

from typing import TYPE_CHECKING

from featx.cli import console
from featx.cli.finetune_table import duration

if TYPE_CHECKING:
    from featx.evaluation.split_summary import RunOverSplits, SplitSummary
    from featx.metrics.score_texts import ScoreFormat
    from featx.workflow.outer_splits import SplitResult, SummaryOfSplits

# Scores beside the one that runs are compared in.
SHOWN_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "rmse", "r2")


def split_text(result: "SplitResult") -> str:
    """Return the result of one outer split in a line: the chosen run of each target, its score, and the time left."""
    from featx.metrics.score_texts import ScoreFormat

    targets_text = ", ".join(
        f"{scores.chosen} {scores.rows_name} {console.short_name(scores.metric)} "
        f"{ScoreFormat.of(scores.metric, [scores.chosen_score]).show(scores.chosen_score)}"
        for scores in result.targets
    )
    time_text = f"; {duration(result.seconds)}" if result.is_new else "; already done"
    remaining_text = f", about {duration(result.left_s)} left" if result.is_new and result.left_s else ""
    return f"{result.number}/{result.n_splits} {targets_text}{time_text}{remaining_text}"


def print_split_summary(summary: "SummaryOfSplits") -> None:
    """Print the means of all runs over the outer splits, one table per target, and the path of the page about them."""
    for target in summary.targets:
        _print_target(target)
    console.result(summary.page)


def _print_target(summary: "SplitSummary") -> None:
    metric = summary.metric
    score_names = [name for name in SHOWN_SCORES if name in summary.score_names and name != metric][:2]
    columns = [
        console.Column("  run", is_text=True),
        console.Column(console.short_name(metric), 0),
        console.Column("sd", 1),
        *(console.Column(console.short_name(name), 3 + rank) for rank, name in enumerate(score_names)),
        console.Column("difference, 95 %", 2),
        console.Column("p", 6),
        console.Column("chosen in", 5),
    ]
    formats = {name: summary.score_format(name) for name in summary.score_names}
    rows = [
        [
            ("* " if number == 0 else "  ") + run.run,
            formats[metric].show(run.means.get(metric)),
            formats[metric].show(run.sds.get(metric)),
            *(formats[name].show(run.means.get(name)) for name in score_names),
            _difference_text(run, formats[metric]),
            run.p,
            run.n_chosen,
        ]
        for number, run in enumerate(summary.rows)
    ]
    title = (
        f"{summary.target}: {summary.n_splits} outer splits, {summary.rows_name} rows "
        f"(n {summary.n_train:.0f} and {summary.n_scored:.0f})"
    )
    console.table(title, columns, rows)
    console.say_wrapped(
        "",
        f"* in each split, the run with the best {summary.chosen_by}; difference to it over the same splits, with the "
        "interval and p-value (Holm) of the corrected resampled t-test",
    )


def _difference_text(run: "RunOverSplits", score_format: "ScoreFormat") -> str:
    if run.difference is None:
        return ""
    low, high = (f"{edge:+{score_format.edge}}" for edge in (run.difference_low, run.difference_high))
    return f"{run.difference:+{score_format.edge}} [{low}, {high}]"
