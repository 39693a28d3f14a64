"""One section per run: scores of classes, confusions, probabilities, training, and images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from featx.evaluation.class_intervals import class_intervals, reliability_band
from featx.evaluation.intervals import Resamples
from featx.metrics.reliability import accuracy_by_coverage
from featx.reports.page.components import Component, Details, Items, Picture, Section, Text
from featx.reports.study_report.class_tables import Intervals, class_table, confusion_components, threshold_counts
from featx.reports.study_report.facts import RunFacts, TargetFacts
from featx.reports.study_report.label_section import label_components
from featx.reports.study_report.number_section import number_components
from featx.reports.study_report.probability_figures import (
    plot_abstention,
    plot_precision_recall,
    plot_reliability_band,
    plot_roc,
)
from featx.reports.study_report.run_images import ShownImages, build_gallery, cell_items
from featx.reports.study_report.training_figures import build_training_figures
from featx.study.run_settings import setting_text
from featx.tables.ids import Kind

# Number of runs with a section, the best ones.
MAX_RUN_SECTIONS = 30
# Number of draws of the intervals of classes and bins: their edges vary by about 3 % of the width of the interval.
N_INTERVAL_DRAWS = 1000
# Number of bins of a reliability diagram with intervals, so few that most bins have some rows.
N_RELIABILITY_BINS = 10


@dataclass(frozen=True)
class RunContents:
    """All that the section of a run needs beside the facts of its target.

    Attributes
    ----------
    shown_images
        Images of the run.
    pictures
        Pictures of these images.
    intervals
        Intervals of the scores of each class; None for numbers.
    resamples
        Random weights of the selection rows.
    """

    shown_images: ShownImages
    pictures: Mapping[str, Picture]
    intervals: Intervals | None
    resamples: Resamples


def build_run_sections(
    facts: TargetFacts, images_by_run: Mapping[str, ShownImages], pictures: Mapping[str, Picture]
) -> Section:
    """Return the section of all runs: the chosen one is open, the others are closed until the reader opens them."""
    runs = facts.runs[:MAX_RUN_SECTIONS]
    resamples = replace(Resamples.of(len(facts.chosen.ids), facts.units), n_draws=N_INTERVAL_DRAWS)
    intervals: list[Any] = [None] * len(runs)
    if facts.evaluation.kind != "numbers":
        intervals = class_intervals([(run.targets, run.outputs) for run in runs], resamples)
    sections, details = [], []
    for run, run_intervals in zip(runs, intervals, strict=True):
        contents = RunContents(images_by_run[run.name], pictures, run_intervals, resamples)
        components = _build_run(facts, run, contents)
        if run.is_chosen:
            sections.append(Section(run.label, components))
        else:
            details.append(Details(run.label, components))
    n_left_out = len(facts.runs) - len(runs)
    note = [Text(f"The {n_left_out} runs with the lowest scores have no section here.", "note")] if n_left_out else []
    if details:
        sections.append(Section("Other runs", [*details, *note]))
    return Section(f"Runs in detail ({facts.evaluation.part})", (), sections)


def _build_run(facts: TargetFacts, run: RunFacts, contents: RunContents) -> list[Component]:
    components: list[Component] = _describe(run)
    components += KIND_COMPONENTS[facts.evaluation.kind](facts, run, contents)
    components += build_training_figures(facts, run)
    return [*components, build_gallery(facts, run, contents.shown_images, contents.pictures)]


def _describe(run: RunFacts) -> list[Component]:
    """Return the name, the settings that distinguish the run from others, and its warnings."""
    settings = [f"{name} {setting_text(value)}" for name, value in run.evaluation.settings.items()]
    text = f"Run {run.name}. {'Settings in which runs differ: ' + ', '.join(settings) + '.' if settings else ''}"
    warnings = [warning.text for warning in run.folder.metrics.run_warnings]
    return [Text(text.rstrip(), "note"), *([Items(warnings)] if warnings else [])]


def _class_components(facts: TargetFacts, run: RunFacts, contents: RunContents) -> list[Component]:
    name = facts.component_name(run.name)
    components = confusion_components(facts, run, cell_items(run, contents.shown_images, contents.pictures))
    components.append(_scores_of_classes(facts, run, contents))
    if run.targets.n_outputs == 2:
        caption = f"Scores of {run.label} at each threshold of the probability."
        components.append(threshold_counts(f"{name}-threshold", caption, run.targets, run.outputs[:, 1], column=1))
    components += _probability_figures(name, run, contents)
    components.append(plot_abstention(f"{name}-coverage", {run.label: accuracy_by_coverage(run.targets, run.outputs)}))
    return components


def _label_components(facts: TargetFacts, run: RunFacts, contents: RunContents) -> list[Component]:
    name = facts.component_name(run.name)
    components = [_scores_of_classes(facts, run, contents), *_probability_figures(name, run, contents)]
    if run.is_chosen and contents.intervals is not None:
        components += label_components(facts, run, contents.intervals)
    return components


def _number_components(facts: TargetFacts, run: RunFacts, contents: RunContents) -> list[Component]:
    return number_components(facts, run, contents.resamples)


KIND_COMPONENTS: dict[Kind, Callable[[TargetFacts, RunFacts, RunContents], list[Component]]] = {
    "classes": _class_components,
    "labels": _label_components,
    "numbers": _number_components,
}


def _scores_of_classes(facts: TargetFacts, run: RunFacts, contents: RunContents) -> Component:
    noun = facts.noun
    caption = f"{run.label} on {facts.evaluation.part}: scores by {noun}, with 95 % intervals."
    name = facts.component_name(run.name, f"scores-by-{noun}")
    return class_table(name, noun, run.evaluation.per_class, contents.intervals, caption)


def _probability_figures(name: str, run: RunFacts, contents: RunContents) -> list[Component]:
    band = reliability_band(run.targets, run.outputs, contents.resamples, N_RELIABILITY_BINS)
    curves = (
        plot_roc(f"{name}-roc", run.targets, run.outputs),
        plot_precision_recall(f"{name}-precision-recall", run.targets, run.outputs),
    )
    return [plot_reliability_band(f"{name}-reliability", band), *(curve for curve in curves if curve is not None)]
