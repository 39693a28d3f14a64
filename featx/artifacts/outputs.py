"""Outputs of fitted scikit-learn objects, in one form for all kinds of targets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.parallel.threads import single_threaded
from featx.tables.ids import Kind


@single_threaded()
def predict_outputs(model: Any, x: NDArray[np.float32], kind: Kind) -> NDArray[np.float64]:
    """Return probabilities of classes (n, k) or of labels (n, t), or numbers (n, t).

    Notes
    -----
    For several labels, scikit-learn's estimators return either one (n, 2) array per label or one (n, t) array.
    """
    if kind == "numbers":
        return np.asarray(model.predict(x), dtype=np.float64).reshape(len(x), -1)
    proba = model.predict_proba(x)
    if isinstance(proba, list):
        proba = np.stack([label_proba[:, 1] for label_proba in proba], axis=1)
    return np.asarray(proba, dtype=np.float64)
