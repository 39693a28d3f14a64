"""Numbers have four digits, and no exponent below a billion."""

import math

import pytest

from featx.text.four_digits import count_distinguishing_digits, four_digits, show_digits


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


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ([0.5, 3.0, 3.0], ["0.5", "3", "3"]),
        ([1013.01, 1013.1, 1013.45], ["1013", "1013.1", "1013.5"]),
        ([1_700_000_001.0, 1_700_000_002.0], ["1,700,000,001", "1,700,000,002"]),
        ([54321.6, 54321.7], ["54,321.6", "54,321.7"]),
        ([0.1, math.nextafter(0.1, 1)], ["0.10000000000000001", "0.10000000000000002"]),
        ([0.0, -0.0], ["0", "-0"]),
    ],
)
def test_different_numbers_have_different_texts(numbers: list[float], texts: list[str]) -> None:
    n_digits = count_distinguishing_digits(numbers)
    assert [show_digits(number, n_digits) for number in numbers] == texts
