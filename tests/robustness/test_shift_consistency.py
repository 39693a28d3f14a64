"""Consistency under shifts: shares of images whose decision stays, and changes of numbers."""

import numpy as np
import pytest

from featx.robustness.shift_consistency import measure_consistency
from featx.tables.target_values import ClassTargets, LabelTargets, NumberTargets


def test_all_shifts_must_give_the_same_class() -> None:
    targets = ClassTargets(("a", "b"), np.zeros(4, dtype=int))
    original = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    axis, diagonal = original.copy(), original.copy()
    axis[0] = [0.1, 0.9]
    diagonal[3] = [0.6, 0.4]
    result = measure_consistency(targets, original, [axis, *[original] * 4, *[diagonal] * 3])
    assert (result.share_4, result.share_8, result.largest_change) == (0.75, 0.5, None)


def test_all_labels_of_an_image_must_stay() -> None:
    targets = LabelTargets(("a", "b"), np.zeros((2, 2), dtype=int))
    original = np.array([[0.9, 0.1], [0.8, 0.2]])
    shifted_proba = np.array([[0.9, 0.6], [0.7, 0.2]])
    result = measure_consistency(targets, original, [shifted_proba] * 8)
    assert (result.share_4, result.share_8) == (0.5, 0.5)


def test_numbers_have_their_largest_change() -> None:
    targets = NumberTargets(("age",), np.zeros((2, 1)))
    result = measure_consistency(
        targets, np.array([[1.0], [2.0]]), [np.array([[1.5], [2.0]]), np.array([[1.0], [1.0]])]
    )
    assert result.share_8 is None
    assert result.largest_change == pytest.approx(0.75)
