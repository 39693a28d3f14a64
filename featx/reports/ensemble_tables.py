"""Tables of the ensembles of a target: comparison with the best member, contributions, and diversity of members."""

from collections.abc import Sequence
from dataclasses import dataclass

from featx.metrics.definitions import find_score
from featx.study.ensemble_metrics import EnsembleMetrics, MemberPair
from featx.study.run_folder import RunFolder
from featx.study.run_settings import describe_runs, replace_names

# Number of pairs of members in the table, the most similar ones.
MAX_SHOWN_PAIRS = 15


@dataclass(frozen=True)
class EnsembleTables:
    """Tables of the ensembles of one target; runs are named by their labels.

    Attributes
    ----------
    metric
        Name of the score.
    rows
        Label and metrics of each ensemble, the best first.
    contributions
        One tuple per member: its label, and its contribution to each ensemble, None if it is no candidate there.
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

    @property
    def explanations(self) -> dict[str, list[str]]:
        """Each explanation → labels of the ensembles that it explains; equal ensembles have equal ones."""
        labels_by_text: dict[str, list[str]] = {}
        for label, metrics in self.rows:
            labels_by_text.setdefault(metrics.explanation, []).append(label)
        return labels_by_text


def build_ensemble_tables(runs: Sequence[RunFolder]) -> EnsembleTables | None:
    """Return the tables of the ensembles among all runs of a target; None if no run is an ensemble."""
    descriptions = describe_runs({run.name: run.spec for run in runs})
    labels = {name: description.label for name, description in descriptions.items()}
    ensembles = [
        (labels[run.name], metrics.model_copy(update={"explanation": replace_names(metrics.explanation, descriptions)}))
        for run in runs
        if isinstance(metrics := run.metrics, EnsembleMetrics)
    ]
    if not ensembles:
        return None
    metric = ensembles[0][1].metric
    rows = [(name, metrics) for name, metrics in ensembles if metrics.metric == metric]
    rows.sort(key=lambda row: -find_score(metric).signed(row[1].score))
    members = dict.fromkeys(name for _, metrics in rows for name in metrics.contributions)
    contributions = [(labels[name], [metrics.contributions.get(name) for _, metrics in rows]) for name in members]
    pairs = sorted(rows[0][1].diversity.pairs, key=_similarity, reverse=True)
    shown = [
        pair.model_copy(update={"one": labels[pair.one], "other": labels[pair.other]})
        for pair in pairs[:MAX_SHOWN_PAIRS]
    ]
    return EnsembleTables(metric, rows, contributions, shown, len(pairs))


def _similarity(pair: MemberPair) -> float:
    similarity = pair.all.similarity
    return -1.0 if similarity is None else similarity
