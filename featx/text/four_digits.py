"""Numbers in the unit of a label as text."""

MIN_WHOLE, MIN_EXPONENT = 9_999.5, 999_999_999.5


def four_digits(number: float) -> str:
    """Return a number with four digits; larger ones are whole, and have an exponent from a billion on.

    Examples
    --------
    >>> four_digits(0.123456), four_digits(3.0), four_digits(54321.6), four_digits(-1e9)
    ('0.1235', '3', '54,322', '-1e+09')
    """
    return f"{number:,.0f}" if MIN_WHOLE <= abs(number) < MIN_EXPONENT else f"{number:.4g}"
