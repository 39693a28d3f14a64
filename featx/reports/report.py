"""Report of a study: scores, figures and the origin of the results in one ``report.html``."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from featx.artifacts.header import commit, read_header
from featx.evaluation.evaluate import evaluate
from featx.evaluation.evaluation_table import Evaluation
from featx.evaluation.final_scores import read_last_final
from featx.evaluation.group_biases import MEASURE_TEXTS, too_few_text
from featx.evaluation.group_texts import describe_differences, describe_size
from featx.evaluation.leaks import leaks
from featx.files.atomic import write_text
from featx.metrics.reliability import accuracy_by_coverage, reliability
from featx.metrics.score_kinds import Outputs
from featx.metrics.scores import align
from featx.reports.ensemble_tables import EnsembleTables, build_ensemble_tables
from featx.reports.figures import (
    plot_abstention,
    plot_confusion_matrices,
    plot_intervals,
    plot_learning_curves,
    plot_reliability,
    plot_search_history,
    plot_true_and_predicted,
)
from featx.reports.group_figures import plot_group_scores
from featx.reports.leak_tables import select_pairs
from featx.reports.pictures import load_pictures
from featx.reports.tree_figures import plot_tree_scores
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.recipe import Recipe
from featx.study.extracted_data import HAS_EMBEDDING
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics, NetworkMetrics
from featx.study.study import Study
from featx.tables.ids import Kind
from featx.tables.predictions import AnyPredictions
from featx.tables.target_values import TargetValues
from featx.text.escaping import escape_text
from featx.text.masking import mask_secrets

MAX_SHOWN_ERRORS = 12
MAX_SHOWN_FAILURES = 20
# Number of runs in one figure, the best ones.
MAX_PLOTTED_RUNS = 8
# Coverage of the prediction sets and intervals in the report.
COVERAGE = 0.9


@dataclass(frozen=True)
class Section:
    """Content of the report for one target.

    Attributes
    ----------
    evaluation
        Scores on the selection rows.
    final
        Scores of the last opening of the test split; None if there are none.
    counts
        One dictionary per class or label: its name and its number of images in train and val.
    figures
        Figure name → data URI.
    mistakes
        Wrong predictions of the chosen run with the highest probabilities.
    looks
        Log of the openings of the test split.
    run_warnings
        Text of each warning of a run → labels of the runs that have it.
    ensembles
        Tables of the ensembles; None if there are no ensembles.
    """

    evaluation: Evaluation
    final: Evaluation | None
    counts: list[dict[str, Any]]
    figures: dict[str, str]
    mistakes: list[dict[str, Any]]
    openings: list[dict[str, Any]]
    run_warnings: dict[str, list[str]]
    ensembles: EnsembleTables | None


def report(recipe: str | Path | Recipe | None = None) -> Path:
    """Write the recipe's ``report.html`` and return its path.

    The test split stays sealed. Test scores are those of the last ``featx evaluate --final``, if there was one.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.

    Raises
    ------
    IncompleteError
        there is no finished run.
    """
    study = Study.open(recipe)
    sections = [_section(study, evaluation) for evaluation in evaluate(study.recipe, coverage=COVERAGE)]
    study_leaks = leaks(study.recipe)
    environment = Environment(
        loader=PackageLoader("featx.reports"), autoescape=True, undefined=StrictUndefined, finalize=_escape_controls
    )
    environment.filters["bias"] = describe_differences
    environment.filters["size"] = describe_size
    environment.filters["score"] = lambda value: "–" if value != value else f"{value:.4f}"
    page = environment.get_template("report.html").render(
        study=study,
        sections=sections,
        leaks=study_leaks,
        pairs=select_pairs(study, study_leaks),
        outcomes=study.outcomes["outcome"].value_counts().to_dict(),
        failures=_failures(study),
        n_images=len(study.outcomes),
        parts={part: len(study.ids(part)) for part in ("train", "val", "test")},
        embeddings=_embeddings(study, sections),
        versions=_versions(study, sections),
        source=mask_secrets(study.recipe.data.source),
        coverage=COVERAGE,
        measures=MEASURE_TEXTS,
        too_few=too_few_text(),
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = study.folder / "report.html"
    write_text(path, page)
    return path


def _escape_controls(value: Any) -> Any:
    """Return a text with escapes for control characters; HTML that the template itself made stays."""
    return escape_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _failures(study: Study) -> list[dict[str, str]]:
    """Return id, outcome and reason of the first images without an embedding."""
    failed = study.outcomes[~study.outcomes["outcome"].isin(HAS_EMBEDDING)].head(MAX_SHOWN_FAILURES)
    return [dict(zip(failed.columns, row, strict=True)) for row in failed.itertuples(index=False)]


def _versions(study: Study, sections: list[Section]) -> dict[str, str]:
    """Return the versions of the libraries that made the first target's chosen run."""
    return read_header(study.folder / sections[0].evaluation.chosen)[1].versions


def _embeddings(study: Study, sections: list[Section]) -> list[ResolvedEmbedding]:
    """Return the embeddings that the runs in the report use, each once."""
    runs = [row.run for section in sections for row in section.evaluation.rows]
    headers = [read_header(study.folder / run)[1] for run in runs]
    return list(dict.fromkeys(embedding for header in headers for embedding in header.embeddings))


def _section(study: Study, evaluation: Evaluation) -> Section:
    """Return the content of the report for one target."""
    has_classes = evaluation.kind == "classes"
    final = read_last_final(study, evaluation.target)
    runs = study.runs(evaluation.target)
    figures = _confusion_figures(evaluation, final) if has_classes else {}
    figures |= FIGURES[evaluation.kind](study, evaluation) | _interval_figure(evaluation)
    if groupings := [grouping for grouping in evaluation.groupings if grouping.groups]:
        figures["groups"] = plot_group_scores(groupings)
    return Section(
        evaluation,
        final,
        [] if evaluation.kind == "numbers" else _count_images(study, evaluation),
        figures | _training_figures(runs, evaluation),
        _mistakes(study, evaluation) if has_classes else [],
        study.openings(evaluation.target),
        _run_warnings(runs, evaluation),
        build_ensemble_tables(runs),
    )


