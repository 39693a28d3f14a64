"""Scores of numbers: functions of the moments of truth, prediction and error."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from featx.metrics.score_kinds import Columns, Outputs, Summed, divide, mean_over_rows
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


def _function_of_moments(name: str, function: Callable[[Floats], Floats], **meaning: Any) -> Summed:
    """Return the score that is the mean over the t numbers of a function of their (9, t, m) mean moments."""

    def finish(sums: Floats, total: Floats) -> Floats:
        moments = sums.reshape(N_MOMENTS, -1, sums.shape[-1])
        return np.asarray(function(divide(moments, total)).mean(0))

    return Summed(name=name, rows=_moment_columns, finish=finish, **meaning)


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


def mae_of_column(name: str, column: int) -> Summed:
    """Return the score that is the mean absolute error of one of several numbers."""
    return mean_over_rows(
        f"{MAE.name}.{name}",
        lambda targets, outputs: np.asarray(np.abs(outputs[:, column] - targets.y[:, column])),
        **ERROR,
    )


def _has_no_zeros(targets: TargetValues) -> bool:
    return bool((targets.y != 0).all())


ERROR: dict[str, Any] = {"greater_is_better": False, "limits": (0.0, math.inf), "unit": "that of the numbers"}
MAE = _function_of_moments("mae", lambda moments: np.asarray(moments[1]), **ERROR)
NUMBER_SCORES = (
    MAE,
    _function_of_moments("rmse", lambda moments: np.asarray(np.sqrt(moments[2])), **ERROR),
    _function_of_moments("r2", _r2, limits=(-math.inf, 1.0)),
    _function_of_moments("pearson", _pearson, limits=(-1.0, 1.0)),
    _function_of_moments("ccc", _ccc, limits=(-1.0, 1.0)),
    _function_of_moments("sagr", lambda moments: np.asarray(moments[8])),
    mean_over_rows("mape", _relative_errors, **ERROR | {"unit": "share of the truth"}, is_defined=_has_no_zeros),
)
