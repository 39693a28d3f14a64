"""Tables of classes and labels: scores with intervals, confusions, and counts at each threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.metrics.class_scores import CLASS_SCORES
from featx.reports.page.components import Column, Component, ConfusionMatrix, GalleryItem, Table, ThresholdCounts
from featx.reports.study_report.facts import RunFacts, TargetFacts, interval_text
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

# Number of classes up to which every run has a whole confusion matrix. With more, only that of the chosen run is whole,
# because 30 matrices of 50 × 50 cells take more than 10 MB; other runs have the table of their largest confusions.
MAX_MATRIX_CLASSES = 20
MAX_CONFUSIONS = 20
N_THRESHOLDS = 101

Intervals = Mapping[str, Sequence[tuple[float, float]]]
# Scores of one class by name, as `featx.metrics.class_scores.per_output` returns them.
ClassScores = Mapping[str, Any]


def class_table(
    name: str, noun: str, scores: Sequence[ClassScores], intervals: Intervals | None, caption: str
) -> Table:
    """Return the table of precision, recall and F1 of each class or label.

    Parameters
    ----------
    intervals
        Score → interval of each class; None if they are not known.
    """
    columns = [Column(noun), Column("n", ",.10g", "Number of rows.")]
    score_headings = {score: "F1" if score == "f1" else score for score in CLASS_SCORES}
    for heading in score_headings.values():
        columns.append(Column(heading, ".4f"))
        columns += [] if intervals is None else [Column(f"{heading}, 95 % interval")]
    rows = []
    for position, line in enumerate(scores):
        cells = [line["class"], line["n"]]
        for score in CLASS_SCORES:
            cells.append(line[score])
            cells += [] if intervals is None else [interval_text(intervals[score][position])]
        rows.append(cells)
    return Table(name, caption, columns, rows)


def confusion_components(
    facts: TargetFacts, run: RunFacts, images: Mapping[tuple[int, int], Sequence[GalleryItem]]
) -> list[Component]:
    """Return the confusion matrix of a run, or the table of its largest confusions if there are many classes."""
    classes, counts = facts.evaluation.classes, run.evaluation.confusion
    name = facts.component_name(run.name, "confusion")
    part = facts.evaluation.part
    if run.is_chosen or len(classes) <= MAX_MATRIX_CLASSES:
        caption = f"Confusion matrix of {run.label} on {part}. A linked number leads to images of the cell."
        matrix = ConfusionMatrix(name, caption, classes, counts, images)
        if len(classes) <= MAX_MATRIX_CLASSES:
            return [matrix]
        return [confusion_table(f"{name}-largest", f"{run.label} on {part}", classes, counts), matrix]
    return [confusion_table(name, f"{run.label} on {part}", classes, counts)]


def confusion_table(name: str, title: str, classes: Sequence[str], counts: Sequence[Sequence[float]]) -> Table:
    """Return the table of the largest confusions: pairs of a true class and another, predicted class."""
    matrix = np.array(counts, dtype=np.float64)
    totals = matrix.sum(1)
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None, kind="stable")[:MAX_CONFUSIONS]
    cells = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, matrix.shape), strict=True)]
    rows = [
        [classes[true], classes[predicted], matrix[true, predicted], 100 * matrix[true, predicted] / totals[true]]
        for true, predicted in cells
        if matrix[true, predicted] > 0
    ]
    columns = [
        Column("true class"),
        Column("predicted class"),
        Column("images", ",.10g"),
        Column("% of the class", ".1f"),
    ]
    return Table(name, f"The {len(rows)} largest confusions of {title}.", columns, rows)


def threshold_counts(name: str, caption: str, targets: TargetValues, proba: Floats, column: int) -> ThresholdCounts:
    """Return the counts of one class or label at each of 101 thresholds; rows count by their weights if they have some.

    Parameters
    ----------
    proba
        (n,) probabilities of the class or label.
    column
        Its position among the names of the target.
    """
    weights = targets.row_weights
    membership = targets.memberships[:, column] * weights
    order = np.argsort(proba, kind="stable")
    thresholds = np.linspace(0, 1, N_THRESHOLDS).round(2)
    first_positions = np.searchsorted(proba[order], thresholds, side="left")
    true, false = (np.append(0, np.cumsum(values[order])) for values in (membership, weights - membership))
    counts = [
        tuple(round(float(value), 3) for value in (true[-1] - true[i], false[-1] - false[i], true[i], false[i]))
        for i in first_positions
    ]
    count_rows = [(tp, fp, fn, tn) for tp, fp, fn, tn in counts]
    threshold_index = int(np.abs(thresholds - decision_threshold(targets)).argmin())
    weights_note = "" if targets.weights is None else " Rows count by their weights."
    return ThresholdCounts(
        name, f"{caption}{weights_note}", targets.names[column], thresholds.tolist(), count_rows, threshold_index
    )


def decision_threshold(targets: TargetValues) -> float:
    """Return the probability of the second of two classes, or of a label, from which on it is predicted."""
    if targets.kind == "labels" or targets.decision is None:
        return 0.5
    first_weight, second_weight = targets.decision.weights
    return first_weight / (first_weight + second_weight)
