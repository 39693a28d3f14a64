"""Scores of predictions for every kind of target, used by searches, ensembles and evaluation alike.

A metric that chooses between settings or runs is weighted by the rows' weights, if there are any (a confidence, or the
weight of an image). Tables show the weighted score beside the plain one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.class_scores import per_output
from featx.metrics.definitions import MAIN_SCORES, WEIGHTED_PREFIX, Scorer, find_score
from featx.metrics.score_kinds import Outputs
from featx.registry import suggest_names
from featx.specs.head import Metric
from featx.specs.suitability import suited_metrics
from featx.tables.ids import Floats
from featx.tables.predictions import AnyPredictions
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth, Truth

# The other metrics need only the predicted class, or the ranking of the outputs.
NEEDS_PROBABILITIES = {"log_loss"}


def resolve_metric(targets: TargetValues, metric: Metric | None) -> Metric:
    """Return the metric by which settings and runs are chosen: the recipe's, or the default of the kind of target.

    Raises
    ------
    DataError
        The metric is not defined for this kind of target.
    """
    metrics = suited_metrics(targets.kind, targets.ordered)
    if metric is None:
        return "quadratic_kappa" if targets.ordered else metrics[0]
    if metric not in metrics:
        kind = "classes without order" if targets.kind == "classes" and not targets.ordered else targets.kind
        raise DataError(
            f"metric {metric!r} is not defined for targets of {kind}; {suggest_names(metric, list(metrics))}"
        )
    return metric


def weighted_score(metric: str, targets: TargetValues, outputs: Outputs) -> float:
    """Return one score of one model, weighted by the rows' weights."""
    return Scorer(targets, outputs, [metric]).plain(targets.weights)[metric]


def is_score_defined(metric: str, targets: TargetValues) -> bool:
    """Return whether a score, weighted by the rows' weights, is defined for some rows, whatever is predicted."""
    # Random outputs, because scores such as a correlation are not defined for constant ones either.
    outputs = np.random.default_rng(0).random((len(targets), targets.n_outputs))
    return not np.isnan(weighted_score(metric, targets, outputs))


def compared_score(metric: Metric, targets: TargetValues | AnyTruth) -> str:
    """Return the name of the score by which runs are compared: the metric, weighted if rows have weights above 0."""
    return metric if targets.weights is None or not targets.weights.any() else f"{WEIGHTED_PREFIX}{metric}"


def signed_score(metric: Metric, targets: TargetValues, outputs: Outputs) -> float:
    """Return one model's weighted score with a sign that makes greater values better, as for minus the log loss."""
    return float(find_score(metric).signed(weighted_score(metric, targets, outputs)))


def align(truth: AnyTruth, predictions: AnyPredictions) -> tuple[TargetValues, Outputs]:
    """Return the true values and the outputs for the rows of `predictions`, with columns in the order of the truth.

    The true values hold the decision rule of the model.
    """
    ordered_predictions = predictions.ordered(truth.names)
    targets = TargetValues.of(truth.take(predictions.ids)).decided_by(ordered_predictions.decision)
    return targets, ordered_predictions.values


def score(metric: Metric, truth: AnyTruth, predictions: AnyPredictions) -> float:
    """Return the `weighted_score` of one model on the rows of `predictions`."""
    return weighted_score(metric, *align(truth, predictions))


def scores(truth: AnyTruth, predictions: AnyPredictions, metric: Metric | None = None) -> dict[str, float]:
    """Return all scores of one model on the rows of `predictions`.

    Parameters
    ----------
    metric
        Selection score, of which the weighted value is returned too if rows have weights; by default the main score
        alone, accuracy or mae.

    Returns
    -------
    dict
        ``n``, the number of rows, and the scores of the kind of target.

        Classes, in [0, 1] unless noted: accuracy, balanced_accuracy, macro and weighted precision, recall and F1, kappa
        and mcc (Matthews' correlation over all classes) in [-1, 1], auc_ovr, log_loss in nats, brier in [0, 2] and ece;
        classwise_ece for more than two classes; quadratic_kappa and mae_steps (mean distance of the predicted class, in
        classes) for ordered classes.

        Labels: accuracy, exact_match, macro_f1, average_precision, auc, log_loss, brier, ece, classwise_ece.

        Numbers, as means over the columns: mae and rmse in their units, r2, pearson and ccc (Lin's concordance) of at
        most 1, sagr (share of predictions with the right sign), mape (error as a share of the truth) if no true number
        is 0; for several columns also each of these scores of each column, as ``rmse.NAME``.

        These scores weigh all rows equally. If rows have weights, ``confidence_accuracy`` or ``confidence_mae`` is the
        weighted main score, and ``confidence_METRIC`` the weighted selection score.

    Notes
    -----
    Precision, recall and F1 are averaged over all k classes; a class that is never predicted counts 0. Each score is
    defined in `featx.metrics.definitions`.

    References
    ----------
    .. [1] L. I.-K. Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics 1989.
    .. [2] J. Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Computational
       Biology and Chemistry 2004.
    """
    return scores_of_outputs(*align(truth, predictions), metric)


def scores_of_outputs(targets: TargetValues, outputs: Outputs, metric: Metric | None = None) -> dict[str, float]:
    """Return the `scores` of one model whose outputs are in the order of the true values."""
    values = Scorer(targets, outputs).plain()
    for name in dict.fromkeys([MAIN_SCORES[targets.kind], metric or MAIN_SCORES[targets.kind]]):
        if (key := compared_score(name, targets)) != name:
            values[key] = weighted_score(name, targets, outputs)
    return {"n": len(targets), **values}


def per_class(truth: AnyTruth, predictions: AnyPredictions) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and number of images of each class or label, in the order of the truth."""
    return per_output(*align(truth, predictions))


def confusion(truth: Truth, predictions: AnyPredictions) -> NDArray[np.int64] | Floats:
    """Return (k, k) counts of true classes (rows) and predicted classes (columns).

    Soft labels are counted by their probabilities, to 3 decimals.
    """
    targets, proba = align(truth, predictions)
    k, codes = targets.n_outputs, targets.decisions(proba)
    if targets.shares is not None:
        return np.stack([np.bincount(codes, share, minlength=k) for share in targets.shares.T]).round(3)
    return np.bincount(targets.y * k + codes, minlength=k * k).reshape(k, k)
