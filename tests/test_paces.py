"""What is remembered of passes over images."""

from pathlib import Path

import pytest

from featx.paces import FEWEST, Pace, keep_pace, known_paces, seconds_an_image


def test_a_pass_over_more_images_replaces_one_over_fewer(tmp_path: Path) -> None:
    for n, rate in ((100, 20.0), (50, 5.0), (200, 25.0)):
        keep_pace(tmp_path, Pace(("a", "b"), n, rate))
    keep_pace(tmp_path, Pace(("a",), FEWEST - 1, 1.0))
    assert known_paces(tmp_path) == [Pace(("a", "b"), 200, 25.0)]


def test_a_pass_that_filled_several_is_counted_once() -> None:
    paces = [Pace(("a", "b"), 100, 20.0), Pace(("c",), 100, 50.0), Pace(("a", "b", "c"), 100, 10.0)]
    assert seconds_an_image(paces, {"a", "b"}) == pytest.approx(1 / 20)
    assert seconds_an_image(paces, {"a", "c"}) == pytest.approx(1 / 20 + 1 / 50)
    assert seconds_an_image(paces, {"d"}) is None
    assert seconds_an_image(paces, set()) == 0
