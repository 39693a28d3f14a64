"""Scores of numbers: functions of the moments of truth, prediction and error."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from featx.metrics.score_kinds import Columns, MeanScore, Outputs, divide, mean_over_rows
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

# A variance below this share of the mean square is rounding, and counts as 0.
MIN_RELATIVE_VARIANCE = 1e-13
N_MOMENTS = 9


def _moment_columns(targets: TargetValues, outputs: Outputs) -> Columns:
    """Return (n, 9 t) columns of error, |error|, error², truth, truth², prediction, prediction², product, equal sign.

    Truth and prediction are measured from one of their own values, so that squares lose no digits and the variance of
    a constant is exactly 0.
    """
    error = outputs - targets.y
    true, predicted = (values - _central_value(values) for values in (targets.y, outputs))
    has_equal_sign = (np.sign(outputs) == np.sign(targets.y)).astype(np.float64)
    columns = [error, np.abs(error), error**2, true, true**2, predicted, predicted**2, true * predicted, has_equal_sign]
    return np.concatenate(columns, axis=1)


def _central_value(values: Floats) -> Floats:
    """Return (t,) the value of each column that is closest to the column's mean."""
    rows = np.abs(values - values.mean(0)).argmin(0)
    return np.asarray(values[rows, np.arange(values.shape[1])])


MomentFunction = Callable[[Floats], Floats]


def _function_of_moments(name: str, function: MomentFunction, column: int | None = None, **meaning: Any) -> MeanScore:
    """Return the score that is a function of the (9, t, m) mean moments, of one column or as the mean over all."""

    def finish(sums: Floats, total: Floats) -> Floats:
        moments = divide(sums.reshape(N_MOMENTS, -1, sums.shape[-1]), total)
        if column is None:
            return np.asarray(function(moments).mean(0))
        return np.asarray(function(moments[:, column : column + 1])[0])

    return MeanScore(name=name, rows=_moment_columns, finish=finish, **meaning)


def _variance(mean: Floats, mean_square: Floats) -> Floats:
    variance = mean_square - mean * mean
    return np.where(variance > MIN_RELATIVE_VARIANCE * mean_square, variance, 0.0)


def _covariance(moments: Floats) -> Floats:
    return np.asarray(moments[7] - moments[3] * moments[5])


def _r2(moments: Floats) -> Floats:
    return 1 - divide(moments[2], _variance(moments[3], moments[4]))


def _pearson(moments: Floats) -> Floats:
    product = _variance(moments[3], moments[4]) * _variance(moments[5], moments[6])
    return divide(_covariance(moments), np.sqrt(product))


def _ccc(moments: Floats) -> Floats:
    denominator = _variance(moments[3], moments[4]) + _variance(moments[5], moments[6]) + moments[0] ** 2
    return divide(2 * _covariance(moments), denominator)


def _relative_errors(targets: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray((np.abs(outputs - targets.y) / np.abs(targets.y)).mean(1))


def _has_no_zeros(targets: TargetValues) -> bool:
    return bool((targets.y != 0).all())


# Unit of errors.
TARGET_UNIT = "that of the numbers"
ERROR: dict[str, Any] = {"greater_is_better": False, "limits": (0.0, math.inf), "unit": TARGET_UNIT}
_MOMENT_SCORES: dict[str, tuple[MomentFunction, dict[str, Any]]] = {
    "mae": (lambda moments: np.asarray(moments[1]), ERROR),
    "rmse": (lambda moments: np.asarray(np.sqrt(moments[2])), ERROR),
    "r2": (_r2, {"limits": (-math.inf, 1.0)}),
    "pearson": (_pearson, {"limits": (-1.0, 1.0)}),
    "ccc": (_ccc, {"limits": (-1.0, 1.0)}),
    "sagr": (lambda moments: np.asarray(moments[8]), {}),
}
MAPE = mean_over_rows("mape", _relative_errors, **ERROR | {"unit": "share of the truth"}, is_defined=_has_no_zeros)
NUMBER_SCORES = (
    *(_function_of_moments(name, function, **meaning) for name, (function, meaning) in _MOMENT_SCORES.items()),
    MAPE,
)


def column_scores(targets: TargetValues) -> list[MeanScore]:
    """Return all scores of each of several numbers: those of ``valence`` have names such as ``rmse.valence``."""
    if targets.n_outputs == 1:
        return []
    columns = list(enumerate(targets.names))
    scores = [
        _function_of_moments(f"{name}.{column}", function, number, **meaning)
        for name, (function, meaning) in _MOMENT_SCORES.items()
        for number, column in columns
    ]
    return scores + [_mape_of_column(column, number) for number, column in columns if targets.y[:, number].all()]


def _mape_of_column(name: str, column: int) -> MeanScore:
    def relative_errors(targets: TargetValues, outputs: Outputs) -> Floats:
        return _relative_errors(replace(targets, y=targets.y[:, [column]]), outputs[:, [column]])

    return replace(
        MAPE, name=f"{MAPE.name}.{name}", rows=lambda targets, outputs: relative_errors(targets, outputs)[:, None]
    )
