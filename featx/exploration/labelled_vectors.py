"""Vectors and classes of the images whose labels are not sealed, for each target of classes."""

import numpy as np
import pandas as pd

from featx.exploration.embedded_images import LabelledVectors
from featx.exploration.explored_images import ExploredImages
from featx.progress import ProgressCallback
from featx.tables.truth import Truth

NO_EMBEDDING = "there are no embeddings; add [[embedding]] to the recipe and run 'featx extract'"
NO_CLASSES = "no image with a vector has a label of a target of classes, which analyses of labels need"


def reasons_without_vectors(images: ExploredImages) -> tuple[str, ...]:
    """Return why there are no vectors, or no classes of images with vectors."""
    if images.embedded is not None:
        return (NO_CLASSES,)
    return (NO_EMBEDDING,) if images.is_extracted or not images.notes else images.notes


def class_vectors(images: ExploredImages, progress: ProgressCallback) -> list[LabelledVectors]:
    """Return the labelled images with vectors of each target of classes; empty before ``featx extract``."""
    tables = []
    for target, truth in images.truths.items():
        if isinstance(truth, Truth) and images.embedded is not None:
            codes = pd.Series(truth.codes, index=pd.Index(truth.ids)).reindex(images.embedded.ids)
            rows = np.flatnonzero(codes.notna())
            if len(rows) > 1:
                values = codes.to_numpy(np.float64)[rows].astype(np.intp)
                tables.append(images.embedded.labelled(target, rows, values, truth.classes, progress))
    return tables


def all_vectors(images: ExploredImages, progress: ProgressCallback) -> LabelledVectors | None:
    """Return the labelled images of the first target of classes; without one, all images as one class."""
    tables = class_vectors(images, progress)
    if tables or images.embedded is None or len(images.embedded.ids) < 2:
        return tables[0] if tables else None
    rows = np.arange(len(images.embedded.ids))
    return images.embedded.labelled("", rows, np.zeros(len(rows), dtype=np.intp), ("",), progress)
