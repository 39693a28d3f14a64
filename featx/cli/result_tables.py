"""The table of ``featx ensemble``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console
from featx.cli.command_summary import DETAIL, Summary
from featx.cli.output_settings import with_recipe_option
from featx.cli.table_layout import Column

if TYPE_CHECKING:
    from featx.ensembles.ensemble import EnsembleResult


def votes(runs: Sequence["EnsembleResult"]) -> None:
    """Print the ensembles, one table per target, the best first."""
    with Summary() as summary:
        for target in dict.fromkeys(run.target for run in runs):
            _add_ensembles([run for run in runs if run.target == target], summary)
        summary.next_step(with_recipe_option("featx evaluate"))


def _add_ensembles(runs: Sequence["EnsembleResult"], summary: Summary) -> None:
    """Add the ensembles of one target with its best and its median member, the best first."""
    from featx.metrics.score_texts import ScoreFormat

    best = runs[0]
    metric = console.short_name(best.metric) + (" by weight" if best.weighted else "")
    score_format = ScoreFormat.of(best.metric, [run.score for run in runs])
    rows: list[tuple[object, ...]] = [
        (
            console.run_name(run.run, run.label),
            f"{len(run.members)} of {run.n_candidates}",
            score_format.show(run.score),
            "" if run.is_new else "already done",
        )
        for run in runs
    ]
    columns: list[str | Column] = ["run", Column("members", 2), Column(metric, 1), Column("state", 3, is_text=True)]
    summary.table(f"{best.target} on {best.scored_on} (n {best.n})", columns, rows)
    for name, value in (
        (f"best member, {best.best_member_label}", best.best_member_score),
        ("median member", best.median_member_score),
    ):
        summary.say(f"{name}: {metric} {score_format.show(value)}", 2)
    relation = f"{score_format.show(best.gain)} better than" if best.gain > 0 else "not better than"
    name = console.run_name(best.run, best.label)
    summary.result(f"best ensemble for {best.target}: {name}, {relation} its best member, {best.best_member_label}")
    summary.say("learned combiners are scored by cross-fitting", DETAIL - 1)
    summary.warn(_with_labels(text, runs) for text in best.warnings)
    for run in runs:
        shown_weights = [f"{name} {weight:.3f}" for name, weight in zip(run.member_labels, run.weights, strict=False)]
        summary.say("", DETAIL)
        summary.say(f"  {run.run}: {', '.join(shown_weights or run.member_labels)}", DETAIL)
        summary.say(f"    {run.explanation}", DETAIL)


def _with_labels(text: str, runs: Sequence["EnsembleResult"]) -> str:
    """Return a text about members with their short names in place of the full ones."""
    pairs = [pair for run in runs for pair in zip(run.members, run.member_labels, strict=True)]
    for name, label in sorted(pairs, key=lambda pair: -len(pair[0])):
        text = text.replace(name, console.run_name(name, label))
    return text
