"""Finished runs as text: a table of all, and a page about one of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featx.cli import console
from featx.cli.output_settings import output_settings
from featx.cli.table_layout import Column

if TYPE_CHECKING:
    from featx.artifacts.header import Header
    from featx.predictors.description import RunDescription
    from featx.study.run_listing import RunSummary

# Scores that a list shows, the first that a run has; a page shows all.
LISTED_SCORES = ("accuracy", "average_precision", "mae")
INDENT = "    "
# Classes or labels that a page about a run names.
MAX_NAMES_SHOWN = 8
MIN_BYTES_IN_MB = 100_000


def print_runs(runs: "Sequence[RunSummary]", next_step: str) -> None:
    """Print one table of runs for each recipe or outer split: name, score, state, time and size.

    Parameters
    ----------
    runs
        The runs; ``--verbose`` prints their settings too.
    next_step
        The next command, or where runs may be if there are none.
    """
    columns: list[str | Column] = [
        "  run",
        "score",
        Column("part", 5),
        Column("state", 1, is_text=True),
        Column("finished (UTC)", 2),
    ]
    columns += [Column("size", 3), Column("time", 4)]
    for recipe in dict.fromkeys(run.recipe for run in runs):
        recipe_runs = [run for run in runs if run.recipe == recipe]
        console.table(f"{recipe}:", columns, [_run_cells(run) for run in recipe_runs])
        if output_settings().verbose:
            console.say()
            for run in recipe_runs:
                console.say(f"  {run.run}: {_settings_line(run)}")
    console.say(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}, {size_text(sum(run.n_bytes for run in runs))}")
    console.say_wrapped("next" if runs else "", next_step)
    for reason in dict.fromkeys(run.reason for run in runs if run.state == "unknown" and run.reason):
        console.say(f"the state of runs is unknown: {reason}")
    if any(run.state == "stale" for run in runs):
        console.say("stale: made for other data, labels or members; 'featx runs show NAME' names the reason")


def _run_cells(run: "RunSummary") -> tuple[str | None, ...]:
    score = next(
        (
            f"{console.short_name(name)} {_score_text(name, run.scores[name])}"
            for name in LISTED_SCORES
            if name in run.scores
        ),
        None,
    )
    is_plain = run.state == "current" or (run.state == "unknown" and not run.reason)
    return (
        f"  {console.run_name(run.run, run.label)}",
        score,
        run.part if score else None,
        "" if is_plain else run.state,
        run.finished[:16].replace("T", " "),
        size_text(run.n_bytes),
        None if run.elapsed_s is None else f"{run.elapsed_s:.1f} s",
    )


def _score_text(name: str, value: float | None) -> str:
    from featx.metrics.score_texts import ScoreFormat

    return ScoreFormat.of(name, [value]).show(value)


def size_text(n_bytes: int) -> str:
    """Return a number of bytes in kB, MB or GB."""
    from featx.embeddings.space import gigabytes

    return gigabytes(n_bytes) if n_bytes >= MIN_BYTES_IN_MB else f"{n_bytes / 1e3:.1f} kB"


def _settings_line(run: "RunSummary") -> str:
    texts = [console.setting_text(run.settings)] if run.settings else []
    texts += [f"on {run.weights}" if run.kind == "head" else f"weights {run.weights}"] if run.weights else []
    texts += [f"of {len(run.members)} runs"] if run.members else []
    texts += [f"seed {run.seed}"] if run.seed is not None else []
    return "; ".join(texts) or run.reason


def print_run(description: "RunDescription") -> None:
    """Print the page of a run: what it predicts, its settings, scores, inputs, warnings and versions."""
    run, header = description.summary, description.header
    console.show(f"{run.run}: {_describe_run(run, header)}")
    state = f"{run.state} ({run.reason})" if run.reason else run.state
    _print_facts(
        {
            "folder": run.path,
            "state": "" if state == "unknown" else state,
            "finished": run.finished[:16].replace("T", " "),
            "time": "" if run.elapsed_s is None else f"{run.elapsed_s:.1f} s",
            "size": size_text(run.n_bytes),
            "settings": console.setting_text(run.settings) if run.settings else "",
            "seed": "" if run.seed is None else str(run.seed),
            "weights": run.weights if run.kind == "network" else "",
            "members": ", ".join(run.members),
            "cost": _cost(description.cost),
            "commit": header.commit or "",
            "versions": ", ".join(f"{name} {version}" for name, version in header.versions.items()),
        }
    )
    for embedding in header.embeddings:
        spec = embedding.spec
        console.show(f"  embedding {embedding.request.name}: {embedding.n_features} features, {spec.precision}")
    if run.scores:
        console.show(f"  scores on {run.part}:")
        for name, value in run.scores.items():
            console.show(f"{INDENT}{name.replace('_', ' '):<24}{_score_text(name, value)}")
    for warning in description.warnings:
        console.show(f"  warning: {warning}")


def _describe_run(run: "RunSummary", header: "Header") -> str:
    n_more = len(header.names) - MAX_NAMES_SHOWN
    names = ", ".join(header.names[:MAX_NAMES_SHOWN]) + (f" and {n_more} more" if n_more > 0 else "")
    return f"{run.kind or header.kind} for {header.target!r}, predicts {header.prediction_kind} ({names})"


def _cost(cost: Mapping[str, int]) -> str:
    if not cost:
        return ""
    return f"{cost['n_models']} models, {cost['n_networks']} networks for each image, {size_text(cost['size_bytes'])}"


def _print_facts(facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        if value:
            console.show(f"  {name:<10}{value}", indent=" " * 12)
