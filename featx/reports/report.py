"""Write ``report.html``: the table, its pictures and where everything comes from, with no other file needed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from featx.artifacts.header import commit, read_header
from featx.evaluation.evaluate import Evaluation, evaluate, last_final
from featx.evaluation.group_scores import bias_text, size_text
from featx.evaluation.leaks import leaks
from featx.files.atomic import write_text
from featx.metrics.reliability import kept, reliability
from featx.metrics.scores import aligned
from featx.reports.figures import (
    abstention_curves,
    agreement,
    confusion_matrices,
    intervals,
    learning_curves,
    reliability_curves,
    search_history,
)
from featx.reports.for_whom import group_scores
from featx.reports.leak_tables import shown_pairs
from featx.reports.pictures import pictures
from featx.reports.votes import Votes, votes_of
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.recipe import Recipe
from featx.study.study import HAS_EMBEDDING, Study
from featx.tables.predictions import Estimates, Predictions
from featx.text.masking import masked

MISTAKES_SHOWN = 12
REASONS_SHOWN = 20
MOST_CURVES = 8  # runs in one picture
COVERAGE = 0.9  # of the prediction sets and intervals that the page tells of


@dataclass(frozen=True)
class Section:
    """What the page says of one target."""

    evaluation: Evaluation
    final: Evaluation | None
    counts: list[dict[str, Any]]
    figures: dict[str, str]
    mistakes: list[dict[str, Any]]
    looks: list[dict[str, Any]]
    findings: list[dict[str, str]]
    votes: Votes | None


def report(recipe: str | Path | Recipe | None = None) -> Path:
    """Write the recipe's ``report.html`` and return its path.

    The test split stays sealed: its scores are those of the last ``featx evaluate --final``, where there was one.

    Raises
    ------
    IncompleteError
        there is no finished run.
    """
    study = Study.open(recipe)
    sections = [_section(study, found) for found in evaluate(study.recipe, coverage=COVERAGE)]
    leaked = leaks(study.recipe)
    environment = Environment(loader=PackageLoader("featx.reports"), autoescape=True, undefined=StrictUndefined)
    environment.filters["bias"] = bias_text
    environment.filters["size"] = size_text
    environment.filters["score"] = lambda value: "–" if value != value else f"{value:.4f}"
    page = environment.get_template("report.html").render(
        study=study,
        sections=sections,
        leaks=leaked,
        pairs=shown_pairs(study, leaked),
        outcomes=study.outcomes["outcome"].value_counts().to_dict(),
        failures=_failures(study),
        n_found=len(study.outcomes),
        parts={part: len(study.ids(part)) for part in ("train", "val", "test")},
        embeddings=_embeddings(study, sections),
        versions=_versions(study, sections),
        source=masked(study.recipe.data.source),
        coverage=COVERAGE,
        commit=commit(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = study.folder / "report.html"
    write_text(path, page)
    return path


def _failures(study: Study) -> list[dict[str, str]]:
    failed = study.outcomes[~study.outcomes["outcome"].isin(HAS_EMBEDDING)]
    return [dict(zip(failed.columns, row, strict=True)) for row in failed.head(REASONS_SHOWN).itertuples(index=False)]


def _versions(study: Study, sections: list[Section]) -> dict[str, str]:
    """Return the versions that the first target's chosen run was made with."""
    return read_header(study.folder / sections[0].evaluation.chosen)[1].versions


def _embeddings(study: Study, sections: list[Section]) -> list[ResolvedEmbedding]:
    """Return the embeddings that the runs on the page take, each once."""
    runs = [row.run for section in sections for row in section.evaluation.rows]
    return list(dict.fromkeys(one for run in runs for one in read_header(study.folder / run)[1].embeddings))


