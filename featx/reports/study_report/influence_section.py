"""Influence of settings: the best run with each value, embeddings that searches compared, and gains of trees."""

from typing import Any

from featx.evaluation.pivot import pivot_runs
from featx.metrics.definitions import find_score
from featx.metrics.score_texts import ScoreFormat
from featx.reports.page.components import Column, Component, Section, Table, Text
from featx.reports.study_report.facts import TargetFacts, score_name
from featx.study.run_metrics import HeadMetrics, SearchResult

# Settings that are listed first, and the number of settings and of their values in the table.
FIRST_SETTINGS = ("embeddings", "backbone", "head", "strategy", "loss", "weights")
MAX_SETTINGS, MAX_VALUES = 12, 15
# Settings that no one would choose by their score, or that have a section of their own.
LEFT_OUT = frozenset({"members", "seed"})
NOTE = (
    "The best run with each value of a setting in which runs differ, others left out. Runs that differ in several "
    "settings do not show which of these made the difference."
)


def build_influences(facts: TargetFacts) -> Section | None:
    """Return the section about what mattered; None if runs differ in no setting and no search compared embeddings."""
    tables = [_setting_table(facts), _searched_embeddings(facts), _gain_table(facts)]
    shown_tables: list[Component] = [table for table in tables if table is not None]
    if not shown_tables:
        return None
    note: list[Component] = [Text(NOTE, "note")] if tables[0] is not None else []
    return Section("What mattered: embeddings, layers and settings", [*note, *shown_tables])


def _setting_table(facts: TargetFacts) -> Table | None:
    """Return the best run with each value of each setting that has several values."""
    evaluation = facts.evaluation
    setting_names = dict.fromkeys(name for row in evaluation.rows for name in row.settings if name not in LEFT_OUT)
    sorted_names = sorted(
        setting_names, key=lambda name: FIRST_SETTINGS.index(name) if name in FIRST_SETTINGS else len(FIRST_SETTINGS)
    )
    rows: list[list[Any]] = []
    for name in sorted_names[:MAX_SETTINGS]:
        (pivot,) = pivot_runs([evaluation], [name])
        if len(pivot.cells) > 1:
            # The rows of an evaluation are sorted by the selection score.
            best_runs = [row.run for row in evaluation.rows if row.run in {cell.run for cell in pivot.cells}][
                :MAX_VALUES
            ]
            rows += [
                [f"{name} {cell.row}", cell.value, cell.low, cell.high, evaluation.label(cell.run), cell.n_runs]
                for cell in pivot.cells
                if cell.run in best_runs
            ]
    if not rows:
        return None
    score = score_name(evaluation.compared)
    number_format = ScoreFormat.of(evaluation.compared, [row[1] for row in rows]).value
    columns = [
        Column("setting and value"),
        Column(f"best {score}", number_format),
        Column("low", number_format, "Low edge of the 95 % interval."),
        Column("high", number_format, "High edge of the 95 % interval."),
        Column("best run"),
        Column("runs", ",d", "Number of runs with this value."),
    ]
    caption = f"{score} on {evaluation.part} of the best run with each value of a setting."
    return Table(facts.component_name("settings"), caption[0].upper() + caption[1:], columns, rows)


def _searched_embeddings(facts: TargetFacts) -> Table | None:
    """Return the best trial of each search with each of the embeddings that it compared."""
    searches = {
        run.label: metrics.search for run in facts.runs if isinstance(metrics := run.folder.metrics, HeadMetrics)
    }
    rows: list[list[Any]] = []
    for label, search in searches.items():
        rows += [[f"{label}: {name}", *cells] for name, cells in _best_trials(search).items()]
    if not rows:
        return None
    columns = [
        Column("head and embeddings"),
        Column("trials", ",d"),
        Column("best score", ScoreFormat.of(next(iter(searches.values())).metric, [row[2] for row in rows]).value),
        Column("metric"),
        Column("chosen"),
    ]
    caption = "Embeddings that the searches compared: the best trial with each, by cross-validation within train."
    return Table(facts.component_name("searched-embeddings"), caption, columns, rows)


def _best_trials(search: SearchResult) -> dict[str, list[Any]]:
    """Return the number of trials and the best score with each of several embeddings; empty if there was one."""
    scores: dict[str, list[float]] = {}
    for trial in search.trials:
        scores.setdefault(trial.embeddings, []).append(trial.score)
    if len(scores) < 2:
        return {}
    # Greater scores of trials are better: losses and errors are negated.
    signed, metric = find_score(search.metric).signed, score_name(search.metric)
    return {
        name: [len(values), signed(max(values)), metric, "yes" if name == search.embeddings else ""]
        for name, values in sorted(scores.items(), key=lambda item: -max(item[1]))
    }


def _gain_table(facts: TargetFacts) -> Table | None:
    """Return the share of the trees' gain that each of several joined embeddings has."""
    rows: list[list[Any]] = []
    for run in facts.runs:
        metrics = run.folder.metrics
        if isinstance(metrics, HeadMetrics):
            rows += [[f"{run.label}: {name}", 100 * share] for name, share in metrics.embedding_gains.items()]
    if not rows:
        return None
    caption = "Boosted trees on several embeddings: share of the gain of all splits by the embedding of the feature."
    return Table(facts.component_name("gains"), caption, [Column("run and embedding"), Column("gain, %", ".1f")], rows)
