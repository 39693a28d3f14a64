"""Tables of the ensembles of a target: comparison with the best member, contributions, and diversity of members."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featx.metrics.definitions import find_score
from featx.study.run_folder import RunFolder

# Number of pairs of members in the table, the most similar ones.
MAX_SHOWN_PAIRS = 15


@dataclass(frozen=True)
class EnsembleTables:
    """Tables of the ensembles of one target.

    Attributes
    ----------
    metric
        Name of the score.
    rows
        One dictionary per ensemble, the best first: the fields of its ``metrics.json``, and its name as ``run``.
    contributions
        One tuple per member: its name, and its contribution to each ensemble, None if it is no candidate there.
    pairs
        Most similar pairs of candidates of the best ensemble.
    n_pairs
        Number of all pairs.
    """

    metric: str
    rows: list[dict[str, Any]]
    contributions: list[tuple[str, list[float | None]]]
    pairs: list[dict[str, Any]]
    n_pairs: int


def build_ensemble_tables(runs: Sequence[RunFolder]) -> EnsembleTables | None:
    """Return the tables of the ensembles among some runs; None if no run is an ensemble with an explanation."""
    ensembles = [{"run": run.name, **run.metrics} for run in runs if run.is_ensemble and "why" in run.metrics]
    if not ensembles:
        return None
    metric = ensembles[0]["metric"]
    rows = [row for row in ensembles if row["metric"] == metric]
    rows.sort(key=lambda row: -find_score(metric).signed(row["score"]))
    members = dict.fromkeys(name for row in rows for name in row["contributions"])
    contributions = [(name, [row["contributions"].get(name) for row in rows]) for name in members]
    pairs = sorted(rows[0]["diversity"]["pairs"], key=_similarity, reverse=True)
    return EnsembleTables(metric, rows, contributions, pairs[:MAX_SHOWN_PAIRS], len(pairs))


def _similarity(pair: dict[str, Any]) -> float:
    """Return the share of errors that two members have in common; for numbers the correlation of their errors."""
    scores = pair["all"]
    similarity = scores["error_correlation"] if scores["shared_errors"] is None else scores["shared_errors"]
    return -1.0 if similarity is None else float(similarity)