def _section(study: Study, found: Evaluation) -> Section:
    of_classes = found.kind == "classes"
    final = last_final(study, found.target)
    figures = _figures_of_classes(found, final) if of_classes else {}
    if found.kind == "numbers":
        figures = _figures_of_numbers(study, found)
    runs = study.runs(found.target)
    figures |= _figures_of_probabilities(study, found) | _figure_of_intervals(found)
    if shown := [one for one in found.groupings if one.groups]:
        figures["groups"] = group_scores(shown)
    heads = [run for run in runs if run.kind == "head"]
    if heads:
        metrics = {run.metrics.get("metric") or run.spec["head"]["metric"] for run in heads}  # older runs say it there
        figures["search"] = search_history({run.name: run.metrics["trials"] for run in heads}, " / ".join(metrics))
    networks = [run for run in runs if run.kind == "network"]
    if networks:
        best = {run.name: run.metrics["best_epoch"] for run in networks}
        figures["curves"] = learning_curves({run.name: run.metrics["epochs"] for run in networks}, best)
    odd = [{"run": run.name, "text": one["text"]} for run in runs for one in run.metrics.get("findings", [])]
    counts, mistakes = (_counts(study, found), _mistakes(study, found)) if of_classes else ([], [])
    return Section(found, final, counts, figures, mistakes, study.looks(found.target), odd, votes_of(runs))


def _figures_of_classes(found: Evaluation, final: Evaluation | None) -> dict[str, str]:
    figures = {
        "confusion": confusion_matrices({row.run: row.confusion for row in found.rows}, found.classes),
    }
    if final is not None:
        figures["final"] = confusion_matrices({row.run: row.confusion for row in final.rows}, final.classes)
    return figures


def _figure_of_intervals(found: Evaluation) -> dict[str, str]:
    rows = [row for row in found.rows if found.score in row.intervals]
    if not rows:
        return {}
    shown = {
        row.run: (row.scores[found.score], row.intervals[found.score][0], row.intervals[found.score][1]) for row in rows
    }
    what = (
        f"{found.score.replace('_', ' ')} on {found.part}, 95 % interval; in blue the chosen run and what is equivalent"
    )
    return {"intervals": intervals(shown, what, [found.chosen, *found.equivalent])}


def _figures_of_probabilities(study: Study, found: Evaluation) -> dict[str, str]:
    """Draw how far the runs' probabilities can be believed, the best of them."""
    if found.kind == "numbers":
        return {}
    best = [row.run for row in found.rows[:MOST_CURVES]]
    known = study.labels(found.target)
    tables = {run.name: aligned(known, run.chooser()) for run in study.runs(found.target) if run.name in best}
    figures = {"reliability": reliability_curves({name: reliability(*tables[name]) for name in best})}
    if found.kind == "classes":
        figures["abstention"] = abstention_curves({name: kept(*tables[name]) for name in best})
    return figures


def _figures_of_numbers(study: Study, found: Evaluation) -> dict[str, str]:
    chosen = next(run for run in study.runs(found.target) if run.name == found.chosen)
    table = chosen.chooser()
    assert isinstance(table, Estimates)
    truth = study.numbers(found.target).take(table.ids)
    pairs = zip(truth.names, truth.values.T.tolist(), table.values.T.tolist(), strict=True)
    return {f"agreement {name}": agreement(true, guessed, name) for name, true, guessed in pairs}


def _counts(study: Study, found: Evaluation) -> list[dict[str, Any]]:
    """Count the images of each class in train and val; the labels of test stay sealed."""
    truth = study.truth(found.target)
    by_part = {
        part: np.bincount(truth.take(study.ids(part)).codes, minlength=len(truth.classes)) for part in ("train", "val")
    }
    return [
        {"class": name, **{part: int(counts[code]) for part, counts in by_part.items()}}
        for code, name in enumerate(truth.classes)
    ]


def _mistakes(study: Study, found: Evaluation) -> list[dict[str, Any]]:
    """Return the images on which the chosen run is surest and wrong."""
    chosen = next(run for run in study.runs(found.target) if run.name == found.chosen)
    table = chosen.chooser()
    assert isinstance(table, Predictions)
    truth = study.truth(found.target).take(table.ids)
    table = table.ordered(truth.classes)
    sure = table.proba[np.arange(len(table.ids)), table.codes]
    wrong = np.flatnonzero(table.codes != truth.codes)
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES_SHOWN]
    drawn = pictures(study, table.ids[shown].tolist())
    return [
        {
            "id": table.ids[at],
            "picture": drawn[table.ids[at]],
            "true": truth.classes[truth.codes[at]],
            "guessed": truth.classes[table.codes[at]],
            "sure": f"{sure[at]:.2f}",
        }
        for at in shown
    ]
