"""Tables of the ensembles of a target: comparison with the best member, contributions, and diversity of members."""

from collections.abc import Sequence
from dataclasses import dataclass

from featx.metrics.definitions import find_score
from featx.study.ensemble_metrics import EnsembleMetrics, MemberPair
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
        Name and metrics of each ensemble, the best first.
    contributions
        One tuple per member: its name, and its contribution to each ensemble, None if it is no candidate there.
    pairs
        Most similar pairs of candidates of the best ensemble.
    n_pairs
        Number of all pairs.
    """

    metric: str
    rows: list[tuple[str, EnsembleMetrics]]
    contributions: list[tuple[str, list[float | None]]]
    pairs: list[MemberPair]
    n_pairs: int


def build_ensemble_tables(runs: Sequence[RunFolder]) -> EnsembleTables | None:
    """Return the tables of the ensembles among some runs; None if no run is an ensemble."""
    ensembles = [(run.name, metrics) for run in runs if isinstance(metrics := run.metrics, EnsembleMetrics)]
    if not ensembles:
        return None
    metric = ensembles[0][1].metric
    rows = [(name, metrics) for name, metrics in ensembles if metrics.metric == metric]
    rows.sort(key=lambda row: -find_score(metric).signed(row[1].score))
    members = dict.fromkeys(name for _, metrics in rows for name in metrics.contributions)
    contributions = [(name, [metrics.contributions.get(name) for _, metrics in rows]) for name in members]
    pairs = sorted(rows[0][1].diversity.pairs, key=_similarity, reverse=True)
    return EnsembleTables(metric, rows, contributions, pairs[:MAX_SHOWN_PAIRS], len(pairs))


def _similarity(pair: MemberPair) -> float:
    similarity = pair.all.similarity
    return -1.0 if similarity is None else similarity