def _run_warnings(runs: list[RunFolder], evaluation: Evaluation) -> dict[str, list[str]]:
    labels_by_text: dict[str, list[str]] = {}
    for run in runs:
        for warning in run.metrics.run_warnings:
            labels_by_text.setdefault(warning.text, []).append(evaluation.label(run.name))
    return labels_by_text


def _training_figures(runs: list[RunFolder], evaluation: Evaluation) -> dict[str, str]:
    """Plot the search of the heads and the learning curves of the networks."""
    figures = {}
    all_metrics = {evaluation.label(run.name): run.metrics for run in runs}
    heads = {label: metrics for label, metrics in all_metrics.items() if isinstance(metrics, HeadMetrics)}
    networks = {label: metrics for label, metrics in all_metrics.items() if isinstance(metrics, NetworkMetrics)}
    boosted = {name: metrics.trees for name, metrics in heads.items() if metrics.trees is not None}
    if boosted:
        figures["trees"] = plot_tree_scores(boosted)
    searched = {name: metrics.search for name, metrics in heads.items() if metrics.search.trials}
    if searched:
        metric = " / ".join(dict.fromkeys(search.metric for search in searched.values()))
        trials = {name: search.trials for name, search in searched.items()}
        figures["search"] = plot_search_history(trials, metric)
    if networks:
        figures["curves"] = plot_learning_curves(networks)
    return figures


def _confusion_figures(evaluation: Evaluation, final: Evaluation | None) -> dict[str, str]:
    tables = {"confusion": evaluation} | ({} if final is None else {"final": final})
    return {
        name: plot_confusion_matrices({row.label: row.confusion for row in table.rows}, table.classes)
        for name, table in tables.items()
    }


def _interval_figure(evaluation: Evaluation) -> dict[str, str]:
    name = evaluation.score
    rows = {
        row.label: (row.scores[name], row.intervals[name][0], row.intervals[name][1])
        for row in evaluation.rows
        if name in row.intervals
    }
    if not rows:
        return {}
    score = f"{name.replace('_', ' ')} on {evaluation.part}"
    label = f"{score}, 95 % interval; blue: the chosen run and runs equivalent to it"
    highlighted = [evaluation.label(run) for run in (evaluation.chosen, *evaluation.equivalent)]
    return {"intervals": plot_intervals(rows, label, highlighted)}


def _best_runs(study: Study, evaluation: Evaluation) -> dict[str, tuple[TargetValues, Outputs]]:
    """Return the label of each of the best runs → the true values and its outputs for the selection rows."""
    truth, runs = study.labels(evaluation.target), {run.name: run for run in study.runs(evaluation.target)}
    best = evaluation.rows[:MAX_PLOTTED_RUNS]
    return {row.label: align(truth, runs[row.run].selection_predictions()) for row in best}


def _label_figures(study: Study, evaluation: Evaluation) -> dict[str, str]:
    runs = _best_runs(study, evaluation)
    return {"reliability": plot_reliability({name: reliability(*rows) for name, rows in runs.items()})}


def _class_figures(study: Study, evaluation: Evaluation) -> dict[str, str]:
    runs = _best_runs(study, evaluation)
    curves = {name: accuracy_by_coverage(*rows) for name, rows in runs.items()}
    return _label_figures(study, evaluation) | {"abstention": plot_abstention(curves)}


def _number_figures(study: Study, evaluation: Evaluation) -> dict[str, str]:
    targets, outputs = align(study.labels(evaluation.target), _chosen_table(study, evaluation))
    columns = zip(targets.names, targets.y.T.tolist(), outputs.T.tolist(), strict=True)
    return {f"agreement {name}": plot_true_and_predicted(true, predicted, name) for name, true, predicted in columns}


# Figures of the predictions of the best runs, by kind of target.
FIGURES: dict[Kind, Callable[[Study, Evaluation], dict[str, str]]] = {
    "classes": _class_figures,
    "labels": _label_figures,
    "numbers": _number_figures,
}


def _chosen_table(study: Study, evaluation: Evaluation) -> AnyPredictions:
    """Return the predictions of the chosen run for the selection rows."""
    return next(run for run in study.runs(evaluation.target) if run.name == evaluation.chosen).selection_predictions()


def _count_images(study: Study, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Count the images of each class or label in train and val; the labels of test stay sealed."""
    truth = study.labels(evaluation.target)
    by_part = {part: TargetValues.of(truth.take(study.ids(part))).counts for part in ("train", "val")}
    return [{"class": name, **{part: counts[name] for part, counts in by_part.items()}} for name in truth.names]


def _mistakes(study: Study, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the wrong predictions of the chosen run with the highest probabilities."""
    table = _chosen_table(study, evaluation)
    targets, proba = align(study.labels(evaluation.target), table)
    codes = targets.decisions(proba)
    confidence = proba[np.arange(len(codes)), codes]
    wrong = np.flatnonzero(~targets.are_right(proba))
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_SHOWN_ERRORS]
    by_id = load_pictures(study, table.ids[shown].tolist())
    return [
        {
            "id": table.ids[row],
            "picture": by_id[table.ids[row]],
            "true": targets.names[targets.y[row]],
            "predicted": targets.names[codes[row]],
            "confidence": f"{confidence[row]:.2f}",
        }
        for row in shown
    ]
