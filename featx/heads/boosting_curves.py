"""Scores of boosted trees after each tree, and early stopping on rows held out of train.

A fixed number of trees is grown completely unless ``early_stopping_rounds`` is among the fixed parameters. Then the
number of trees is the one at which the loss of the first fold's held-out rows is lowest, and the final model is fitted
on all train rows with as many trees; val rows do not choose anything.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import Pipeline

from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head
from featx.heads.head_settings import EARLY_STOPPING
from featx.heads.learning_problems import PROBLEMS
from featx.heads.scaling import Params
from featx.metrics.scores import weighted_score
from featx.parallel.threads import single_threaded
from featx.specs.head import HeadSpec, Metric
from featx.study.run_metrics import TreeScores
from featx.tables.decision_rule import remove_class_weights
from featx.tables.ids import Floats, Kind

# Loss and score of each kind of target.
CURVES: dict[Kind, tuple[Metric, Metric]] = {
    "classes": ("log_loss", "accuracy"),
    "labels": ("log_loss", "accuracy"),
    "numbers": ("rmse", "mae"),
}
N_DIGITS = 6


def score_trees(model: Pipeline, train: TrainRows, val: TrainRows | None, spec: HeadSpec) -> TreeScores | None:
    """Return the scores of the first trees of a fitted head, for each number of trees; None for other estimators.

    Parameters
    ----------
    train
        Rows that the head was fitted on.
    val
        Rows of val; None without a val part.
    """
    trees = _find_boosted(model)
    if trees is None:
        return None
    loss, score = CURVES[train.targets.kind]
    curves = {}
    for part, rows in (("train", train), ("val", val)):
        outputs = [] if rows is None else list(_staged_scores(trees, rows, train, (loss, score)))
        curves[f"{part}_loss"] = [round(pair[0], N_DIGITS) for pair in outputs]
        curves[f"{part}_score"] = [round(pair[1], N_DIGITS) for pair in outputs]
    max_trees = max_number_of_trees(spec, trees) if EARLY_STOPPING in spec.params else None
    return TreeScores(loss=loss, score=score, max_trees=max_trees, **curves)


def embedding_gains(model: Pipeline, n_features: Mapping[str, int]) -> dict[str, float]:
    """Return the share of the gain of all boosted trees that each of several joined embeddings has.

    The result is empty for one embedding and for other estimators. Of calibrated models, the first one is used.

    Parameters
    ----------
    n_features
        Name of each embedding → its number of features, in the order of the columns.
    """
    trees = _find_boosted(model)
    if trees is None or len(n_features) < 2:
        return {}
    gains = np.zeros(sum(n_features.values()))
    for feature, gain in trees.get_booster().get_score(importance_type="total_gain").items():
        gains[int(feature.removeprefix("f"))] = gain
    total = gains.sum()
    blocks = np.split(gains, np.cumsum(list(n_features.values()))[:-1])
    shares = [round(float(block.sum() / total), N_DIGITS) if total else 0.0 for block in blocks]
    return dict(zip(n_features, shares, strict=True))


def max_number_of_trees(spec: HeadSpec, trees: Any) -> int:
    """Return the number of trees at which growing ends if early stopping does not end it."""
    # 100 is XGBoost's own default, which it does not store in its parameters.
    return int(spec.params.get("n_estimators") or type(trees)().n_estimators or 100)


def _staged_scores(
    trees: Any, rows: TrainRows, train: TrainRows, metrics: tuple[Metric, Metric]
) -> Iterator[tuple[float, float]]:
    """Yield the loss and the score of the first tree, of the first two trees, and so on."""
    targets, weights = rows.targets.decided_by(train.decision_rule), train.class_weights
    for margins in _staged_margins(trees, rows.x):
        outputs = targets.from_logits(margins)
        if weights is not None:
            outputs = remove_class_weights(outputs, weights)
        loss, score = (weighted_score(metric, targets, outputs) for metric in metrics)
        yield loss, score


def _staged_margins(trees: Any, x: NDArray[np.float32]) -> Iterator[Floats]:
    """Yield the (n, k) sums of the leaves of the first trees; each round is added to the sums of those before it."""
    import xgboost as xgb

    booster, matrix = trees.get_booster(), xgb.DMatrix(x, nthread=1)
    for number in range(booster.num_boosted_rounds()):
        margins = booster.predict(matrix, iteration_range=(number, number + 1), output_margin=True)
        # Without a base margin, XGBoost would add its intercept in each round.
        matrix.set_base_margin(margins)
        yield np.asarray(margins, np.float64).reshape(len(x), -1)


def _find_boosted(estimator: Any) -> Any:
    """Return the fitted XGBoost model inside calibrations and decision rules; None if there is none."""
    if hasattr(estimator, "get_booster"):
        return estimator
    if isinstance(estimator, Pipeline):
        return next(filter(None, (_find_boosted(step) for _, step in estimator.steps)), None)
    if isinstance(estimator, CalibratedClassifierCV):
        return _find_boosted(estimator.calibrated_classifiers_[0].estimator)
    return _find_boosted(estimator.estimators_[0]) if isinstance(estimator, VotingClassifier) else None


@single_threaded()
def stop_early(head: Head, params: Params, rows: TrainRows, spec: HeadSpec) -> Params:
    """Return a setting with the number of trees at which the loss of the first fold's held-out rows is lowest.

    Parameters
    ----------
    params
        The chosen setting, with at most as many trees as its ``n_estimators``.
    """
    train, held_out = (rows.take(numbers) for numbers in rows.folds(spec.folds, spec.seed)[0])
    trees = head.build(params).steps[-1][1].set_params(**{EARLY_STOPPING: spec.params[EARLY_STOPPING]})
    (x, y, weights), held_out_samples = _samples(train), _samples(held_out)
    trees.fit(
        x,
        y,
        sample_weight=weights,
        eval_set=[held_out_samples[:2]],
        sample_weight_eval_set=[held_out_samples[2]],
        verbose=False,
    )
    return params | {"n_estimators": int(trees.best_iteration) + 1}


def _samples(rows: TrainRows) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float64]]:
    data = rows.training_data()
    weights = np.ones(len(data.y)) if data.weights is None else data.weights
    return rows.x[data.row_numbers], PROBLEMS[rows.targets.kind].fit_values(data.y), weights
