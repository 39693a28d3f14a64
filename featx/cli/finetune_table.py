"""The table of fine-tuned networks: epochs, losses and scores, times, and what was noticed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console
from featx.cli.command_summary import DETAIL, Summary
from featx.cli.output_settings import output_settings, with_recipe_option
from featx.cli.table_layout import Column

if TYPE_CHECKING:
    from featx.finetuning.training_run import FinetuningResult
    from featx.metrics.score_texts import ScoreFormat

# Durations from this one on are printed in minutes.
MIN_SECONDS_AS_MINUTES = 120
MONITORED_ROWS = {"holdout": "rows held out of train", "val": "val"}
# Ranks of the columns, by which columns are hidden in a narrow terminal.
VAL_SCORE, SETTING, HELD_OUT_SCORE, TRAIN_SCORE, FLAGS, BEST_EPOCH, TIME, VAL_LOSS, EPOCH_TIME = range(9)


def networks(runs: Sequence["FinetuningResult"]) -> None:
    """Print the trained networks, one table per target, the best first."""
    with Summary() as summary:
        for target in dict.fromkeys(run.target for run in runs):
            _add_networks([run for run in runs if run.target == target], summary)
        summary.next_step(f"{with_recipe_option('featx evaluate')}, or {with_recipe_option('featx ensemble')}")


def _add_networks(runs: Sequence["FinetuningResult"], summary: Summary) -> None:
    columns = _columns(runs)
    summary.table(runs[0].target, list(columns), list(zip(*columns.values(), strict=True)))
    best = runs[0]
    if best.path:
        metric = console.short_name(best.metric)
        name = console.run_name(best.run, best.label)
        value = _format_of(runs).show(best.val_score)
        summary.result(f"best network for {best.target}: {name}, {metric} {value} on val")
    summary.say(_choices(runs), DETAIL - 1)
    _add_texts(runs, summary)
    if not output_settings().wide:
        for run in runs:
            summary.say(f"  {run.label}: {run.run}", DETAIL)


def _format_of(runs: Sequence["FinetuningResult"]) -> "ScoreFormat":
    """Return the formats of the scores of all runs."""
    from featx.metrics.score_texts import ScoreFormat

    return ScoreFormat.of(runs[0].metric, [run.val_score for run in runs])


def _columns(runs: Sequence["FinetuningResult"]) -> dict[Column, list[object]]:
    """Return the values of each column."""
    from featx.study.run_settings import setting_text

    score_format = _format_of(runs)
    metric = console.short_name(runs[0].metric)
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    is_wide = output_settings().wide
    columns: dict[Column, list[object]] = {
        Column("network"): [run.run if is_wide else run.label.partition("/")[0] for run in runs]
    }
    for key in keys:
        values = [setting_text(run.settings[key]) if key in run.settings else None for run in runs]
        columns[Column(key, SETTING, is_text=True)] = list(values)
    columns[Column("best epoch", BEST_EPOCH)] = [f"{run.best_epoch} of {run.n_epochs}" for run in runs]
    columns[Column(f"train {metric}", TRAIN_SCORE)] = [score_format.show(run.train_score) for run in runs]
    columns[Column(f"held-out {metric}", HELD_OUT_SCORE)] = [score_format.show(run.held_score) for run in runs]
    columns[Column(f"val {metric}", VAL_SCORE)] = [score_format.show(run.val_score) for run in runs]
    columns[Column("val loss", VAL_LOSS)] = [run.val_loss for run in runs]
    columns[Column("time", TIME)] = [duration(run.train_s) for run in runs]
    columns[Column("per epoch", EPOCH_TIME)] = [duration(run.epoch_s) for run in runs]
    columns[Column("state", FLAGS, is_text=True)] = ["" if run.is_new else "already done" for run in runs]
    columns[Column("warnings", FLAGS, is_text=True)] = [", ".join(run.flags) for run in runs]
    return columns


def _choices(runs: Sequence["FinetuningResult"]) -> str:
    """Return the rules by which epochs were chosen, as text."""
    rules = [
        "the last weights are kept, because no rows are held out"
        if run.monitor == "none"
        else f"best epoch by the {run.chosen_by.replace('_', ' ')} on {MONITORED_ROWS[run.monitor]}"
        for run in runs
    ]
    return "; ".join(dict.fromkeys(rules))


def _add_texts(runs: Sequence["FinetuningResult"], summary: Summary) -> None:
    """Add warnings and notes, each once, with the labels of the runs that have it."""
    labels_by_text: dict[str, list[str]] = {}
    for run in runs:
        for text in [*run.warnings, *run.notes]:
            labels_by_text.setdefault(text, []).append(run.label)
    for text, labels in labels_by_text.items():
        runs_text = "all runs" if len(labels) == len(runs) > 1 else console.limited_list(labels)
        summary.say(f"  {runs_text}: {text}", 2)


def duration(seconds: float) -> str | None:
    """Return a duration as text: in minutes from two minutes on, else in seconds; None if it is not known."""
    if seconds != seconds:
        return None
    return f"{seconds / 60:.1f} min" if seconds >= MIN_SECONDS_AS_MINUTES else f"{seconds:.1f} s"
