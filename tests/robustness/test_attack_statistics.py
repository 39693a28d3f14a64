"""Intervals and paired tests of robust accuracies: of independent images, and of groups of them."""

import math

import numpy as np
import pytest

from featx.evaluation.paired_tests import mcnemar_midp
from featx.metrics.share_intervals import wilson_interval
from featx.robustness.attack_statistics import AttackedUnits

RIGHT = np.random.default_rng(0).random(120) < 0.6
GROUPS = np.repeat([f"g{number}" for number in range(20)], 6)


def test_independent_images_have_wilsons_interval_and_mcnemars_test() -> None:
    units = AttackedUnits(120)
    assert units.share_interval(RIGHT) == wilson_interval(float(RIGHT.mean()), 120)
    better = RIGHT | (np.arange(120) < 20)
    assert units.p(better, RIGHT) == mcnemar_midp((better & ~RIGHT).sum(), 0)
    assert units.n_units == 120


def test_images_of_one_group_count_as_one_unit() -> None:
    # All images of a group are predicted alike, so that there are 20 predictions and not 120.
    alike = np.repeat(np.random.default_rng(1).random(20) < 0.6, 6)
    low, high = AttackedUnits(120, GROUPS).share_interval(alike)
    wilson = wilson_interval(float(alike.mean()), 20)
    assert high - low == pytest.approx(wilson[1] - wilson[0], rel=0.25)
    narrow = AttackedUnits(120).share_interval(alike)
    assert high - low > 1.8 * (narrow[1] - narrow[0])
    assert AttackedUnits(120, GROUPS).n_units == 20
    one_more = alike | (np.arange(120) < 60)
    assert AttackedUnits(120, GROUPS).p(one_more, alike) > AttackedUnits(120).p(one_more, alike)


def test_a_share_without_variation_has_the_interval_of_the_units() -> None:
    units = AttackedUnits(120, GROUPS)
    assert units.share_interval(np.zeros(120, bool)) == wilson_interval(0.0, 20)
    assert units.p(RIGHT, RIGHT) == 1.0


def test_runs_are_compared_with_the_first_after_holms_correction() -> None:
    worse_is_right, worst_is_right = RIGHT & (np.arange(120) > 30), RIGHT & (np.arange(120) > 60)
    (first, _), (p, holm), (smallest, smallest_holm) = AttackedUnits(120).compare(
        [RIGHT, worse_is_right, worst_is_right]
    )
    assert math.isnan(first)
    assert smallest < p == holm
    assert smallest_holm == pytest.approx(2 * smallest)
