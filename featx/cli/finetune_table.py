"""The table of fine-tuned networks: epochs, losses and scores, times, and what was noticed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.finetuning.training_run import FinetuningResult

# Number of characters between two columns of a table.
COLUMN_GAP = 2
# Durations from this one on are printed in minutes.
MIN_SECONDS_AS_MINUTES = 120
MAX_RUNS_NAMED = 4
MONITORED_ROWS = {"holdout": "rows held out of train", "val": "val"}


def networks(runs: Sequence["FinetuningResult"]) -> None:
    """Print the trained networks, one table per target, the best first."""
    for target in dict.fromkeys(run.target for run in runs):
        _networks([run for run in runs if run.target == target])


def _networks(runs: Sequence["FinetuningResult"]) -> None:
    names = [run.run for run in runs]
    columns: dict[str, Sequence[object]] = {"network": names, **_columns(runs), "": [_marks(run) for run in runs]}
    has_names = _width(columns) <= console.width()
    labels = names if has_names else [str(number) for number in range(1, len(runs) + 1)]
    console.say()
    if has_names:
        console.table(runs[0].target, list(columns), list(zip(*columns.values(), strict=True)))
    else:
        _print_narrow(runs[0].target, {"": labels, **_columns(runs, is_narrow=True)})
    console.say(_choices(runs))
    if not has_names:
        for label, run in zip(labels, runs, strict=True):
            marks = f" ({_marks(run)})" if _marks(run) else ""
            console.say(f"  {label}: {run.run}{marks}")
    _print_texts(labels, runs)


def _columns(runs: Sequence["FinetuningResult"], is_narrow: bool = False) -> dict[str, list[object]]:
    """Return the columns that have values, by title; a narrow table has no losses."""
    metric = console.SHORT.get(runs[0].metric, runs[0].metric)
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    columns: dict[str, list[object]] = {key: [run.settings.get(key) for run in runs] for key in keys}
    columns["best epoch"] = [f"{run.best_epoch}{'/' if is_narrow else ' of '}{run.n_epochs}" for run in runs]
    columns[f"train {metric}"] = [run.train_score for run in runs]
    columns[f"held-out {metric}"] = [run.held_score for run in runs]
    columns[f"val {metric}"] = [run.val_score for run in runs]
    if not is_narrow:
        columns["val loss"] = [run.val_loss for run in runs]
    columns["time"] = [duration(run.train_s) for run in runs]
    columns["per epoch"] = [duration(run.epoch_s) for run in runs]
    return {title: values for title, values in columns.items() if any(console.cell(value) != "–" for value in values)}


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
    return sum(widths) + COLUMN_GAP * (len(widths) - 1)


def _choices(runs: Sequence["FinetuningResult"]) -> str:
    """Return the rules by which epochs were chosen, as text."""
    rules = [
        "the last weights are kept, because no rows are held out"
        if run.monitor == "none"
        else f"best epoch by the {run.chosen_by.replace('_', ' ')} on {MONITORED_ROWS[run.monitor]}"
        for run in runs
    ]
    return "; ".join(dict.fromkeys(rules))


def _print_texts(labels: Sequence[str], runs: Sequence["FinetuningResult"]) -> None:
    """Print warnings and notes, each once, with the runs that have it."""
    labels_by_text: dict[str, list[str]] = {}
    for label, run in zip(labels, runs, strict=True):
        for text in [*run.warnings, *run.notes]:
            labels_by_text.setdefault(text, []).append(label)
    for text, owners in labels_by_text.items():
        if len(owners) == len(runs) > 1:
            where = f"all {len(runs)} networks"
        elif len(owners) > MAX_RUNS_NAMED:
            where = f"{len(owners)} of {len(runs)} networks"
        else:
            where = ", ".join(owners)
        console.say(f"  {where}: {text}")


def duration(seconds: float) -> str | None:
    """Return a duration as text: in minutes from two minutes on, else in seconds; None if it is not known."""
    if seconds != seconds:
        return None
    return f"{seconds / 60:.1f} min" if seconds >= MIN_SECONDS_AS_MINUTES else f"{seconds:.1f} s"
