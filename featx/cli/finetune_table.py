"""The table of fine-tuned networks: epochs, losses and scores, times, and what was noticed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.finetuning.training_run import FinetuningResult

# Durations from this one on are printed in minutes.
MIN_SECONDS_AS_MINUTES = 120
MONITORED_ROWS = {"holdout": "rows held out of train", "val": "val"}


def networks(runs: Sequence["FinetuningResult"]) -> None:
    """Print the trained networks, one table per target, the best first."""
    for target in dict.fromkeys(run.target for run in runs):
        _networks([run for run in runs if run.target == target])


def _networks(runs: Sequence["FinetuningResult"]) -> None:
    columns = _columns(runs)
    console.say()
    if _width(columns) <= console.width():
        console.table(runs[0].target, list(columns), list(zip(*columns.values(), strict=True)))
    else:
        _print_narrow(runs[0].target, _columns(runs, is_narrow=True))
    if runs[0].path:
        console.say(f"best: {runs[0].run}")
    console.say(_choices(runs))
    _print_texts(runs)


def _columns(runs: Sequence["FinetuningResult"], is_narrow: bool = False) -> dict[str, list[object]]:
    """Return the columns that have values, by title; a narrow table has no losses."""
    from featx.study.run_settings import setting_text

    metric = console.SHORT.get(runs[0].metric, runs[0].metric)
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    columns: dict[str, list[object]] = {"network": [run.label.partition(" (")[0] for run in runs]}
    for key in keys:
        columns[key] = [setting_text(run.settings[key]) if key in run.settings else None for run in runs]
    columns["best epoch"] = [f"{run.best_epoch}{'/' if is_narrow else ' of '}{run.n_epochs}" for run in runs]
    columns[f"train {metric}"] = [run.train_score for run in runs]
    columns[f"held-out {metric}"] = [run.held_score for run in runs]
    columns[f"val {metric}"] = [run.val_score for run in runs]
    if not is_narrow:
        columns["val loss"] = [run.val_loss for run in runs]
    columns["time"] = [duration(run.train_s) for run in runs]
    columns["per epoch"] = [duration(run.epoch_s) for run in runs]
    columns[""] = [_marks(run) for run in runs]
    return {
        title: values
        for title, values in columns.items()
        if any(console.cell(value) not in {"–", ""} for value in values)
    }


def _marks(run: "FinetuningResult") -> str:
    """Return the flags of a run, and whether it existed already."""
    return ", ".join([*run.flags, *([] if run.is_new else ["already done"])])


def _print_narrow(title: str, columns: Mapping[str, Sequence[object]]) -> None:
    """Print a table whose titles take two lines."""
    words = [name.partition(" ") for name in columns]
    rows: list[Sequence[object]] = [[second for _, _, second in words], *zip(*columns.values(), strict=True)]
    console.table(title, [first for first, _, _ in words], rows)


def _width(columns: Mapping[str, Sequence[object]]) -> int:
    """Return the width of a table with these columns by title."""
    widths = [max(len(console.cell(value)) for value in (title, *values)) for title, values in columns.items()]
    return sum(widths) + console.COLUMN_GAP * (len(widths) - 1)


def _choices(runs: Sequence["FinetuningResult"]) -> str:
    """Return the rules by which epochs were chosen, as text."""
    rules = [
        "the last weights are kept, because no rows are held out"
        if run.monitor == "none"
        else f"best epoch by the {run.chosen_by.replace('_', ' ')} on {MONITORED_ROWS[run.monitor]}"
        for run in runs
    ]
    return "; ".join(dict.fromkeys(rules))


def _print_texts(runs: Sequence["FinetuningResult"]) -> None:
    """Print warnings and notes, each once, with the labels of the runs that have it."""
    labels_by_text: dict[str, list[str]] = {}
    for run in runs:
        for text in [*run.warnings, *run.notes]:
            labels_by_text.setdefault(text, []).append(run.label)
    for text, labels in labels_by_text.items():
        where = "all runs" if len(labels) == len(runs) > 1 else console.limited_list(labels)
        console.say(f"  {where}: {text}")


def duration(seconds: float) -> str | None:
    """Return a duration as text: in minutes from two minutes on, else in seconds; None if it is not known."""
    if seconds != seconds:
        return None
    return f"{seconds / 60:.1f} min" if seconds >= MIN_SECONDS_AS_MINUTES else f"{seconds:.1f} s"
