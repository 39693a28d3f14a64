"""Analysis of weak segments of the best run of each target, on the selection rows only."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from featx.evaluation.group_membership import GroupMembership, group_rows
from featx.exploration.analysis import AnalysisResult, Highlight, count_text
from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_properties import CHANNEL_COLUMNS
from featx.exploration.run_errors import RunErrors, best_run_errors
from featx.exploration.weak_segments import Segment, cluster_rows, compare_segments
from featx.progress import ProgressCallback
from featx.study.variant_runs import describe_outer_runs
from featx.tables.truth import AnyTruth

CLUSTER = "cluster of the embedding"
NO_RUNS = "there are no finished runs, whose errors weak segments need"
# Number of true labels that name a cluster.
N_LABELS = 2
COLUMNS = ["target", "run", "grouping", "segment", "is_weak", "n_images", "mean_error", "other_error", "p_holm"]

MEMBER_COLUMNS = ["target", "grouping", "segment", "id", "true_value", "prediction", "error"]


def analyse_segments(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the clusters and slices in which the best run's error on the selection rows is significantly higher."""
    rows: list[tuple[Any, ...]] = []
    members: list[tuple[Any, ...]] = []
    facts: dict[str, Any] = {}
    highlights: list[Highlight] = []
    for number, target in enumerate(images.truths):
        progress("weak segments", number, len(images.truths))
        errors = best_run_errors(images, target)
        if errors is None:
            continue
        units = images.units[images.rows(errors.ids)]
        segments = compare_segments(errors.predictions.errors, units, _memberships(images, target, errors))
        weak_segments = [segment for segment in segments if segment.is_weak]
        rows += [_row(target, errors, segment) for segment in segments]
        truth = images.truths[target].take(errors.ids)
        members += [row for segment in weak_segments for row in _member_rows(target, truth, errors, segment)]
        facts[target] = {
            "run": errors.run,
            "part": errors.part,
            "n_images": len(errors.ids),
            "mean_error": float(errors.predictions.errors.mean()),
            "n_segments": len(segments),
            "n_weak": len(weak_segments),
        }
        highlights += _highlights(target, errors, weak_segments)
    progress("weak segments", len(images.truths), len(images.truths))
    if not facts:
        next_step = describe_outer_runs(images.recipe) or "run 'featx fit'"
        return AnalysisResult(notes=(f"{NO_RUNS}; {next_step}",) if images.is_extracted else ())
    images_of_segments = pd.DataFrame(members, columns=MEMBER_COLUMNS)
    tables = {"weak_segments": pd.DataFrame(rows, columns=COLUMNS), "weak_segment_images": images_of_segments}
    return AnalysisResult(tables, facts, tuple(highlights))


def _memberships(images: ExploredImages, target: str, errors: RunErrors) -> list[GroupMembership]:
    """Return the clusters of the embedding, and the slices of groups and properties, of the selection rows."""
    memberships = []
    if images.embedded is not None:
        positions = pd.Index(images.embedded.ids).get_indexer(pd.Index(errors.ids))
        if (positions >= 0).all():
            codes = cluster_rows(images.embedded.coordinates[positions])
            memberships.append(_name_clusters(images, target, errors, codes))
    columns = {name: values.reindex(errors.ids) for name, values in images.groups.items()}
    for name, values in images.properties.reindex(errors.ids).items():
        columns.setdefault(str(name), values)
    # Channels of grey images have the same bands as their brightness and contrast, which are listed in their place.
    for name in sorted(columns, key=lambda name: name in CHANNEL_COLUMNS):
        if columns[name].nunique() > 1:
            membership = group_rows(name, columns[name].reset_index(drop=True))
            if not any(
                np.array_equal(membership.codes, earlier_membership.codes) for earlier_membership in memberships
            ):
                memberships.append(membership)
    return memberships


def _name_clusters(
    images: ExploredImages, target: str, errors: RunErrors, codes: "np.ndarray[Any, np.dtype[np.intp]]"
) -> GroupMembership:
    """Return the clusters, named by their number and their most frequent true values."""
    texts = images.truths[target].take(errors.ids).texts()
    labels = np.array([texts[image_id] for image_id in errors.ids], dtype=object)
    names = []
    for code in range(int(codes.max()) + 1):
        counts = Counter(labels[codes == code])
        labels_text = ", ".join(label for label, _ in counts.most_common(N_LABELS))
        is_class = images.truths[target].kind == "classes"
        names.append(f"{code + 1}: {labels_text}" if is_class else str(code + 1))
    return GroupMembership(CLUSTER, codes, tuple(names), ordered=False)


def _row(target: str, errors: RunErrors, segment: Segment) -> tuple[Any, ...]:
    values = (segment.is_weak, len(segment.rows), segment.mean_error, segment.other_error, segment.p_holm)
    return (target, errors.run, segment.grouping, segment.name, *values)


def _member_rows(target: str, truth: AnyTruth, errors: RunErrors, segment: Segment) -> list[tuple[Any, ...]]:
    """Return the images of a segment with true values and predictions, the largest error first."""
    values = errors.predictions.errors
    order = segment.rows[np.argsort(-values[segment.rows], kind="stable")]
    decisions = errors.predictions.targets.decisions(errors.predictions.outputs[order])
    predicted = replace(truth.take(errors.ids[order]), values=decisions).texts()
    true_texts = truth.texts()
    return [
        (target, segment.grouping, segment.name, image_id, true_texts[image_id], predicted[image_id], float(error))
        for image_id, error in zip(errors.ids[order], values[order], strict=True)
    ]


def _highlights(target: str, errors: RunErrors, weak_segments: list[Segment]) -> list[Highlight]:
    if not weak_segments:
        return []
    segment = weak_segments[0]
    text = (
        f"{count_text(len(weak_segments), 'weak segment')} of {target!r} in run {errors.run}, first {segment.grouping} "
        f"{segment.name!r}: error {segment.mean_error:.3g} instead of {segment.other_error:.3g}"
    )
    return [Highlight(text, rank=2)]
