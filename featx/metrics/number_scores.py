"""Scores of numbers: functions of the moments of truth, prediction and error."""

from collections.abc import Callable

import numpy as np

from featx.metrics.score_kinds import Columns, Floats, Outputs, Score, Summed, divide, mean_over_rows
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


def _function_of_moments(function: Callable[[Floats], Floats]) -> Summed:
    """Return the score that is the mean over the t numbers of a function of their (9, t, m) mean moments."""

    def finish(sums: Floats, total: Floats) -> Floats:
        moments = sums.reshape(N_MOMENTS, -1, sums.shape[-1])
        return np.asarray(function(divide(moments, total)).mean(0))

    return Summed(_moment_columns, finish)


def _variance(mean: Floats, mean_square: Floats) -> Floats:
    variance = mean_square - mean * mean
    return np.where(variance > MIN_RELATIVE_VARIANCE * mean_square, variance, 0.0)


def _covariance(moments: Floats) -> Floats:
    return np.asarray(moments[7] - moments[3] * moments[5])


def _mae(moments: Floats) -> Floats:
    return np.asarray(moments[1])


def _rmse(moments: Floats) -> Floats:
    return np.asarray(np.sqrt(moments[2]))


def _r2(moments: Floats) -> Floats:
    return 1 - divide(moments[2], _variance(moments[3], moments[4]))


def _pearson(moments: Floats) -> Floats:
    product = _variance(moments[3], moments[4]) * _variance(moments[5], moments[6])
    return divide(_covariance(moments), np.sqrt(product))


def _ccc(moments: Floats) -> Floats:
    denominator = _variance(moments[3], moments[4]) + _variance(moments[5], moments[6]) + moments[0] ** 2
    return divide(2 * _covariance(moments), denominator)


def _sagr(moments: Floats) -> Floats:
    return np.asarray(moments[8])


def _relative_errors(targets: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray((np.abs(outputs - targets.y) / np.abs(targets.y)).mean(1))


def mae_of_column(column: int) -> Summed:
    """Return the score that is the mean absolute error of one of several numbers."""
    return mean_over_rows(lambda targets, outputs: np.asarray(np.abs(outputs[:, column] - targets.y[:, column])))


NUMBER_SCORES: dict[str, Score] = {
    "mae": _function_of_moments(_mae),
    "rmse": _function_of_moments(_rmse),
    "r2": _function_of_moments(_r2),
    "pearson": _function_of_moments(_pearson),
    "ccc": _function_of_moments(_ccc),
    "sagr": _function_of_moments(_sagr),
    "mape": mean_over_rows(_relative_errors),
}
