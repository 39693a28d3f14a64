"""Mean corruption errors: the textbook's numbers, and references without errors."""

import numpy as np
import pytest

from featx.robustness.corruption_errors import error_of, mean_corruption_errors


def test_errors_are_divided_by_those_of_the_reference() -> None:
    errors = {"fog": [0.2, 0.4], "snow": [0.3, 0.3]}
    reference = {"fog": [0.3, 0.5], "snow": [0.6, 0.9]}
    result = mean_corruption_errors(errors, 0.1, reference, 0.2, "rf")
    assert result.mean == pytest.approx(np.mean([0.6 / 0.8, 0.6 / 1.5]))
    assert result.relative == pytest.approx(np.mean([0.4 / 0.4, 0.4 / 1.1]))
    assert result.problems == ()


def test_a_reference_without_errors_is_explained() -> None:
    result = mean_corruption_errors({"fog": [0.2], "snow": [0.1]}, 0.1, {"fog": [0.0], "snow": [0.3]}, 0.0, "rf")
    assert result.mean is None
    assert result.problems[0].startswith("no mCE: the reference rf makes no errors under fog; name another")


def test_a_reference_that_damage_does_not_harm_has_no_relative_error() -> None:
    kinds = {name: [0.2] for name in ("fog", "snow", "frost", "rotation")}
    result = mean_corruption_errors(kinds, 0.1, kinds, 0.2, "rf")
    assert result.mean == pytest.approx(1.0)
    assert result.relative is None
    assert "fog, snow, frost and 1 more costs the reference rf nothing" in result.problems[0]


def test_errors_are_distances_from_the_best_value() -> None:
    assert error_of("accuracy", 0.9) == pytest.approx(0.1)
    assert error_of("quadratic_kappa", -0.5) == pytest.approx(1.5)
    assert error_of("rmse", 2.0) == pytest.approx(2.0)
