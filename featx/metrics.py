"""Scores of predictions against the truth, the same for search, votes and evaluation."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from featx.specs import Metric
from featx.tables import Estimates, Numbers, Predictions, Truth

Codes = NDArray[np.int64]
Proba = NDArray[np.float64]


def _macro_f1(codes: Codes, proba: Proba) -> float:
    return float(sk.f1_score(codes, proba.argmax(1), labels=range(proba.shape[1]), average="macro", zero_division=0))


def balanced_accuracy(codes: Codes, guessed: Codes) -> float:
    """Mean recall over the classes that occur in `codes`."""
    return float(np.mean([np.mean(guessed[codes == code] == code) for code in np.unique(codes)]))


def log_loss(codes: Codes, proba: Proba) -> float:
    """Mean -log of the probability given to the true class, in nats; probabilities are clipped at 1e-15."""
    given = np.clip(proba[np.arange(len(codes)), codes], 1e-15, 1.0)
    return float(-np.log(given).mean())


def auc_ovr(codes: Codes, proba: Proba) -> float:
    """Mean area under the ROC curve of each class against the rest; nan where no class has both sides.

    With two classes both areas are equal, and so is their mean.
    """
    areas = [
        sk.roc_auc_score(codes == code, proba[:, code])
        for code in range(proba.shape[1])
        if 0 < (codes == code).sum() < len(codes)
    ]
    return float(np.mean(areas)) if areas else float("nan")


GREATER_IS_BETTER: dict[Metric, Callable[[Codes, Proba], float]] = {
    "accuracy": lambda codes, proba: float(np.mean(proba.argmax(1) == codes)),
    "balanced_accuracy": lambda codes, proba: balanced_accuracy(codes, proba.argmax(1)),
    "macro_f1": _macro_f1,
    "log_loss": lambda codes, proba: -log_loss(codes, proba),
}


def score(metric: Metric, truth: Truth, predictions: Predictions) -> float:
    """One number for one model, greater is better (so minus the log loss); rows meet by id."""
    truth = truth.take(predictions.ids)
    return GREATER_IS_BETTER[metric](truth.codes, predictions.ordered(truth.classes).proba)


def scores(truth: Truth, predictions: Predictions) -> dict[str, float]:
    """All scores of one model on the rows of `predictions`.

    Returns
    -------
    dict
        ``n`` and, in [0, 1] unless said: accuracy, balanced_accuracy, macro and weighted precision, recall and
        F1, kappa in [-1, 1], auc_ovr, log_loss in nats.

    Notes
    -----
    Precision, recall and F1 are averaged over all k classes; one without guesses counts 0.
    """
    truth = truth.take(predictions.ids)
    proba = predictions.ordered(truth.classes).proba
    guessed = proba.argmax(1)
    row: dict[str, float] = {
        "n": len(guessed),
        "accuracy": float(np.mean(guessed == truth.codes)),
        "balanced_accuracy": balanced_accuracy(truth.codes, guessed),
    }
    for average in ("macro", "weighted"):
        values = sk.precision_recall_fscore_support(
            truth.codes, guessed, labels=range(len(truth.classes)), average=average, zero_division=0
        )
        row |= {f"{average}_{name}": float(v) for name, v in zip(("precision", "recall", "f1"), values, strict=False)}
    row["kappa"] = _kappa(truth.codes, guessed)
    row["auc_ovr"] = auc_ovr(truth.codes, proba)
    row["log_loss"] = log_loss(truth.codes, proba)
    return row


def _kappa(codes: Codes, guessed: Codes) -> float:
    """Cohen's kappa; 0 where truth and guesses are one and the same single class (0/0 in the formula)."""
    if len(np.union1d(codes, guessed)) == 1:
        return 0.0
    return float(sk.cohen_kappa_score(codes, guessed))


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


def confusion(truth: Truth, predictions: Predictions) -> NDArray[np.int64]:
    """(k, k) counts; row = true class, column = guessed class."""
    truth = truth.take(predictions.ids)
    k = len(truth.classes)
    guessed = predictions.ordered(truth.classes).codes
    return np.bincount(truth.codes * k + guessed, minlength=k * k).reshape(k, k)


def number_scores(truth: Numbers, estimates: Estimates) -> dict[str, float]:
    """All scores of one model of numbers on the rows of `estimates`.

    Returns
    -------
    dict
        ``n``, and as means over the t columns: mae and rmse in the columns' units, r2, pearson and ccc (Lin's
        concordance) of at most 1. Where there are several columns, each one's mae as ``mae.NAME``.

    References
    ----------
    .. [1] L. I.-K. Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics 1989.
    """
    truth = truth.take(estimates.ids)
    pairs = [(truth.values[:, at], estimates.values[:, at]) for at in range(len(truth.names))]
    row: dict[str, float] = {"n": len(truth.ids)}
    for name, of in (("mae", _mae), ("rmse", _rmse), ("r2", _r2), ("pearson", _pearson), ("ccc", _ccc)):
        row[name] = float(np.mean([of(true, found) for true, found in pairs]))
    if len(pairs) > 1:
        row |= {f"mae.{name}": _mae(*pair) for name, pair in zip(truth.names, pairs, strict=True)}
    return row


def mae(truth: Numbers, estimates: Estimates) -> float:
    """Mean absolute error over rows and columns."""
    return float(np.abs(truth.take(estimates.ids).values - estimates.values).mean())


Column = NDArray[np.float64]


def _mae(true: Column, found: Column) -> float:
    return float(np.abs(true - found).mean())


def _rmse(true: Column, found: Column) -> float:
    return float(np.sqrt(((true - found) ** 2).mean()))


def _r2(true: Column, found: Column) -> float:
    spread = ((true - true.mean()) ** 2).sum()
    return float(1 - ((true - found) ** 2).sum() / spread) if spread else float("nan")


def _pearson(true: Column, found: Column) -> float:
    if not (np.ptp(true) and np.ptp(found)):
        return float("nan")
    return float(np.corrcoef(true, found)[0, 1])


def _ccc(true: Column, found: Column) -> float:
    below = true.var() + found.var() + (true.mean() - found.mean()) ** 2
    return float(2 * np.mean((true - true.mean()) * (found - found.mean())) / below) if below else float("nan")
