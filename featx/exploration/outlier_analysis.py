"""Analysis of outliers and typical images of each class."""

import numpy as np
import pandas as pd

from featx.exploration.analysis import AnalysisResult, Highlight
from featx.exploration.embedded_images import LabelledVectors
from featx.exploration.explored_images import ExploredImages
from featx.exploration.labelled_vectors import all_vectors, reasons_without_vectors
from featx.exploration.outliers import Outliers, find_outliers, typical_images
from featx.progress import ProgressCallback

# Number of typical images of each class in the table.
N_TYPICAL = 8


def analyse_outliers(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the images that are far from all others, compared with their class, and the typical images of classes."""
    labelled_vectors = all_vectors(images, progress)
    if labelled_vectors is None:
        return AnalysisResult(notes=reasons_without_vectors(images))
    outliers = find_outliers(labelled_vectors.neighbours, labelled_vectors.codes)
    table = _outlier_table(labelled_vectors, outliers)
    table.insert(1, "part", images.parts[images.rows(table["id"].to_numpy(object))])
    typical_rows = typical_images(labelled_vectors.vectors, labelled_vectors.codes, N_TYPICAL, labelled_vectors.units)
    rows = [
        (labelled_vectors.classes[code], rank, labelled_vectors.ids[row])
        for code, positions in typical_rows.items()
        for rank, row in enumerate(positions, 1)
    ]
    facts = {"n_images": len(table), "n_outliers": len(outliers.ranking), "target": labelled_vectors.target}
    highlights: tuple[Highlight, ...] = ()
    if facts["n_outliers"]:
        subject = "1 image is" if facts["n_outliers"] == 1 else f"{facts['n_outliers']} images are"
        text = f"{subject} unlike all others, first {table['id'].iloc[0]!r}"
        highlights = (Highlight(text, rank=2),)
    tables = {"outliers": table, "typical_images": pd.DataFrame(rows, columns=["class", "rank", "id"])}
    return AnalysisResult(tables, facts, highlights)


def _outlier_table(labelled_vectors: LabelledVectors, outliers: Outliers) -> pd.DataFrame:
    """Return one row per image, the most distant compared with its class first."""
    order = np.argsort(-outliers.scores, kind="stable")
    nearest = labelled_vectors.neighbours.merged().rows[order, 0]
    is_outlier = np.zeros(len(order), dtype=bool)
    is_outlier[outliers.ranking] = True
    return pd.DataFrame(
        {
            "id": labelled_vectors.ids[order],
            "label": labelled_vectors.labels[order],
            "is_outlier": is_outlier[order],
            "score": outliers.scores[order],
            "distance": outliers.distances[order],
            "own_class_distance": outliers.own_distances[order],
            "other_class_distance": outliers.other_distances[order],
            "nearest_image": labelled_vectors.ids_at(nearest),
        }
    )
