"""Durations are short texts in seconds, minutes or hours."""

import pytest

from featx.text.durations import duration_text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h")]
)
def test_a_duration_has_the_unit_that_makes_it_short(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
