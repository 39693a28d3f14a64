"""Scores of predictions against the truth, the same for search, votes and evaluation, for every kind of target.

Rows that have weights (a confidence, or how much an image counts) count by them where a metric chooses between settings
or runs; tables show such a score beside the plain one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.definitions import Scorer, per_output
from featx.registry import suggestion
from featx.specs.head import Metric
from featx.tables.ids import Kind
from featx.tables.predictions import Answered, Predictions
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known, Truth

Outputs = NDArray[np.float64]  # (n, k) probabilities of classes, (n, t) of labels, or (n, t) numbers


def _one(name: str, facts: TargetValues, outputs: Outputs) -> float:
    return Scorer(facts, outputs, [name]).plain(facts.weights)[name]


def accuracy(facts: TargetValues, outputs: Outputs) -> float:
    """Share of right answers; of labels, over images and labels alike."""
    return _one("accuracy", facts, outputs)


def exact_match(facts: TargetValues, outputs: Outputs) -> float:
    """Share of images all of whose labels are right."""
    return _one("exact_match", facts, outputs)


def balanced_accuracy(facts: TargetValues, outputs: Outputs) -> float:
    """Mean recall over the classes that occur."""
    return _one("balanced_accuracy", facts, outputs)


def macro_f1(facts: TargetValues, outputs: Outputs) -> float:
    """Mean F1 over the classes or labels; one without guesses counts 0."""
    return _one("macro_f1", facts, outputs)


def log_loss(facts: TargetValues, outputs: Outputs) -> float:
    """Mean -log of the probability given to the truth, in nats; see `featx.metrics.definitions.log_losses`."""
    return _one("log_loss", facts, outputs)


def quadratic_kappa(facts: TargetValues, outputs: Outputs) -> float:
    """Cohen's kappa whose disagreements count by the square of the steps between the classes, in [-1, 1]."""
    return _one("quadratic_kappa", facts, outputs)


def average_precision(facts: TargetValues, outputs: Outputs) -> float:
    """Mean over the labels that occur of the area under precision over recall; nan where none does."""
    return _one("average_precision", facts, outputs)


def auc(facts: TargetValues, outputs: Outputs) -> float:
    """Mean area under the ROC curve of each class against the rest, or of each label; nan where none has both sides.

    With two classes both areas are equal, and so is their mean.
    """
    return _one("auc" if facts.kind == "labels" else "auc_ovr", facts, outputs)


def _of_number(name: str) -> Callable[[TargetValues, Outputs], float]:
    return lambda facts, outputs: _one(name, facts, outputs)


OF_NUMBERS = {name: _of_number(name) for name in ("mae", "rmse", "r2", "pearson", "ccc")}


def _less(of: Callable[[TargetValues, Outputs], float]) -> Callable[[TargetValues, Outputs], float]:
    return lambda facts, outputs: -of(facts, outputs)


GREATER_IS_BETTER: dict[Kind, dict[str, Callable[[TargetValues, Outputs], float]]] = {
    "classes": {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "log_loss": _less(log_loss),
        "quadratic_kappa": quadratic_kappa,
    },
    "labels": {
        "average_precision": average_precision,
        "accuracy": accuracy,
        "exact_match": exact_match,
        "macro_f1": macro_f1,
        "log_loss": _less(log_loss),
    },
    "numbers": OF_NUMBERS | {"mae": _less(OF_NUMBERS["mae"]), "rmse": _less(OF_NUMBERS["rmse"])},
}
NEEDS_PROBABILITIES = {"log_loss"}  # the others ask which is likelier only


def chosen_metric(facts: TargetValues, metric: Metric | None) -> Metric:
    """Return the metric that chooses where a recipe does not say one, or the one that it says.

    Raises
    ------
    DataError
        it is not one of the kind of target.
    """
    default: dict[Kind, Metric] = {"classes": "accuracy", "labels": "average_precision", "numbers": "mae"}
    if metric is None:
        return "quadratic_kappa" if facts.ordered else default[facts.kind]
    known = GREATER_IS_BETTER[facts.kind]
    if metric not in known:
        raise DataError(f"metric {metric!r} is none of {facts.kind}; {suggestion(metric, list(known))}")
    return metric


def merit(metric: Metric, facts: TargetValues, outputs: Outputs) -> float:
    """One number for one model, greater is better (so minus the log loss)."""
    return GREATER_IS_BETTER[facts.kind][metric](facts, outputs)


def aligned(known: Known, answered: Answered) -> tuple[TargetValues, Outputs]:
    """Return what is known of the rows of `answered`, and what they say, columns in the order of the known names.

    The former holds the rule by which the model decides for a class.
    """
    known = known.take(answered.ids)
    if isinstance(answered, Predictions):
        ordered = answered.ordered(known.names)
        return TargetValues.of(known).decided_by(ordered.decision), ordered.proba
    columns = [answered.names.index(name) for name in known.names]
    return TargetValues.of(known), answered.values[:, columns]


def score(metric: Metric, known: Known, answered: Answered) -> float:
    """Return `merit` of one model on the rows of `answered`."""
    return merit(metric, *aligned(known, answered))


def scores(known: Known, answered: Answered) -> dict[str, float]:
    """All scores of one model on the rows of `answered`.

    Returns
    -------
    dict
        ``n``, and of classes, in [0, 1] unless said: accuracy, balanced_accuracy, macro and weighted precision, recall
        and F1, kappa and mcc (Matthews' correlation over all classes) in [-1, 1], auc_ovr, log_loss in nats, brier in
        [0, 2] and ece; of more than two classes classwise_ece as well; where they are ordered
        quadratic_kappa, and mae_steps: how many classes a guess lies away. Of labels: accuracy, exact_match, macro_f1,
        average_precision, auc, log_loss, brier, ece, classwise_ece. Of numbers, as means over the columns: mae and rmse
        in their units, r2, pearson and ccc (Lin's concordance) of at most 1, sagr (share of images whose sign is
        right), where no truth is 0 mape (error as a share of the truth), and of several columns each one's mae as
        ``mae.NAME``.

        These count all rows alike. Where rows have weights, ``confidence_accuracy`` or ``confidence_mae`` counts by
        them.

    Notes
    -----
    Precision, recall and F1 are averaged over all k classes; one without guesses counts 0. Each is defined in
    `featx.metrics.definitions`.

    References
    ----------
    .. [1] L. I.-K. Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics 1989.
    .. [2] J. Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Computational
       Biology and Chemistry 2004.
    """
    facts, outputs = aligned(known, answered)
    found = Scorer(facts, outputs).plain()
    if facts.weights is not None and facts.weights.any():
        name = "mae" if facts.kind == "numbers" else "accuracy"
        found[f"confidence_{name}"] = _one(name, facts, outputs)
    return {"n": len(facts), **found}


def per_class(truth: Truth, predictions: Predictions) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of images of each class, in the order of the codes."""
    return per_output(*aligned(truth, predictions))


def per_label(known: Known, answered: Answered) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of images of each label."""
    return per_output(*aligned(known, answered))


def confusion(truth: Truth, predictions: Predictions) -> NDArray[np.int64] | NDArray[np.float64]:
    """(k, k) counts; row = true class, column = guessed class. Soft labels count by their shares, to 3 decimals."""
    truth = truth.take(predictions.ids)
    k = len(truth.classes)
    guessed = predictions.ordered(truth.classes).codes
    if truth.shares is not None:
        return np.stack([np.bincount(guessed, share, minlength=k) for share in truth.shares.T]).round(3)
    return np.bincount(truth.codes * k + guessed, minlength=k * k).reshape(k, k)
