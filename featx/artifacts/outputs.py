"""What a fitted scikit-learn object answers, in one form for every kind of target."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.parallel.threads import single_threaded
from featx.tables.ids import Kind


@single_threaded()
def predict_outputs(model: Any, x: NDArray[np.float32], kind: Kind) -> NDArray[np.float64]:
    """Return (n, k) probabilities of classes, (n, t) of labels, or (n, t) numbers.

    Notes
    -----
    Of several labels, scikit-learn's estimators answer with one (n, 2) table a label or with one (n, t) table.
    """
    if kind == "numbers":
        return np.asarray(model.predict(x), dtype=np.float64).reshape(len(x), -1)
    proba = model.predict_proba(x)
    if isinstance(proba, list):
        proba = np.stack([of_label[:, 1] for of_label in proba], axis=1)
    return np.asarray(proba, dtype=np.float64)
