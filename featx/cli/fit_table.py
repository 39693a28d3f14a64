"""Fitted heads as tables and sentences on standard output."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featx.cli import console
from featx.cli.command_summary import DETAIL, Summary
from featx.cli.output_settings import with_recipe_option
from featx.cli.table_layout import Column

if TYPE_CHECKING:
    from featx.heads.budget import SkippedHead
    from featx.heads.fit import FitResult

# Whether a run existed already, and its warnings in a few words.
NOTE_COLUMNS = (Column("state", 3, is_text=True), Column("warnings", 7, is_text=True))


def fits(runs: Sequence["FitResult"], skipped_heads: Sequence["SkippedHead"] = ()) -> None:
    """Print the fitted heads, one table per target, and the heads that a budget left no time for."""
    targets = dict.fromkeys(run.target for run in runs)
    with Summary() as summary:
        for target in targets:
            _add_fits([run for run in runs if run.target == target], summary)
        for head in skipped_heads:
            summary.say(f"not fitted: {head.target}: {head.reason}", 1)
        if any(run.refit_of is None for run in runs):
            summary.next_step(f"{with_recipe_option('featx ensemble')}, or {with_recipe_option('featx evaluate')}")


def summary(runs: Sequence["FitResult"], skipped_heads: Sequence["SkippedHead"]) -> dict[str, Any]:
    """Return the fitted heads as one JSON object."""
    best = max(runs, key=_signed_score)
    return {
        "runs": console.plain(runs),
        "best_run": best.run,
        "accuracy": best.oof_accuracy,
        "val_accuracy": best.val_accuracy,
        "search_s": sum(run.search_s for run in runs if run.is_new),
        "train_s": sum(run.train_s for run in runs if run.is_new),
        "skipped": console.plain(skipped_heads),
    }


def _signed_score(run: "FitResult") -> float:
    """Return the score used to compare runs; greater is better."""
    from featx.metrics.definitions import find_score

    value = run.oof_score if run.val_score is None else run.val_score
    # A head without out-of-fold predictions has a val part.
    assert value is not None
    return find_score(run.score).sort_key(value)


def _add_fits(runs: Sequence["FitResult"], summary: Summary) -> None:
    """Add the heads of one target, the best first."""
    from featx.metrics.definitions import find_score
    from featx.metrics.score_texts import ScoreFormat

    sorted_runs = sorted(runs, key=lambda run: -_signed_score(run))
    score_format = ScoreFormat.of(runs[0].score, [value for run in runs for value in (run.val_score, run.oof_score)])
    rows = [
        (
            console.run_name(run.run, run.label),
            score_format.show(run.val_score),
            ScoreFormat.of(run.metric, [run.cv_score]).show(
                None if run.cv_score is None else find_score(run.metric).signed(run.cv_score)
            ),
            run.n_trials,
            f"{run.search_s:.1f}",
            f"{run.train_s:.1f}",
            "" if run.is_new else "already done",
            ", ".join(run.flags),
        )
        for run in sorted_runs
    ]
    metrics = " / ".join(dict.fromkeys(console.short_name(run.metric) for run in runs))
    score_text = " / ".join(dict.fromkeys(console.short_name(run.score) for run in runs))
    columns: list[str | Column] = [
        "run",
        Column(f"val {score_text}"),
        f"cv {metrics}",
        Column("trials", 4),
        Column("search s", 5),
    ]
    summary.table(runs[0].target, [*columns, Column("train s", 6), *NOTE_COLUMNS], rows)
    best = sorted_runs[0]
    value, part = (best.oof_score, "out of fold") if best.val_score is None else (best.val_score, "on val")
    name = console.run_name(best.run, best.label)
    summary.result(f"best head for {best.target}: {name}, {score_text} {score_format.show(value)} {part}")
    summary.warn(text for run in runs if run.refit_of is None for text in run.warnings)
    for run in runs:
        _add_details(run, summary)


def _add_details(run: "FitResult", summary: Summary) -> None:
    """Add the setting of a head, and what its search tried."""
    calibrated = f"; probabilities by {run.calibration}" if run.calibration != "none" else ""
    setting = console.setting_text(run.params) or "the defaults of the estimator"
    summary.say(f"  {run.run}: {setting}{calibrated}", DETAIL)
    if run.refit_of is not None:
        summary.say(f"    {run.warnings[0]}", 1)
        return
    ranges_text = ", ".join(map(_range_text, run.space, run.space.values())) or "nothing"
    summary.say(f"    searched: {ranges_text}", DETAIL)
    if run.trees is not None and run.trees.max_trees is not None:
        n_trees = len(run.trees.train_loss)
        summary.say(f"    early stopping: {n_trees} of at most {run.trees.max_trees} trees", DETAIL)
    if run.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in run.importances.items())
        summary.say(f"    importance of parameters (share of the variance between trials): {shares}", DETAIL)


def _range_text(name: str, values_of_parameter: Mapping[str, Any]) -> str:
    """Return the searched range of a parameter as text."""
    if "low" in values_of_parameter:
        return f"{name} {values_of_parameter['low']:.4g} to {values_of_parameter['high']:.4g}"
    if "choices" in values_of_parameter:
        return f"{name} {' | '.join(map(str, values_of_parameter['choices']))}"
    values = values_of_parameter["values"]
    return f"{name} {values[0]:.4g} to {values[-1]:.4g} in every trial"
