"""Sections about the study as a whole: what was done, its images, and the origin of the results."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from featx.artifacts.header import Header, commit, read_header
from featx.reports.page.components import Column, Component, Details, Items, Picture, Section, Table, Text
from featx.reports.study_report.facts import RunFacts, TargetFacts, plural
from featx.specs.recipe_toml import recipe_toml
from featx.specs.split import PARTS
from featx.study.study import Study
from featx.tables.target_values import TargetValues

MAX_SHOWN_FAILURES = 20


def build_what_was_done(study: Study, targets: Sequence[TargetFacts]) -> Section:
    """Return the section about recipe, data, environment and duration."""
    runs = [run for facts in targets for run in facts.runs]
    kinds = {
        kind: [run for run in runs if run.folder.kind == kind] for kind in ("head", "network", "ensemble", "smoothed")
    }
    nouns = {kind: "smoothed run" if kind == "smoothed" else kind for kind in kinds}
    counts = ", ".join(plural(len(members), nouns[kind]) for kind, members in kinds.items() if members)
    sizes = ", ".join(f"{len(study.ids(part)):,} in {part}" for part in PARTS)
    kind_texts = ", ".join(f"{facts.target} ({_target_text(facts)})" for facts in targets)
    header = _header(targets[0].chosen)
    lines = [
        f"Recipe: {study.recipe.name}.",
        f"Data: {study.n_images:,} images from {study.recipe.data.source}; with embeddings {sizes}.",
        f"Targets: {kind_texts}.",
        f"Runs: {counts}.",
        f"Time: {_hours(runs)} of search and training.",
        f"Environment: Python {platform.python_version()}, featx {header.versions.get('featx', 'of unknown version')}"
        f"{_commit_text(commit())}.",
    ]
    lines += _left_out(study, runs)
    return Section("What was done", [Items(lines), Details("Recipe", [Text(recipe_toml(study.recipe), "code")])])


def _target_text(facts: TargetFacts) -> str:
    if facts.evaluation.kind == "numbers":
        return plural(facts.chosen.targets.n_outputs, "number")
    return plural(facts.chosen.targets.n_outputs, facts.noun)


def _hours(runs: Sequence[RunFacts]) -> str:
    """Return the duration of all searches and trainings; ensembles have none of their own."""
    seconds = sum(run.folder.metrics.elapsed_s or 0.0 for run in runs)
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _commit_text(name: str | None) -> str:
    if not name:
        return ""
    return f", commit {name[:12]}{' (with changes)' if 'dirty' in name else ''}"


def _left_out(study: Study, runs: Sequence[RunFacts]) -> list[str]:
    """Return a line for each finished run that the report does not show, with the reason."""
    shown_names = {run.name for run in runs}
    reasons = study.reasons_left_out()
    return [f"Left out: {reason}." for name, reason in reasons.items() if name not in shown_names and reason]


def build_counts(facts: TargetFacts) -> Section | None:
    """Return the table of images of each class or label in train and val; the labels of test stay sealed."""
    if facts.evaluation.kind == "numbers":
        return None
    truth = facts.study.labels(facts.target)
    counts_by_part = {part: TargetValues.of(truth.take(facts.study.ids(part))).counts for part in ("train", "val")}
    columns = [Column(facts.noun), *(Column(part, ",d") for part in counts_by_part)]
    rows: list[list[Any]] = [[name, *(counts[name] for counts in counts_by_part.values())] for name in truth.names]
    sealed = "; the labels of test stay sealed" if facts.evaluation.n_test else ""
    caption = f"Images of each {facts.noun} in train and val{sealed}."
    table = Table(facts.component_name("images-of-each", facts.noun), caption, columns, rows)
    return Section(f"Images of each {facts.noun}", [table])


def build_images(study: Study, pictures: Mapping[str, Picture]) -> Section:
    """Return the section about the outcomes of the extraction: failures, ignored files and missing pictures."""
    outcomes = ", ".join(f"{n:,} {name}" for name, n in study.outcomes["outcome"].value_counts().to_dict().items())
    sizes = ", ".join(f"{len(study.ids(part)):,} in {part}" for part in PARTS)
    text = f"{len(study.outcomes):,} files: {outcomes}. With embeddings: {sizes}."
    components: list[Component] = [Text(text), *_missing_pictures(pictures)]
    if len(study.failures):
        rows = study.failures.head(MAX_SHOWN_FAILURES)[["id", "outcome", "reason"]].to_numpy(object).tolist()
        caption = f"{len(rows)} of {len(study.failures):,} images without an embedding."
        columns = [Column("image"), Column("outcome"), Column("reason")]
        components.append(Table("failures", caption, columns, rows))
    if study.ignored:
        caption = "Files that are no images of the study, by rule."
        columns = [Column("rule"), Column("files", ",d")]
        components.append(Table("ignored", caption, columns, list(study.ignored.items())))
    return Section("Images", components)


def _missing_pictures(pictures: Mapping[str, Picture]) -> list[Component]:
    """Return a warning if some images cannot be shown."""
    notes = Counter(picture.note for picture in pictures.values() if picture.note)
    if not notes:
        return []
    reasons = ", ".join(f"{n:,} {note}" for note, n in notes.items())
    text = (
        f"{notes.total():,} of {plural(len(pictures), 'image')} that this page would show have no picture: {reasons}. "
        "All scores are those of the images at the time of the extraction; put the images back, or run 'featx extract'."
    )
    return [Text(text, "warning")]


def build_origin(targets: Sequence[TargetFacts]) -> Section:
    """Return the section about embeddings, weights and versions of packages."""
    headers = [_header(run) for facts in targets for run in facts.runs]
    embeddings = list(dict.fromkeys(embedding for header in headers for embedding in header.embeddings))
    columns = [
        Column("embedding"),
        Column("d", ",d"),
        Column("px", "d"),
        Column("weights (sha256)"),
        Column("fingerprint"),
    ]
    rows: list[list[Any]] = [
        [
            embedding.request.name,
            embedding.n_features,
            embedding.spec.preprocessing.size_px,
            embedding.spec.weights_sha256[:16],
            embedding.spec.fingerprint(),
        ]
        for embedding in embeddings
    ]
    table = Table("embeddings", "Embeddings that the runs use, each once.", columns, rows)
    chosen_run = targets[0].chosen
    versions = " · ".join(f"{name} {number}" for name, number in _header(chosen_run).versions.items())
    return Section(
        "Origin of the results",
        [*([table] if rows else []), Text(f"{chosen_run.name} was made with {versions}.", "note")],
    )


def _header(run: RunFacts) -> Header:
    return read_header(run.folder.path)[1]
