"""Errors of the best run of a target for images that it was not trained on; labels of the test part are not used."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.evaluation.group_scores import GroupPredictions
from featx.exploration.explored_images import ExploredImages
from featx.metrics.scores import align
from featx.tables.ids import Floats, take_rows
from featx.tables.predictions import AnyPredictions, selection_rows
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth
from featx.text.four_digits import count_distinguishing_digits, show_digits


@dataclass(frozen=True, eq=False)
class RunErrors:
    """Errors of one run.

    Attributes
    ----------
    run
        Name of the run.
    part
        Part of the selection rows: ``val``, or ``oof`` for out-of-fold predictions.
    ids
        (n,) ids of the selection rows.
    predictions
        Predictions for the selection rows.
    error_texts
        Error of each image that the run was not trained on as text for colours, by id.
    """

    run: str
    part: str
    ids: NDArray[np.object_]
    predictions: GroupPredictions
    error_texts: "pd.Series[Any]"


def best_run_errors(images: ExploredImages, target: str) -> RunErrors | None:
    """Return the errors of the run with the lowest mean error on the selection rows; None without runs."""
    truth = images.truths[target]
    candidates = []
    for run in images.runs(target):
        selection = _with_labels(selection_rows(run.predictions), truth)
        if len(selection.ids):
            predictions = GroupPredictions(*align(truth, selection))
            candidates.append((float(predictions.errors.mean()), run.name, run, selection, predictions))
    if not candidates:
        return None
    _, _, run, selection, predictions = min(candidates, key=lambda candidate: candidate[:2])
    rows = images.rows(selection.ids)
    unit_predictions = replace(predictions, units=images.units[rows])
    return RunErrors(
        run.name, str(selection.part[0]), selection.ids, unit_predictions, _error_texts(run.predictions, truth)
    )


def _with_labels(predictions: AnyPredictions, truth: AnyTruth) -> AnyPredictions:
    """Return the out-of-fold and val rows of images with known labels."""
    is_known = pd.Index(predictions.ids).isin(truth.ids) & np.isin(predictions.part, ("oof", "val"))
    return take_rows(predictions, np.flatnonzero(is_known))


def _error_texts(predictions: AnyPredictions, truth: AnyTruth) -> "pd.Series[Any]":
    table = _with_labels(predictions, truth)
    return pd.Series(error_texts(*align(truth, table)), index=pd.Index(table.ids), dtype=object)


def error_texts(targets: TargetValues, outputs: Floats) -> NDArray[np.object_]:
    """Return the (n,) errors of rows as texts for colours.

    The texts are ``right`` and ``wrong`` for classes, where the class of soft labels is the most probable one. Errors
    of labels and numbers are in quarters of their values.

    Parameters
    ----------
    targets
        True values of n rows.
    outputs
        (n, k) probabilities or (n, t) values.
    """
    if targets.kind == "classes":
        return np.where(targets.are_right(outputs), "right", "wrong").astype(object)
    errors = targets.errors(outputs)
    if not len(errors):
        return np.empty(0, dtype=object)
    edges = np.quantile(errors, [0.25, 0.5, 0.75])
    n_digits = count_distinguishing_digits(edges.tolist())
    texts_of_edges = [show_digits(edge, n_digits) for edge in edges.tolist()]
    names = [f"error < {texts_of_edges[0]}", *(f"error ≥ {text}" for text in texts_of_edges)]
    return np.asarray(names, dtype=object)[np.searchsorted(edges, errors, side="right")]
