"""What the page says of votes: what they do against their best member, and how alike their members are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featx.metrics.definitions import LESS_IS_BETTER
from featx.study.run_folder import RunFolder

MOST_PAIRS = 15  # shown, those that are alike most first


@dataclass(frozen=True)
class Votes:
    """The votes of one target.

    Attributes
    ----------
    metric
        Of the scores.
    rows
        One a vote, the best first: run, score, and all that its ``metrics.json`` says of it.
    contributions
        One row a member: its name, and for each vote what it adds, None where it is no candidate.
    pairs
        Of the best vote's candidates.
    n_pairs
        How many there are.
    """

    metric: str
    rows: list[dict[str, Any]]
    contributions: list[tuple[str, list[float | None]]]
    pairs: list[dict[str, Any]]
    n_pairs: int


def votes_of(runs: Sequence[RunFolder]) -> Votes | None:
    """Gather the votes among runs; None where there is none, older ones, which do not explain themselves, left out."""
    found = [{"run": run.name, **run.metrics} for run in runs if run.is_ensemble and "why" in run.metrics]
    if not found:
        return None
    metric = found[0]["metric"]
    rows = [row for row in found if row["metric"] == metric]
    rows.sort(key=lambda row: row["score"] if metric in LESS_IS_BETTER else -row["score"])
    members = dict.fromkeys(name for row in rows for name in row["contributions"])
    adds = [(name, [row["contributions"].get(name) for row in rows]) for name in members]
    pairs = sorted(rows[0]["diversity"]["pairs"], key=_alike, reverse=True)
    return Votes(metric, rows, adds, pairs[:MOST_PAIRS], len(pairs))


def _alike(pair: dict[str, Any]) -> float:
    whole = pair["all"]
    known = whole["error_correlation"] if whole["shared_errors"] is None else whole["shared_errors"]
    return -1.0 if known is None else float(known)
