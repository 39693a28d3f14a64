"""Scores of predictions against the truth, the same for search, votes and evaluation, for every kind of target.

Rows that have weights (a confidence, or how much an image counts) count by them where a metric chooses between settings
or runs; tables show such a score beside the plain one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from sklearn import metrics as sk

from featx.errors import DataError
from featx.facts import Facts
from featx.registry import suggestion
from featx.reliability import brier, reliability
from featx.specs import Metric
from featx.tables import Answered, Kind, Known, Predictions, Truth

Outputs = NDArray[np.float64]  # (n, k) probabilities of classes, (n, t) of labels, or (n, t) numbers
Column = NDArray[np.float64]
Codes = NDArray[np.int64]
LEAST_PROBABILITY = 1e-15
FEWEST_DECIDED = 0.5  # the probability from which an image is said to have a label


def accuracy(facts: Facts, outputs: Outputs) -> float:
    """Share of right answers; of labels, over images and labels alike."""
    return float(np.average(_right(facts, outputs), weights=facts.weights))


def _right(facts: Facts, outputs: Outputs) -> NDArray[np.float64]:
    """(n,) 1 where an answer is right, 0 where it is wrong; of labels, the share of them that is."""
    if facts.kind == "classes":
        return np.asarray(outputs.argmax(1) == facts.y, dtype=np.float64)
    return np.asarray((decided(outputs) == facts.y).mean(1))


def decided(outputs: Outputs) -> NDArray[np.int64]:
    """Return the labels whose probability is a half or more, (n, t) in {0, 1}."""
    return (outputs >= FEWEST_DECIDED).astype(np.int64)


def exact_match(facts: Facts, outputs: Outputs) -> float:
    """Share of images all of whose labels are right."""
    return float(np.average((decided(outputs) == facts.y).all(1), weights=facts.weights))


def balanced_accuracy(facts: Facts, outputs: Outputs) -> float:
    """Mean recall over the classes that occur."""
    guessed = outputs.argmax(1)
    weights = np.ones(len(facts)) if facts.weights is None else facts.weights
    recalls = []
    for code in np.unique(facts.y):
        of_class = facts.y == code
        if weights[of_class].any():
            recalls.append(np.average(guessed[of_class] == code, weights=weights[of_class]))
    return float(np.mean(recalls))


def macro_f1(facts: Facts, outputs: Outputs) -> float:
    """Mean F1 over the classes or labels; one without guesses counts 0."""
    if facts.kind == "classes":
        return _f1_of_classes(facts, outputs)
    guessed = decided(outputs)
    return float(sk.f1_score(facts.y, guessed, average="macro", zero_division=0, sample_weight=facts.weights))


def _f1_of_classes(facts: Facts, outputs: Outputs) -> float:
    labels = range(facts.n_outputs)
    guessed = outputs.argmax(1)
    return float(
        sk.f1_score(facts.y, guessed, labels=labels, average="macro", zero_division=0, sample_weight=facts.weights)
    )


def log_loss(facts: Facts, outputs: Outputs) -> float:
    """Mean -log of the probability given to the truth, in nats; probabilities are clipped at 1e-15.

    Soft labels count each class by its share. Of labels, the mean over them.
    """
    return float(np.average(log_losses(facts, outputs), weights=facts.weights))


def log_losses(facts: Facts, outputs: Outputs) -> Column:
    """(n,) what `log_loss` is the mean of."""
    given = np.clip(outputs, LEAST_PROBABILITY, 1.0)
    if facts.kind == "labels":
        not_given = np.clip(1 - outputs, LEAST_PROBABILITY, 1.0)
        return np.asarray(-(xlogy(facts.y, given) + xlogy(1 - facts.y, not_given)).mean(1))
    if facts.shares is not None:
        return np.asarray(-xlogy(facts.shares, given).sum(1))
    return np.asarray(-np.log(given[np.arange(len(facts)), facts.y]))


def quadratic_kappa(facts: Facts, outputs: Outputs) -> float:
    """Cohen's kappa whose disagreements count by the square of the steps between the classes, in [-1, 1]."""
    return _kappa(facts.y, outputs.argmax(1), facts.weights, "quadratic")


def _kappa(codes: Any, guessed: Any, weights: Column | None = None, kind: str | None = None) -> float:
    """Cohen's kappa; 0 where truth and guesses are one and the same single class (0/0 in the formula)."""
    if len(np.union1d(codes, guessed)) == 1:
        return 0.0
    return float(sk.cohen_kappa_score(codes, guessed, weights=kind, sample_weight=weights))


