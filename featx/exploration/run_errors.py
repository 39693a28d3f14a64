"""Errors of the best run of a target for images that it was not trained on; labels of the part test are not used."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.evaluation.group_scores import GroupPredictions
from featx.exploration.explored_images import ExploredImages
from featx.metrics.scores import align
from featx.tables.ids import take_rows
from featx.tables.predictions import AnyPredictions, selection_rows
from featx.tables.truth import AnyTruth
from featx.text.four_digits import digits_that_differ, show_digits


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
    errors
        Error of each image that the run was not trained on, by id.
    """

    run: str
    part: str
    ids: NDArray[np.object_]
    predictions: GroupPredictions
    errors: "pd.Series[float]"


def best_run_errors(images: ExploredImages, target: str) -> RunErrors | None:
    """Return the errors of the run with the lowest mean error on the selection rows; None without runs."""
    truth = images.truths[target]
    candidates = []
    for run in images.runs(target):
        selection = _with_labels(selection_rows(run.answers), truth)
        if len(selection.ids):
            predictions = GroupPredictions(*align(truth, selection))
            candidates.append((float(predictions.errors.mean()), run.name, run, selection, predictions))
    if not candidates:
        return None
    _, _, run, selection, predictions = min(candidates, key=lambda candidate: candidate[:2])
    rows = images.rows(selection.ids)
    unit_predictions = replace(predictions, units=images.units[rows])
    return RunErrors(run.name, str(selection.part[0]), selection.ids, unit_predictions, _errors(run.answers, truth))


def _with_labels(predictions: AnyPredictions, truth: AnyTruth) -> AnyPredictions:
    """Return the out-of-fold and val rows of images with known labels."""
    is_known = pd.Index(predictions.ids).isin(truth.ids) & np.isin(predictions.part, ("oof", "val"))
    return take_rows(predictions, np.flatnonzero(is_known))


def _errors(predictions: AnyPredictions, truth: AnyTruth) -> "pd.Series[float]":
    table = _with_labels(predictions, truth)
    targets, outputs = align(truth, table)
    return pd.Series(targets.errors(outputs), index=pd.Index(table.ids))


def error_texts(errors: NDArray[np.floating[Any]], is_binary: bool) -> NDArray[Any]:
    """Return errors as texts for colours: ``right`` and ``wrong`` for classes, otherwise quarters of their range.

    Parameters
    ----------
    errors
        (n,) errors; nan for images without a prediction, whose text is None.
    is_binary
        Whether errors are 0 or 1.
    """
    texts = np.full(len(errors), None, dtype=object)
    scored_rows = np.flatnonzero(np.isfinite(errors))
    if is_binary:
        texts[scored_rows] = np.where(errors[scored_rows] > 0, "wrong", "right")
        return texts
    if len(scored_rows):
        edges = np.quantile(errors[scored_rows], [0.25, 0.5, 0.75])
        n_digits = digits_that_differ(edges.tolist())
        texts_of_edges = [show_digits(edge, n_digits) for edge in edges.tolist()]
        names = [f"error < {texts_of_edges[0]}", *(f"error ≥ {text}" for text in texts_of_edges)]
        texts[scored_rows] = np.asarray(names, dtype=object)[np.searchsorted(edges, errors[scored_rows], side="right")]
    return texts
