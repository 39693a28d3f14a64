"""Intervals of classes and of reliability diagrams cover as often as they say, and equal a slow bootstrap.

Modules: evaluation.class_intervals.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import precision_recall_fscore_support

from featx.evaluation.class_intervals import class_intervals, reliability_band
from featx.evaluation.intervals import Resamples
from featx.metrics.reliability import reliability
from featx.metrics.share_intervals import wilson_interval
from featx.tables.target_values import ClassTargets, LabelTargets, TargetValues


def planted(n: int = 200, k: int = 3, seed: int = 0) -> tuple[TargetValues, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, n)
    outputs = softmax(rng.normal(size=(n, k)) + 1.5 * np.eye(k)[codes], axis=1)
    return ClassTargets(tuple("abcdefgh"[:k]), codes), outputs


def test_intervals_equal_weighted_scores_in_each_draw() -> None:
    targets, outputs = planted()
    resamples = replace(Resamples.of(200), n_draws=50)
    (intervals,) = class_intervals([(targets, outputs)], resamples)
    (weights,) = resamples.weights()
    draws = np.array(
        [
            precision_recall_fscore_support(targets.y, outputs.argmax(1), sample_weight=column, zero_division=0)[:3]
            for column in weights.T
        ]
    )
    for position, name in enumerate(("precision", "recall", "f1")):
        expected = np.quantile(draws[:, position], [0.025, 0.975], axis=0).T
        assert np.array(intervals[name]) == pytest.approx(expected)


def test_a_class_without_mistakes_has_wilsons_interval() -> None:
    targets = ClassTargets(("a", "b"), np.array([0] * 30 + [1] * 10))
    (intervals,) = class_intervals([(targets, np.eye(2)[targets.y])], Resamples.of(40))
    assert intervals["recall"] == [wilson_interval(1.0, 30), wilson_interval(1.0, 10)]
    (by_group,) = class_intervals([(targets, np.eye(2)[targets.y])], Resamples.of(40, np.arange(40) // 5))
    assert by_group["recall"] == [wilson_interval(1.0, 6), wilson_interval(1.0, 2)]


def test_intervals_of_labels_have_one_entry_per_label() -> None:
    rng = np.random.default_rng(0)
    targets = LabelTargets(("x", "y"), rng.integers(0, 2, (50, 2)))
    (intervals,) = class_intervals([(targets, rng.random((50, 2)))], replace(Resamples.of(50), n_draws=20))
    assert all(len(edges) == 2 for edges in intervals.values())


@pytest.mark.parametrize("k", [2, 3])
def test_bands_contain_the_shares_and_calibrated_probabilities(k: int) -> None:
    rng = np.random.default_rng(1)
    outputs = softmax(rng.normal(size=(4000, k)), axis=1)
    codes = (outputs.cumsum(1) < rng.random((4000, 1))).sum(1)
    targets = ClassTargets(tuple("abc"[:k]), codes)
    band = reliability_band(targets, outputs, replace(Resamples.of(4000), n_draws=400), 10)
    assert band.bins.n.tolist() == reliability(targets, outputs, 10).n.tolist()
    assert (band.low <= band.bins.observed_share).all()
    assert (band.bins.observed_share <= band.high).all()
    is_calibrated = (band.low <= band.bins.mean_probability) & (band.bins.mean_probability <= band.high)
    assert is_calibrated.mean() >= 0.7


def test_a_constant_bin_of_one_patient_is_widened_as_one_unit() -> None:
    codes = np.r_[np.ones(42, int), np.zeros(18, int), np.tile([0, 1], 30)]
    p = np.r_[np.full(60, 0.95), np.tile([0.1, 0.4], 30)]
    groups = np.r_[np.zeros(60, int), np.arange(1, 61)]
    targets = ClassTargets(("a", "b"), codes)
    band = reliability_band(targets, np.stack([1 - p, p], axis=1), Resamples.of(120, groups), 10)
    assert (band.low[-1], band.high[-1]) == pytest.approx(wilson_interval(0.7, 1))