def average_precision(facts: Facts, outputs: Outputs) -> float:
    """Mean over the labels that occur of the area under precision over recall; nan where none does."""
    areas = [
        sk.average_precision_score(y, found, sample_weight=facts.weights)
        for y, found in zip(facts.columns, outputs.T, strict=True)
        if y.any()
    ]
    return float(np.mean(areas)) if areas else float("nan")


def auc(facts: Facts, outputs: Outputs) -> float:
    """Mean area under the ROC curve of each class against the rest, or of each label; nan where none has both sides.

    With two classes both areas are equal, and so is their mean.
    """
    sides = facts.columns if facts.kind == "labels" else [facts.y == code for code in range(facts.n_outputs)]
    areas = [
        sk.roc_auc_score(side, found, sample_weight=facts.weights)
        for side, found in zip(sides, outputs.T, strict=True)
        if 0 < side.sum() < len(side)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def _over_columns(of: Callable[[Column, Column, Column | None], float]) -> Callable[[Facts, Outputs], float]:
    def mean(facts: Facts, outputs: Outputs) -> float:
        pairs = zip(facts.columns, outputs.T, strict=True)
        return float(np.mean([of(true, found, facts.weights) for true, found in pairs]))

    return mean


def _mae(true: Column, found: Column, weights: Column | None) -> float:
    return float(np.average(np.abs(true - found), weights=weights))


def _rmse(true: Column, found: Column, weights: Column | None) -> float:
    return float(np.sqrt(np.average((true - found) ** 2, weights=weights)))


def _r2(true: Column, found: Column, weights: Column | None) -> float:
    spread = np.average((true - np.average(true, weights=weights)) ** 2, weights=weights)
    return float(1 - np.average((true - found) ** 2, weights=weights) / spread) if spread else float("nan")


def _moments(true: Column, found: Column, weights: Column | None) -> tuple[float, float, float, float]:
    """Return both variances, the covariance, and the difference of the means."""
    means = np.average(true, weights=weights), np.average(found, weights=weights)
    a, b = true - means[0], found - means[1]
    variances = (np.average(one, weights=weights) for one in (a * a, b * b, a * b))
    return (*variances, float(means[0] - means[1]))  # type: ignore[return-value]


def _pearson(true: Column, found: Column, weights: Column | None) -> float:
    of_true, of_found, common, _ = _moments(true, found, weights)
    return float(common / np.sqrt(of_true * of_found)) if np.ptp(true) and np.ptp(found) else float("nan")


def _ccc(true: Column, found: Column, weights: Column | None) -> float:
    of_true, of_found, common, apart = _moments(true, found, weights)
    below = of_true + of_found + apart**2
    return float(2 * common / below) if below else float("nan")


OF_NUMBERS = {
    name: _over_columns(of)
    for name, of in {"mae": _mae, "rmse": _rmse, "r2": _r2, "pearson": _pearson, "ccc": _ccc}.items()
}


def _less(of: Callable[[Facts, Outputs], float]) -> Callable[[Facts, Outputs], float]:
    return lambda facts, outputs: -of(facts, outputs)


GREATER_IS_BETTER: dict[Kind, dict[str, Callable[[Facts, Outputs], float]]] = {
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
LESS_IS_BETTER = {"log_loss", "mae", "rmse"}  # of what `merit` gives the minus
NEEDS_PROBABILITIES = {"log_loss"}  # the others ask which is likelier only


def chosen_metric(facts: Facts, metric: Metric | None) -> Metric:
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


def merit(metric: Metric, facts: Facts, outputs: Outputs) -> float:
    """One number for one model, greater is better (so minus the log loss)."""
    return GREATER_IS_BETTER[facts.kind][metric](facts, outputs)


def aligned(known: Known, answered: Answered) -> tuple[Facts, Outputs]:
    """Return what is known of the rows of `answered`, and what they say, columns in the order of the known names."""
    known = known.take(answered.ids)
    if isinstance(answered, Predictions):
        return Facts.of(known), answered.ordered(known.names).proba
    columns = [answered.names.index(name) for name in known.names]
    return Facts.of(known), answered.values[:, columns]


def score(metric: Metric, known: Known, answered: Answered) -> float:
    """Return `merit` of one model on the rows of `answered`."""
    return merit(metric, *aligned(known, answered))


def scores(known: Known, answered: Answered) -> dict[str, float]:
    """All scores of one model on the rows of `answered`.

    Returns
    -------
    dict
        ``n``, and of classes, in [0, 1] unless said: accuracy, balanced_accuracy, macro and weighted precision, recall
        and F1, kappa in [-1, 1], auc_ovr, log_loss in nats, brier in [0, 2] and ece (`featx.reliability`); where they
        are ordered quadratic_kappa, and mae_steps: how many classes a guess lies away. Of labels: accuracy,
        exact_match, macro_f1, average_precision, auc, log_loss, brier, ece. Of numbers, as means over the columns: mae
        and rmse in their units, r2, pearson and ccc (Lin's concordance) of at most 1, and of several columns each
        one's mae as ``mae.NAME``.

        These count all rows alike. Where rows have weights, ``confidence_accuracy`` or ``confidence_mae`` counts by
        them.

    Notes
    -----
    Precision, recall and F1 are averaged over all k classes; one without guesses counts 0.

    References
    ----------
    .. [1] L. I.-K. Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics 1989.
    """
    weighted, outputs = aligned(known, answered)
    facts = Facts(weighted.kind, weighted.names, weighted.y, None, weighted.shares, weighted.ordered)
    found = {"classes": _of_classes, "labels": _of_labels, "numbers": _of_numbers}[facts.kind](facts, outputs)
    if weighted.weights is not None and weighted.weights.any():
        name, of = ("mae", OF_NUMBERS["mae"]) if facts.kind == "numbers" else ("accuracy", accuracy)
        found[f"confidence_{name}"] = of(weighted, outputs)
    return {"n": len(facts), **found}


def _of_classes(facts: Facts, outputs: Outputs) -> dict[str, float]:
    guessed = outputs.argmax(1)
    row = {"accuracy": accuracy(facts, outputs), "balanced_accuracy": balanced_accuracy(facts, outputs)}
    for average in ("macro", "weighted"):
        values = sk.precision_recall_fscore_support(
            facts.y, guessed, labels=range(facts.n_outputs), average=average, zero_division=0
        )
        row |= {f"{average}_{name}": float(v) for name, v in zip(("precision", "recall", "f1"), values, strict=False)}
    row["kappa"] = _kappa(facts.y, guessed)
    row["auc_ovr"] = auc(facts, outputs)
    row |= _of_probabilities(facts, outputs)
    if facts.ordered:
        row["quadratic_kappa"] = quadratic_kappa(facts, outputs)
        row["mae_steps"] = float(np.abs(guessed - facts.y).mean())
    return row


def _of_labels(facts: Facts, outputs: Outputs) -> dict[str, float]:
    every = (accuracy, exact_match, macro_f1, average_precision, auc)
    return {of.__name__: of(facts, outputs) for of in every} | _of_probabilities(facts, outputs)


def _of_probabilities(facts: Facts, outputs: Outputs) -> dict[str, float]:
    believed = {"brier": brier(facts, outputs), "ece": reliability(facts, outputs).ece}
    return {"log_loss": log_loss(facts, outputs)} | believed


def _of_numbers(facts: Facts, outputs: Outputs) -> dict[str, float]:
    row = {name: of(facts, outputs) for name, of in OF_NUMBERS.items()}
    if facts.n_outputs > 1:
        each = zip(facts.names, facts.columns, outputs.T, strict=True)
        row |= {f"mae.{name}": _mae(true, found, None) for name, true, found in each}
    return row


def per_class(truth: Truth, predictions: Predictions) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of images of each class, in the order of the codes."""
    truth = truth.take(predictions.ids)
    guessed = predictions.ordered(truth.classes).codes
    columns = sk.precision_recall_fscore_support(
        truth.codes, guessed, labels=range(len(truth.classes)), zero_division=0
    )
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
        for name, p, r, f, n in zip(truth.classes, *columns, strict=True)
    ]


def per_label(known: Known, answered: Answered) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of images of each label."""
    facts, outputs = aligned(known, answered)
    columns = sk.precision_recall_fscore_support(facts.y, decided(outputs), average=None, zero_division=0)
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
        for name, p, r, f, n in zip(facts.names, *columns, strict=True)
    ]


def confusion(truth: Truth, predictions: Predictions) -> NDArray[np.int64]:
    """(k, k) counts; row = true class, column = guessed class."""
    truth = truth.take(predictions.ids)
    k = len(truth.classes)
    guessed = predictions.ordered(truth.classes).codes
    return np.bincount(truth.codes * k + guessed, minlength=k * k).reshape(k, k)
