"""Numbers have four digits, and no exponent below a million."""

import math

import pytest

from featx.text.four_digits import four_digits


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (1.23456e-6, "1.235e-06"),
        (9999.4, "9999"),
        (9999.6, "10000"),
        (-54321.6, "-54322"),
        (999_999.4, "999999"),
        (999_999.6, "1e+06"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_numbers_have_four_digits(number: float, text: str) -> None:
    assert four_digits(number) == text
