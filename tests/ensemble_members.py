"""Ensemble members of known skill, for rows with known truth and each kind of target."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from featx.ensembles.combiners import EnsembleMethod
from featx.ensembles.cross_fitting import CrossFitting
from featx.specs.ensembling import EnsembleSpec
from featx.tables.predictions import AnyPredictions, Estimates, LabelProba, Predictions
from featx.tables.truth import AnyTruth, Labels, Numbers, Truth

CLASSES = {"classes": ("cat", "dog", "owl"), "labels": ("big", "old"), "numbers": ("age", "mood")}
KINDS = list(CLASSES)


def ids_of(n: int) -> NDArray[np.object_]:
    """Return the ids of n rows."""
    return np.array([f"i{row:05}" for row in range(n)], dtype=object)


def members_of(
    kind: str, n: int = 120, skills: Sequence[float] = (0.5, 1, 2), seed: int = 0
) -> tuple[list[AnyPredictions], AnyTruth]:
    """Return the predictions of the members, in order of skill, and the truth; all rows are val rows."""
    rng = np.random.default_rng(seed)
    names, ids = CLASSES[kind], ids_of(n)
    if kind == "classes":
        codes = rng.permutation(np.arange(n) % len(names))
        logits = [rng.normal(size=(n, 3)) + skill * np.eye(3)[codes] for skill in skills]
        tables = [Predictions.of_part("val", ids, softmax(values, axis=1), names) for values in logits]
        return tables, Truth(ids, codes, names)
    if kind == "labels":
        has_label = rng.integers(0, 2, (n, 2)).astype(float)
        proba = [expit(rng.normal(size=(n, 2)) + skill * (2 * has_label - 1)) for skill in skills]
        return [LabelProba.of_part("val", ids, values, names) for values in proba], Labels(ids, has_label, names)
    true = rng.normal(size=(n, 2)) * [10, 1]
    member_values = [true + rng.normal(size=(n, 2)) * [10, 1] / skill for skill in skills]
    return [Estimates.of_part("val", ids, values, names) for values in member_values], Numbers(ids, true, names)


def two_class_member(codes: NDArray[np.int64], yes: float, classes: Sequence[str] = ("no", "yes")) -> Predictions:
    """Return a member that gives the classes `codes`, one of two, the probability `yes`."""
    proba = np.where(np.eye(2)[codes] == 1, yes, 1 - yes)
    return Predictions.of_part("val", ids_of(len(codes)), proba, classes)


def values_of(table: AnyPredictions) -> NDArray[np.float64]:
    """Return a table's (n, k) predictions."""
    return table.proba if isinstance(table, Predictions) else table.values


def cross_predictions(
    method: EnsembleMethod,
    members: Sequence[AnyPredictions],
    truth: AnyTruth,
    spec: EnsembleSpec,
    groups: NDArray[Any] | None = None,
) -> AnyPredictions:
    """Return the cross-fitted predictions of an ensemble, in the order of the first member's rows."""
    selection = CrossFitting.of(members, truth, spec, groups)
    rows = members[0].take(selection.ids)
    outputs, rule = selection.cross_predict(method), selection.decision_rule(method)
    return rows.with_outputs(selection.members.names, outputs, rule).take(members[0].ids)
