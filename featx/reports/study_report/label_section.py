"""Predictions of several labels: average precision, counts and a threshold slider of each label."""

from sklearn.metrics import average_precision_score, roc_auc_score

from featx.reports.page.components import Component, Details, Text
from featx.reports.study_report.class_tables import Intervals, threshold_counts
from featx.reports.study_report.facts import RunFacts, TargetFacts, interval_text, plural

# Number of labels with a part of their own, in the order of the target.
MAX_SHOWN_LABELS = 60


def label_components(facts: TargetFacts, run: RunFacts, intervals: Intervals) -> list[Component]:
    """Return one closed part for each label of the chosen run: scores, counts and threshold."""
    names = run.targets.names
    parts: list[Component] = [
        _label_part(facts, run, intervals, column) for column in range(min(len(names), MAX_SHOWN_LABELS))
    ]
    n_left_out = len(names) - len(parts)
    note = f"{plural(n_left_out, 'label')} more are in the table of scores only."
    return [*parts, *([Text(note, "note")] if n_left_out else [])]


def _label_part(facts: TargetFacts, run: RunFacts, intervals: Intervals, column: int) -> Details:
    label, has_label, proba = run.targets.names[column], run.targets.y[:, column], run.outputs[:, column]
    n_true = int(has_label.sum())
    counts = f"{n_true:,} of {len(has_label):,} images have it"
    if 0 < n_true < len(has_label):
        average_precision = average_precision_score(has_label, proba)
        area = roc_auc_score(has_label, proba)
        counts += f"; average precision {average_precision:.4f}, area under the ROC curve {area:.4f}"
    scores = run.evaluation.per_class[column]
    texts = [
        f"{name} {scores[name]:.4f} (95 % interval {interval_text(intervals[name][column])})"
        for name in ("precision", "recall", "f1")
    ]
    name = facts.component_name(run.name, label, "threshold")
    caption = f"Scores of {label} at each threshold of its probability."
    components: list[Component] = [
        Text(f"{counts}. At a threshold of 0.5: {', '.join(texts)}."),
        threshold_counts(name, caption, run.targets, proba, column),
    ]
    return Details(f"{label}: {counts}", components)
