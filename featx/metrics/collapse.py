"""Detection of collapsed runs, which predict the same for every image."""

import numpy as np

from featx.metrics.scores import align
from featx.tables.predictions import AnyPredictions
from featx.tables.truth import AnyTruth

ONE_CLASS, ONE_NUMBER = "one class", "one number"
# Predictions of numbers are the same if they differ by less than this, relative to their size.
MAX_RELATIVE_SPREAD = 1e-6


def collapse_flags(truth: AnyTruth, predictions: AnyPredictions) -> list[str]:
    """Return ``one class`` or ``one number`` if a run predicts the same for all rows and their true values differ.

    Labels have no such flag: none of several rare labels may be predicted for any image although their ranking is good.
    """
    targets, outputs = align(truth, predictions)
    if targets.kind == "labels" or len(targets) < 2 or np.ptp(targets.y, axis=0).max() == 0:
        return []
    if targets.kind == "classes":
        return [ONE_CLASS] if np.ptp(targets.decisions(outputs)) == 0 else []
    spread = np.ptp(outputs, axis=0) <= MAX_RELATIVE_SPREAD * np.maximum(np.abs(outputs).max(axis=0), 1e-300)
    return [ONE_NUMBER] if spread.all() else []
