"""Analyses of the classes of a study: likely wrong labels, and the separability of classes."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.exploration.analysis import AnalysisResult, Highlight
from featx.exploration.embedded_images import LabelledVectors
from featx.exploration.explored_images import ExploredImages
from featx.exploration.label_issues import LabelIssues, cross_validated_proba, find_label_issues
from featx.exploration.labelled_vectors import class_vectors, reasons_without_vectors
from featx.exploration.separability import measure_separability
from featx.progress import ProgressCallback
from featx.study.run_folder import RunFolder
from featx.tables.ids import Floats
from featx.tables.predictions import Predictions

# Number of neighbours whose ids and labels a table of likely wrong labels has.
N_SHOWN_NEIGHBOURS = 4
# Number of pairs of confused classes in a table.
MAX_PAIRS = 50
# Name of the model that replaces runs.
SUBSTITUTE = "a logistic regression of the embedding, by cross-validation"


def analyse_label_issues(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the quality of each label that is not sealed, ranked, with the nearest neighbours."""
    tables, facts, highlights = [], {}, []
    for labelled_vectors in class_vectors(images, progress):
        proba, source = _out_of_sample_proba(images, labelled_vectors)
        issues = find_label_issues(labelled_vectors.codes, labelled_vectors.neighbours.merged(), proba)
        parts = images.parts[images.rows(labelled_vectors.ids)]
        table = _issue_table(labelled_vectors, issues, parts)
        tables.append(table)
        facts[labelled_vectors.target] = {
            "n_labels": len(table),
            "n_likely_wrong": int(issues.are_likely_wrong.sum()),
            "n_estimated": issues.n_estimated,
            "probabilities": source,
            "parts": sorted({part for part in parts if part}),
        }
        highlights += _issue_highlights(labelled_vectors.target, table)
    if not tables:
        return AnalysisResult(notes=reasons_without_vectors(images))
    return AnalysisResult({"label_issues": pd.concat(tables, ignore_index=True)}, facts, tuple(highlights))


def _out_of_sample_proba(images: ExploredImages, labelled_vectors: LabelledVectors) -> tuple[Floats, str]:
    """Return class probabilities of the run with the lowest log loss, or of a cross-validated model, and its name."""
    candidates = []
    for run in images.runs(labelled_vectors.target):
        proba = _run_proba(run, labelled_vectors)
        if proba is not None:
            losses = -np.log(np.maximum(proba[np.arange(len(proba)), labelled_vectors.codes], 1e-12))
            candidates.append((float(losses.mean()), run.name, proba))
    if not candidates:
        return cross_validated_proba(
            labelled_vectors.vectors, labelled_vectors.codes, labelled_vectors.units
        ), SUBSTITUTE
    _, name, proba = min(candidates, key=lambda candidate: candidate[:2])
    return proba, name


def _run_proba(run: RunFolder, labelled_vectors: LabelledVectors) -> Floats | None:
    """Return the (n, k) out-of-fold and val probabilities of a run; None if it has no such row for an image."""
    predictions = run.predictions
    if not isinstance(predictions, Predictions) or set(predictions.classes) != set(labelled_vectors.classes):
        return None
    positions = pd.Index(predictions.ids).get_indexer(pd.Index(labelled_vectors.ids))
    if (positions < 0).any() or not np.isin(predictions.part[positions], ("oof", "val")).all():
        return None
    return predictions.ordered(labelled_vectors.classes).proba[positions]


def _issue_table(labelled_vectors: LabelledVectors, issues: LabelIssues, parts: NDArray[np.object_]) -> pd.DataFrame:
    """Return one row per image, the most doubtful label first."""
    order, names = issues.ranking, np.asarray(labelled_vectors.classes, dtype=object)
    columns: dict[str, Any] = {
        "id": labelled_vectors.ids[order],
        "target": labelled_vectors.target,
        "part": parts[order],
        "label": labelled_vectors.labels[order],
        "suggested_label": names[issues.suggested[order]],
        "is_likely_wrong": issues.are_likely_wrong[order],
        "quality": issues.quality[order],
        "suggested_probability": issues.proba[order, issues.suggested[order]],
        "neighbour_share": issues.given_shares[order],
    }
    neighbour_rows = labelled_vectors.neighbours.merged().rows[order, :N_SHOWN_NEIGHBOURS]
    for number in range(neighbour_rows.shape[1]):
        columns[f"neighbour_{number + 1}"] = labelled_vectors.ids_at(neighbour_rows[:, number])
        columns[f"neighbour_{number + 1}_label"] = labelled_vectors.labels_at(neighbour_rows[:, number])
    return pd.DataFrame(columns)


def _issue_highlights(target: str, table: pd.DataFrame) -> list[Highlight]:
    wrong_rows = table[table["is_likely_wrong"]]
    if not len(wrong_rows):
        return []
    issue = wrong_rows.iloc[0]
    return [
        Highlight(
            f"{len(wrong_rows)} of {len(table)} labels of {target!r} {'is' if len(wrong_rows) == 1 else 'are'} likely "
            f"wrong, first {issue['id']!r}: {issue['label']!r}, but {issue['suggested_label']!r} is suggested",
            rank=1,
        )
    ]


def analyse_separability(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return how well the classes are separated in the first embedding, by votes of neighbours and silhouettes."""
    classes, pairs, facts = [], [], {}
    for labelled_vectors in class_vectors(images, progress):
        names = labelled_vectors.classes
        result = measure_separability(
            labelled_vectors.vectors, labelled_vectors.codes, labelled_vectors.neighbours.merged(), len(names)
        )
        classes.append(
            pd.DataFrame(
                {
                    "target": labelled_vectors.target,
                    "class": list(names),
                    "n_images": np.bincount(labelled_vectors.codes, minlength=len(names)),
                    "recall": result.recalls,
                    "precision": result.precisions,
                    "silhouette": result.class_silhouettes,
                }
            )
        )
        pairs += [
            (labelled_vectors.target, names[pair.true], names[pair.voted], pair.n, pair.share)
            for pair in result.confused_pairs(MAX_PAIRS)
        ]
        facts[labelled_vectors.target] = {
            "embedding": images.embedding_name,
            "n_images": len(labelled_vectors.ids),
            "accuracy": result.accuracy,
            "majority_share": result.majority_share,
            "silhouette": float(result.silhouettes.mean()),
            "nearest_error": result.nearest_error,
            "lowest_error": result.lowest_error,
            "is_exact": labelled_vectors.neighbours.is_exact,
        }
    if not classes:
        return AnalysisResult(notes=reasons_without_vectors(images))
    confused = pd.DataFrame(pairs, columns=["target", "class", "confused_with", "n_images", "share"])
    return AnalysisResult(
        {"class_separability": pd.concat(classes, ignore_index=True), "confused_classes": confused}, facts
    )
