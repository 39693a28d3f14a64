"""Scores as text: four decimals, or four digits in the unit of a target."""

import math

import pytest

from featx.metrics.score_texts import ScoreFormat, has_target_unit


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.234e-6, 2e-7], ["1.234e-06", "2.000e-07"]),
        ([0.00123456, 0.0001], ["0.001235", "0.000100"]),
        ([0.5, 0.04321], ["0.5000", "0.0432"]),
        ([12.3456, 9.8765], ["12.35", "9.88"]),
        ([1234.56, 999.9], ["1235", "1000"]),
        ([123456.7, 1000.0], ["123457", "1000"]),
        ([1.5e9, 2e8], ["1.500e+09", "2.000e+08"]),
        ([0.0, 0.0], ["0.0000", "0.0000"]),
    ],
)
def test_errors_have_four_digits_of_the_largest(values: list[float], texts: list[str]) -> None:
    score_format = ScoreFormat.of("mae", [*values, None, math.nan])
    assert [score_format.show(value) for value in values] == texts
    assert ScoreFormat.of("accuracy", values) == ScoreFormat()


def test_differences_and_intervals_have_the_scale_of_the_scores() -> None:
    score_format = ScoreFormat.of("rmse", [12.5])
    assert score_format.show(0.034, "+") == "+0.03"
    assert score_format.show(-0.001, "+") == "+0.00", "no negative zero"
    assert score_format.interval((12.345, 13.0)) == "12.3 … 13.0"
    assert ScoreFormat.of("rmse", [1.5e-6]).interval((1.2e-6, 2e-6)) == "1.20e-06 … 2.00e-06"
    assert ScoreFormat().interval((-0.0001, 0.25)) == "0.000 … 0.250"
    assert ScoreFormat().interval(None) == ScoreFormat().interval((None, 1.0)) == ScoreFormat().show(None) == "–"


def test_errors_alone_have_the_unit_of_the_target() -> None:
    for name in ("mae", "rmse", "mae.age", "confidence_mae", "mae_without_leaks", "interval_width"):
        assert has_target_unit(name)
    for name in ("mape", "r2", "ccc.age", "accuracy", "mae_steps", "log_loss", "confidence_accuracy", "n", "set_size"):
        assert not has_target_unit(name)
