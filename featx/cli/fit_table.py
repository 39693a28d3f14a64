"""Fitted heads as tables and sentences on standard output."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featx.cli import console

if TYPE_CHECKING:
    from featx.heads.budget import SkippedHead
    from featx.heads.fit import FitResult


def fits(runs: Sequence["FitResult"], skipped: Sequence["SkippedHead"] = ()) -> None:
    """Print the fitted heads, one table per target, and the heads that a budget left no time for."""
    for target in dict.fromkeys(run.target for run in runs):
        _fits([run for run in runs if run.target == target])
    for head in skipped:
        console.say(f"not fitted: {head.target}: {head.reason}")


def summary(runs: Sequence["FitResult"], skipped: Sequence["SkippedHead"]) -> dict[str, Any]:
    """Return the fitted heads as one JSON object."""
    best = max(runs, key=_merit)
    return {
        "runs": console.plain(runs),
        "best_run": best.run,
        "accuracy": best.oof_accuracy,
        "val_accuracy": best.val_accuracy,
        "search_s": sum(run.search_s for run in runs if run.is_new),
        "train_s": sum(run.train_s for run in runs if run.is_new),
        "skipped": console.plain(skipped),
    }


def _merit(run: "FitResult") -> float:
    """Return the score used to compare runs; greater is better."""
    value = run.oof_score if run.val_score is None else run.val_score
    # A head without out-of-fold predictions has a val part.
    assert value is not None
    return -value if run.score == "mae" else value


def _fits(runs: Sequence["FitResult"]) -> None:
    from featx.metrics.definitions import find_score

    rows = [
        (
            run.run,
            run.n_trials,
            None if run.cv_score is None else find_score(run.metric).signed(run.cv_score),
            run.val_score,
            run.search_s,
            run.train_s,
            ", ".join([*run.flags, *([] if run.is_new else ["already done"])]),
        )
        for run in runs
    ]
    metrics = " / ".join(dict.fromkeys(run.metric for run in runs))
    shown = " / ".join(dict.fromkeys(console.SHORT.get(run.score, run.score.replace("_", " ")) for run in runs))
    console.table("", ["run", "trials", f"cv {metrics}", f"val {shown}", "search s", "train s", ""], rows)
    for run in runs:
        calibrated = f"; probabilities by {run.calibration}" if run.calibration != "none" else ""
        setting = console.setting_text(run.params) or "the defaults of the estimator"
        console.say(f"  {run.run}: {setting}{calibrated}")
        if run.refit_of is not None:
            console.say(f"    {run.warnings[0]}")
            continue
        searched = ", ".join(map(_range_text, run.space, run.space.values())) or "nothing"
        console.say(f"    searched: {searched}")
        if run.trees is not None and run.trees.max_trees is not None:
            n_trees = len(run.trees.train_loss)
            console.say(f"    early stopping: {n_trees} of at most {run.trees.max_trees} trees")
        if run.importances:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in run.importances.items())
            console.say(f"    importance of parameters (share of the variance between trials): {shares}")
        for text in run.warnings:
            console.say(f"    {text}")


def _range_text(name: str, values_of_parameter: Mapping[str, Any]) -> str:
    """Return the searched range of a parameter as text."""
    if "low" in values_of_parameter:
        return f"{name} {values_of_parameter['low']:.4g} to {values_of_parameter['high']:.4g}"
    if "choices" in values_of_parameter:
        return f"{name} {' | '.join(map(str, values_of_parameter['choices']))}"
    values = values_of_parameter["values"]
    return f"{name} {values[0]:.4g} to {values[-1]:.4g} in every trial"
