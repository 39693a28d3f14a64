"""Numbers in the unit of a label as text."""

from collections.abc import Sequence

N_DIGITS = 4
# Digits that every double needs at most.
MAX_DIGITS = 17
MIN_SEPARATED, MIN_EXPONENT = 9_999.5, 999_999_999.5


def four_digits(number: float) -> str:
    """Return a number with four digits; larger ones are whole, and have an exponent from a billion on.

    Examples
    --------
    >>> four_digits(0.123456), four_digits(3.0), four_digits(54321.6), four_digits(-1e9)
    ('0.1235', '3', '54,322', '-1e+09')
    """
    return show_digits(number, N_DIGITS)


def show_digits(number: float, n_digits: int) -> str:
    """Return a number with so many digits; larger ones are whole, and have an exponent from a billion on.

    Examples
    --------
    >>> show_digits(1013.0149, 6), show_digits(54321.6, 6), show_digits(54321.6, 4)
    ('1013.01', '54,321.6', '54,322')
    """
    separator = "," if abs(number) >= MIN_SEPARATED else ""
    is_whole = 10**n_digits - 0.5 <= abs(number) < MIN_EXPONENT
    return f"{number:{separator}{'.0f' if is_whole else f'.{n_digits}g'}}"


def count_distinguishing_digits(numbers: Sequence[float]) -> int:
    """Return the number of digits, four or more, by which all different numbers have different texts.

    Examples
    --------
    >>> count_distinguishing_digits([0.5, 3.0]), count_distinguishing_digits([1013.01, 1013.02])
    (4, 6)
    """
    n_numbers = len(set(numbers))
    for n_digits in range(N_DIGITS, MAX_DIGITS):
        if len({show_digits(number, n_digits) for number in numbers}) >= n_numbers:
            return n_digits
    return MAX_DIGITS
