"""Stored outputs of runs, with which exported models are compared."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.artifacts.export_card import Parity
from featx.artifacts.header import Header
from featx.predictors.models import EnsembleModel, Model
from featx.study.run_folder import RunFolder
from featx.tables.ids import Floats, Ids
from featx.tables.target_values import TARGET_KINDS

TOLERANCE = 1e-4


def stored_outputs(run: RunFolder, model: Model, ids: Ids) -> Floats:
    """Return the outputs (n, k) that a run has stored; of an ensemble, the combination of those of its members.

    The stored outputs of a trained ensemble for val rows are not used: they are cross-fitted, by combiners that are not
    part of the model.

    Parameters
    ----------
    run, model
        The run, and the model in it.
    ids
        n ids of rows that the run has predictions for.
    """
    if not isinstance(model, EnsembleModel):
        return run.predictions.take(ids).ordered(model.classes).values
    outputs = [
        model.reorder(member, stored_outputs(RunFolder(run.path.parent / member.name), member, ids))
        for member in model.members
    ]
    return model.combine(np.stack(outputs))


def measure_parity(
    header: Header, outputs: NDArray[np.floating[Any]], expected_outputs: Floats, rows: str, reason: str = ""
) -> Parity:
    """Return the agreement of outputs (n, k) with the expected ones (n, k).

    Parameters
    ----------
    header
        Header of the model, with the kind of its outputs and the rule that predicts classes from them.
    outputs, expected_outputs
        Outputs to compare, rows and columns in the same order.
    rows
        Names of the parts that the rows belong to.
    reason
        Known cause of differences; empty by default.
    """
    differences = np.abs(outputs - expected_outputs).max(1)
    return Parity(
        rows=rows,
        n=len(differences),
        max_abs_difference=float(differences.max()),
        tolerance=TOLERANCE,
        n_rows_above_tolerance=int((differences > TOLERANCE).sum()),
        reason=reason,
        n_other_labels=count_other_labels(header, outputs, expected_outputs),
    )


def count_other_labels(header: Header, outputs: NDArray[np.floating[Any]], expected_outputs: Floats) -> int | None:
    """Return the number of rows for which outputs (n, k) give another class or other labels; None for numbers."""
    if header.prediction_kind == "numbers":
        return None
    kind, rule = TARGET_KINDS[header.prediction_kind], header.decision
    is_other = kind.decide(np.asarray(outputs, dtype=np.float64), rule) != kind.decide(expected_outputs, rule)
    return int(is_other.reshape(len(is_other), -1).any(axis=1).sum())
