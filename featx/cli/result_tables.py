"""The tables of ``featx finetune`` and ``featx ensemble``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from featx.cli import console

if TYPE_CHECKING:
    from featx.ensembles.ensemble import EnsembleResult
    from featx.finetuning.training_run import FinetuningResult


def networks(runs: Sequence["FinetuningResult"]) -> None:
    """Print the trained networks, one table per target, the best first."""
    for target in dict.fromkeys(run.target for run in runs):
        _networks([run for run in runs if run.target == target])


def _networks(runs: Sequence["FinetuningResult"]) -> None:
    from featx.study.run_settings import setting_text as value_text

    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    rows = [
        (
            run.label.partition(" (")[0],
            *(value_text(run.settings[key]) if key in run.settings else None for key in keys),
            f"{run.best_epoch} of {run.n_epochs}",
            run.held_loss,
            run.val_score,
            f"{run.train_s:.1f}",
            ", ".join([*run.flags, *([] if run.is_new else ["already done"])]),
        )
        for run in runs
    ]
    metric = console.SHORT.get(runs[0].metric, runs[0].metric)
    console.say()
    console.table(runs[0].target, ["network", *keys, "best epoch", "held-out loss", f"val {metric}", "s", ""], rows)
    if runs[0].path:
        console.say(f"best: {runs[0].run}")
    _texts_of_runs({run.label: [*run.warnings, *run.notes] for run in runs})


def _texts_of_runs(texts: Mapping[str, Sequence[str]]) -> None:
    """Print warnings and notes, each once with the labels of the runs that have it."""
    labels_by_text: dict[str, list[str]] = {}
    for label, run_texts in texts.items():
        for text in run_texts:
            labels_by_text.setdefault(text, []).append(label)
    for text, labels in labels_by_text.items():
        if len(labels) == len(texts) > 1:
            console.say(f"  all runs: {text}")
        else:
            console.say(f"  {console.limited_list(labels)}: {text}")


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
