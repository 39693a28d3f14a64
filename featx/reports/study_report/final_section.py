"""Scores of the last opening of the test split."""

from featx.evaluation.evaluation_table import Evaluation
from featx.reports.page.components import Component, ConfusionMatrix, Details, Section, Text
from featx.reports.study_report.class_tables import MAX_MATRIX_CLASSES, class_table, confusion_table
from featx.reports.study_report.comparison_section import compare_runs
from featx.reports.study_report.facts import TargetFacts, plural
from featx.reports.study_report.group_section import group_components
from featx.reports.study_report.run_sections import MAX_RUN_SECTIONS
from featx.reports.study_report.summary import log_problems


def build_final(facts: TargetFacts) -> Section | None:
    """Return the section of the test scores; None if there are none for the current data and runs."""
    final = facts.final
    if final is None:
        return None
    openings = ", ".join(f"{opening['when']} by {opening['user']}" for opening in facts.openings)
    note = (
        "Runs are in the order of the selection score, not of the test scores. The test split was opened "
        f"{plural(len(facts.openings), 'time')}: {openings}{log_problems(facts.evaluation)}."
    )
    components: list[Component] = [Text(note, "note"), *compare_runs(final)]
    components += _class_components(facts, final)
    sections = [Section(f"Scores of {final.label(final.chosen)} by group (test)", group_components(final))]
    return Section("All runs on test", components, sections if final.groupings else ())


def _class_components(facts: TargetFacts, final: Evaluation) -> list[Component]:
    """Return the scores of the classes and the confusions of the run that was chosen at the opening, then of others."""
    if final.kind == "numbers":
        return []
    row = next(row for row in final.rows if row.run == final.chosen)
    caption = f"{row.label} on test: scores by {facts.noun}."
    name = facts.component_name("test-scores-by", facts.noun)
    components: list[Component] = [class_table(name, facts.noun, row.per_class, None, caption)]
    matrices: list[Component] = []
    for run in final.rows[:MAX_RUN_SECTIONS] if final.kind == "classes" else []:
        name, title = facts.component_name(run.run, "test-confusion"), f"{run.label} on test"
        matrix: Component
        if run.run == final.chosen or len(final.classes) <= MAX_MATRIX_CLASSES:
            matrix = ConfusionMatrix(name, f"Confusion matrix of {title}.", final.classes, run.confusion)
        else:
            matrix = confusion_table(name, title, final.classes, run.confusion)
        components += [matrix] if run.run == final.chosen else []
        matrices += [] if run.run == final.chosen else [Details(run.label, [matrix])]
    return [*components, *([Details("Confusion of the other runs on test", matrices)] if matrices else [])]
