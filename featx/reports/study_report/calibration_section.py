"""Calibration of the probabilities of the best runs, and their accuracy with abstention."""

from featx.metrics.reliability import accuracy_by_coverage, reliability
from featx.reports.page.components import Component, Section, Text
from featx.reports.study_report.facts import TargetFacts
from featx.reports.study_report.probability_figures import plot_abstention, plot_reliability

# Number of runs in one figure, the best ones.
MAX_COMPARED_RUNS = 6


def build_calibration(facts: TargetFacts) -> Section | None:
    """Return the section that compares the calibration of the best runs; None for numbers."""
    kind = facts.evaluation.kind
    if kind == "numbers":
        return None
    runs = facts.runs[:MAX_COMPARED_RUNS]
    bins = {run.label: reliability(run.targets, run.outputs) for run in runs}
    components: list[Component] = [plot_reliability(facts.component_name("reliability"), bins)]
    if kind == "classes":
        curves = {run.label: accuracy_by_coverage(run.targets, run.outputs) for run in runs}
        components.append(plot_abstention(facts.component_name("coverage"), curves))
        note = (
            "The menu of columns of the table of all runs has covered and set size: the coverage and the mean size of "
            "prediction sets with a requested coverage of 90 %."
        )
        components.append(Text(note, "note"))
    return Section("Calibration of probabilities", components)
