"""Members with known skills, over rows with a known truth, for each kind of target."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from featx.tables.predictions import Answered, Estimates, LabelProba, Labels, Predictions
from featx.tables.truth import Known, Numbers, Truth

CLASSES = {"classes": ("cat", "dog", "owl"), "labels": ("big", "old"), "numbers": ("age", "mood")}
KINDS = list(CLASSES)


def ids_of(n: int) -> NDArray[np.object_]:
    return np.array([f"i{row:05}" for row in range(n)], dtype=object)


def members_of(
    kind: str, n: int = 120, skills: Sequence[float] = (0.5, 1, 2), seed: int = 0
) -> tuple[list[Answered], Known]:
    """Return members, the last the most skilled, and what they answer; on val."""
    rng = np.random.default_rng(seed)
    names, ids = CLASSES[kind], ids_of(n)
    if kind == "classes":
        codes = rng.permutation(np.arange(n) % len(names))
        lean = [rng.normal(size=(n, 3)) + skill * np.eye(3)[codes] for skill in skills]
        proba = [np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in lean]
        return [Predictions.of_part("val", ids, one, names) for one in proba], Truth(ids, codes, names)
    if kind == "labels":
        has = rng.integers(0, 2, (n, 2)).astype(float)
        said = [expit(rng.normal(size=(n, 2)) + skill * (2 * has - 1)) for skill in skills]
        return [LabelProba.of_part("val", ids, one, names) for one in said], Labels(ids, has, names)
    values = rng.normal(size=(n, 2)) * [10, 1]
    near = [values + rng.normal(size=(n, 2)) * [10, 1] / skill for skill in skills]
    return [Estimates.of_part("val", ids, one, names) for one in near], Numbers(ids, values, names)


def sure_of(codes: NDArray[np.int64], yes: float, classes: Sequence[str] = ("no", "yes")) -> Predictions:
    """Return a member that gives the class of each code the probability `yes`, of two."""
    proba = np.where(np.eye(2)[codes] == 1, yes, 1 - yes)
    return Predictions.of_part("val", ids_of(len(codes)), proba, classes)


def values_of(answered: Answered) -> NDArray[np.float64]:
    """Return a table's (n, k) answers."""
    return answered.proba if isinstance(answered, Predictions) else answered.values
