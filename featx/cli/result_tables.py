"""The table of ``featx ensemble``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.ensembles.ensemble import EnsembleResult


def votes(runs: Sequence["EnsembleResult"]) -> None:
    """Print the ensembles, one table per target, the best first."""
    for target in dict.fromkeys(run.target for run in runs):
        _votes([run for run in runs if run.target == target])


def _votes(runs: Sequence["EnsembleResult"]) -> None:
    best = runs[0]
    metric = console.SHORT.get(best.metric, best.metric.replace("_", " ")) + (" by weight" if best.weighted else "")
    rows: list[tuple[object, ...]] = [
        (run.label, f"{len(run.members)} of {run.n_candidates}", run.score, "" if run.is_new else "already done")
        for run in runs
    ]
    rows += [
        (f"best member, {best.best_member_label}", None, best.best_member_score, ""),
        ("median member", None, best.median_member_score, ""),
    ]
    console.say()
    console.table(f"{best.target} on {best.scored_on} (n {best.n})", ["run", "members", metric, ""], rows)
    relation = f"{best.gain:.4f} better than" if best.gain > 0 else "not better than"
    console.say(f"best: {best.run}, {relation} its best member; learned combiners are scored by cross-fitting")
    for text in best.warnings:
        console.say(f"warning: {text}")
    for run in runs:
        shown_weights = [f"{name} {weight:.3f}" for name, weight in zip(run.member_labels, run.weights, strict=False)]
        console.say()
        console.say(f"  {run.run}: {', '.join(shown_weights or run.member_labels)}")
        console.say(f"    {run.explanation}")
