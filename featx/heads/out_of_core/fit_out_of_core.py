"""A head whose train rows do not fit in memory: its setting is searched on a sample, then all rows teach in passes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from featx.artifacts.outputs import predict_outputs
from featx.heads.builtin import Head
from featx.heads.calibration import Outputs, calibrate, with_calibration
from featx.heads.fitting import OutOfFold, decide_by_rule, without_weights_of
from featx.heads.folds import TrainingData, TrainRows
from featx.heads.out_of_core.estimators import Course, give_back
from featx.heads.out_of_core.stored_rows import StoredRows
from featx.heads.scaling import Params
from featx.parallel.threads import single_threaded
from featx.progress import ProgressCallback
from featx.specs.head import HeadSpec
from featx.tables.target_values import TargetValues

CALIBRATED_BY = 50_000  # rows of a class: enough for two numbers or some steps, whatever there is to answer


@single_threaded()
def learnt_in_passes(
    head: Head,
    params: Params,
    rows: tuple[Callable[[], StoredRows], TrainRows],
    spec: HeadSpec,
    progress: ProgressCallback,
) -> tuple[Pipeline, OutOfFold]:
    """Return the model of all rows, calibrated, and what models of the other folds say of each row.

    Parameters
    ----------
    rows
        Opens the vectors in the store, whose index is given up before calibration needs room; and what else is known
        of the same rows. The vectors of the latter are not looked at.
    """
    opened, known = rows
    stored = opened()
    assert head.in_passes is not None
    fold_of = known.fold_of(spec.folds, spec.seed)
    sets = fold_of != np.arange(spec.folds + 1)[:, None]
    progress(f"fit {spec.name}", 0, 2)
    course = Course(stored, known.facts.y, known.lessons().weights, sets, known.facts.n_outputs)
    *of_folds, model = (without_weights_of(known, one, head) for one in head.in_passes(params, course))
    progress(f"fit {spec.name}", 1, 2)
    outputs = _held_out(of_folds, stored, known.facts, fold_of, head.calibrated)
    del stored, course, sets
    give_back()
    lessons = standing_for_all(known.calibration_lessons(), spec.seed)
    chosen = calibrate(spec.calibration, outputs, known.facts, lessons, fold_of)
    if chosen.method != "none":
        name, clf = model.steps[-1]
        model.steps[-1] = (name, with_calibration(clf, chosen.method, outputs, lessons))
    decide_by_rule(model, known)
    progress(f"fit {spec.name}", 2, 2)
    return model, OutOfFold(chosen.proba, fold_of.astype(np.int64), chosen.method, chosen.log_losses)


def standing_for_all(lessons: TrainingData, seed: int) -> TrainingData:
    """Return some rows of each class, weighted as many as they stand for: calibration has few numbers to learn."""
    rng, counts = np.random.default_rng(seed), np.bincount(lessons.y)
    if counts.max() <= CALIBRATED_BY:
        return lessons
    chosen = [rng.permutation(np.flatnonzero(lessons.y == code))[:CALIBRATED_BY] for code in range(len(counts))]
    at = np.sort(np.concatenate(chosen))
    stand_for = (counts / np.minimum(counts, CALIBRATED_BY))[lessons.y[at]]
    weights = stand_for if lessons.weights is None else stand_for * lessons.weights[at]
    return TrainingData(lessons.at[at], lessons.y[at], weights)


def _held_out(
    models: Sequence[Pipeline],
    stored: StoredRows,
    facts: TargetValues,
    fold_of: NDArray[np.integer],
    lacks_probabilities: bool,
) -> Outputs:
    """Return what each row's model, that did not see it, says of it: in one pass."""
    k = facts.n_outputs
    decides = hasattr(models[0], "decision_function")
    raw = np.empty((len(stored), 1 if k == 2 else k)) if decides else None
    proba = None if lacks_probabilities else np.empty((len(stored), k))
    for at, x in stored.blocks():
        for number, model in enumerate(models):
            mine = fold_of[at] == number
            if mine.any():
                if raw is not None:
                    raw[at[mine]] = model.decision_function(x[mine]).reshape(int(mine.sum()), -1)
                if proba is not None:
                    proba[at[mine]] = predict_outputs(model, x[mine], "classes")
    return Outputs(proba if raw is None else raw, decides, proba)


def answered_in_blocks(model: Pipeline, stored: StoredRows) -> NDArray[np.float64]:
    """Return (n, k) probabilities of all rows, block by block."""
    found: NDArray[np.float64] | None = None
    for at, x in stored.blocks():
        proba = predict_outputs(model, x, "classes")
        found = np.empty((len(stored), proba.shape[1])) if found is None else found
        found[at] = proba
    assert found is not None
    return found
