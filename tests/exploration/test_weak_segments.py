"""Weak segments: planted ones are found, and random errors have none."""

import numpy as np
import pytest

from featx.evaluation.group_membership import GroupMembership
from featx.exploration.weak_segments import cluster_rows, compare_segments

N = 600


def make_membership(codes: np.ndarray, name: str = "lens") -> GroupMembership:
    return GroupMembership(name, codes.astype(np.intp), tuple(f"{name} {i}" for i in range(codes.max() + 1)), False)


def test_a_planted_weak_segment_is_found() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 6, N)
    errors = (rng.random(N) < np.where(codes == 2, 0.45, 0.1)).astype(float)
    camera_membership = make_membership(rng.integers(0, 4, N), "camera")
    segments = compare_segments(errors, np.arange(N), [camera_membership, make_membership(codes)])
    assert [(segment.grouping, segment.name) for segment in segments if segment.is_weak] == [("lens", "lens 2")]
    assert len(segments) == 10
    assert segments[0].rows.tolist() == np.flatnonzero(codes == 2).tolist()
    assert segments[0].mean_error == errors[codes == 2].mean()
    assert segments[0].other_error == errors[codes != 2].mean()


def test_segments_with_few_errors_are_not_weak() -> None:
    codes = np.repeat([0, 1], N // 2)
    errors = np.where(codes == 0, 0.0, np.arange(N) % 2)
    segments = compare_segments(errors, np.arange(N), [make_membership(codes)])
    assert [(segment.name, segment.is_weak) for segment in segments] == [("lens 1", True), ("lens 0", False)]


def test_random_errors_have_no_weak_segments() -> None:
    n_studies_with_weak_segments = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        errors = (rng.random(N) < 0.2).astype(float)
        memberships = [make_membership(rng.integers(0, 8, N), name) for name in ("a", "b", "c")]
        segments = compare_segments(errors, np.arange(N), memberships)
        n_studies_with_weak_segments += any(segment.is_weak for segment in segments)
    assert n_studies_with_weak_segments <= 2, "5 % by chance"


@pytest.mark.parametrize("size", [2, 10])
def test_copies_do_not_make_a_segment_weak(size: int) -> None:
    # All images of a unit have the same error, and one of 60 units in a segment of 6 is wrong more often than others.
    units = np.repeat(np.arange(N // size), size)
    errors = np.zeros(N)
    errors[np.isin(units, [0, 1])] = 1
    codes = np.where(units < 6, 0, 1)
    segments = compare_segments(errors, units, [make_membership(codes)])
    assert all(segment.p_holm > 0.0005 for segment in segments)


def test_of_a_few_copies_one_is_tested() -> None:
    units = np.arange(N)
    units[:40] = 0
    errors = np.zeros(N)
    errors[:40] = 1
    codes = np.where(np.arange(N) < 100, 0, 1)
    segments = compare_segments(errors, units, [make_membership(codes)])
    assert not any(segment.is_weak for segment in segments), "40 copies of one wrong image are one error"


def test_groups_of_few_rows_are_not_tested() -> None:
    codes = np.zeros(N, dtype=int)
    codes[:5] = 1
    assert compare_segments(np.ones(N), np.arange(N), [make_membership(codes)]) == []


def test_clusters_have_about_forty_rows() -> None:
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(5, 8))
    coordinates = (np.repeat(centres, 40, axis=0) + rng.normal(size=(200, 8))).astype(np.float32)
    clusters = cluster_rows(coordinates)
    assert [len(np.unique(clusters[start : start + 40])) for start in range(0, 200, 40)] == [1] * 5
    assert len(np.unique(clusters)) == 5
    assert set(cluster_rows(coordinates[:10])) == {0}
