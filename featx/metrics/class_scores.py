"""Scores that are functions of counts: true, predicted and correctly predicted rows of each class or label."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from featx.metrics.score_kinds import Columns, MeanScore, Outputs, divide
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues


def count_columns(targets: TargetValues, outputs: Outputs) -> Columns:
    """Return (n, 3 k) indicators: which classes or labels are true, which are predicted, and which are both."""
    predicted = _indicator_matrix(targets.decisions(outputs), targets.n_outputs)
    true = (
        _indicator_matrix(targets.y, targets.n_outputs) if targets.shares is None else sparse.csr_array(targets.shares)
    )
    return sparse.hstack([true, predicted, true * predicted])


def _indicator_matrix(decisions: NDArray[np.int64], k: int) -> Columns:
    """Return (n, k) sparse indicators of (n,) codes of classes, or of (n, k) labels."""
    if decisions.ndim > 1:
        return sparse.csr_array(decisions.astype(np.float64))
    n = len(decisions)
    return sparse.csr_array((np.ones(n), decisions, np.arange(n + 1)), shape=(n, k))


def split_counts(sums: Floats) -> Floats:
    """Return the (3 k, m) sums as (3, k, m) counts: true, predicted, hits."""
    return sums.reshape(3, -1, sums.shape[-1])


def _precisions(true: Floats, predicted: Floats, hits: Floats) -> Floats:
    return divide(hits, predicted, 0.0)


def _recalls(true: Floats, predicted: Floats, hits: Floats) -> Floats:
    return divide(hits, true, 0.0)


def _f1s(true: Floats, predicted: Floats, hits: Floats) -> Floats:
    return divide(2 * hits, true + predicted, 0.0)


CLASS_SCORES = {"precision": _precisions, "recall": _recalls, "f1": _f1s}


def _averaged(average: str, name: str) -> MeanScore:
    """Return the score that averages a score of each class: ``macro``, or ``weighted`` by the number of true rows."""
    class_score = CLASS_SCORES[name]

    def finish(sums: Floats, _: Floats) -> Floats:
        true, predicted, hits = split_counts(sums)
        values = class_score(true, predicted, hits)
        return np.asarray(values.mean(0)) if average == "macro" else divide((true * values).sum(0), true.sum(0))

    return MeanScore(name=f"{average}_{name}", rows=count_columns, finish=finish)


def _balanced_accuracy(sums: Floats, _: Floats) -> Floats:
    true, _, hits = split_counts(sums)
    return divide(divide(hits, true, 0.0).sum(0), (true > 0).sum(0).astype(np.float64))


def _kappa(sums: Floats, n: Floats) -> Floats:
    """Return Cohen's kappa; 0 where truth and predictions are the same single class (0/0 in the formula)."""
    true, predicted, hits = split_counts(sums)
    chance_hits = (true * predicted).sum(0)
    return np.where(n > 0, divide(n * hits.sum(0) - chance_hits, n * n - chance_hits, 0.0), np.nan)


def _mcc(sums: Floats, n: Floats) -> Floats:
    """Return Matthews' correlation over all classes; 0 where truth or predictions are a single class."""
    true, predicted, hits = split_counts(sums)
    covariance = n * hits.sum(0) - (true * predicted).sum(0)
    variances = (n * n - (true * true).sum(0)) * (n * n - (predicted * predicted).sum(0))
    return np.where(n > 0, divide(covariance, np.sqrt(np.maximum(variances, 0)), 0.0), np.nan)


def _code_columns(targets: TargetValues, outputs: Outputs) -> Columns:
    """Return (n, 5) true code and its square, predicted code and its square, and the squared difference."""
    true, predicted = targets.y.astype(np.float64), targets.decisions(outputs).astype(np.float64)
    return np.stack([true, true**2, predicted, predicted**2, (true - predicted) ** 2], axis=1)


def _quadratic_kappa(sums: Floats, n: Floats) -> Floats:
    true, true_square, predicted, predicted_square, difference_square = sums
    chance_squares = n * true_square - 2 * true * predicted + n * predicted_square
    return np.where(n > 0, divide(chance_squares - n * difference_square, chance_squares, 0.0), np.nan)


def per_output(targets: TargetValues, outputs: Outputs) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and number of rows of each class or label, in their order.

    With soft labels, the number of rows of a class is the sum of its probabilities, to 3 decimals.
    """
    counts = split_counts(count_columns(targets, outputs).T @ np.ones((len(targets), 1)))[..., 0]
    columns = [class_score(*counts).tolist() for class_score in CLASS_SCORES.values()]
    n_rows = counts[0].astype(int) if targets.shares is None else counts[0].round(3)
    return [
        {"class": name, **dict(zip(CLASS_SCORES, values, strict=True)), "n": n}
        for name, *values, n in zip(targets.names, *columns, n_rows.tolist(), strict=True)
    ]


def is_ordered(targets: TargetValues) -> bool:
    """Return whether the classes have an order."""
    return targets.ordered


MACRO_F1 = _averaged("macro", "f1")
COUNT_SCORES = (
    MeanScore(name="balanced_accuracy", rows=count_columns, finish=_balanced_accuracy),
    *(_averaged(average, name) for average in ("macro", "weighted") for name in CLASS_SCORES),
    MeanScore(name="kappa", rows=count_columns, finish=_kappa, limits=(-1.0, 1.0)),
    MeanScore(name="mcc", rows=count_columns, finish=_mcc, limits=(-1.0, 1.0)),
)
QUADRATIC_KAPPA = MeanScore(
    name="quadratic_kappa", rows=_code_columns, finish=_quadratic_kappa, limits=(-1.0, 1.0), is_defined=is_ordered
)
