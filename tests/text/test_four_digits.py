"""Numbers have four digits, and no exponent below a billion."""

import math

import pytest

from featx.text.four_digits import four_digits


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (1.23456e-6, "1.235e-06"),
        (9999.4, "9999"),
        (9999.6, "10,000"),
        (-54321.6, "-54,322"),
        (999_999_999.4, "999,999,999"),
        (999_999_999.6, "1e+09"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_numbers_have_four_digits(number: float, text: str) -> None:
    assert four_digits(number) == text
