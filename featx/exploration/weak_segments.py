"""Weak segments: clusters of embeddings and slices of properties in which a run's error is significantly higher."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.comparison import ALPHA
from featx.evaluation.group_membership import GroupMembership
from featx.evaluation.group_scores import comparable_groups, largest_groups
from featx.evaluation.group_tests import group_p_values
from featx.evaluation.paired_tests import holm
from featx.parallel.threads import single_threaded
from featx.tables.ids import Floats
from featx.tables.resampling_units import are_mostly_single

# Number of rows per cluster on average, and the largest number of clusters.
ROWS_PER_CLUSTER = 40
MAX_CLUSTERS = 40
# Number of rows above which clusters are found by mini-batches.
MAX_ROWS_FOR_KMEANS = 10_000


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment of the rows.

    Attributes
    ----------
    grouping, name
        Name of the grouping, such as a property, and of the segment in it.
    rows
        Positions of its rows.
    mean_error, other_error
        Mean error of its rows, and of all other rows of the grouping.
    p_holm
        p-value that its mean error is that of the other rows, after Holm's correction for all segments.
    """

    grouping: str
    name: str
    rows: NDArray[np.intp]
    mean_error: float
    other_error: float
    p_holm: float

    @property
    def is_weak(self) -> bool:
        """Whether the error is significantly higher than elsewhere."""
        return self.p_holm < ALPHA and self.mean_error > self.other_error


def compare_segments(errors: Floats, units: NDArray[np.int64], memberships: Sequence[GroupMembership]) -> list[Segment]:
    """Return all segments with enough rows and units, weak ones first, then by their p-value.

    Parameters
    ----------
    errors
        (n,) errors of the rows.
    units
        (n,) units that are sampled independently: copies of one image, and images of one group.
    memberships
        Groupings of the rows, made without looking at their errors.

    Notes
    -----
    Whole units are permuted. If most units are single images, only the first image of each unit is tested, so that
    errors of 0 and 1 have an exact test. All segments of all groupings are corrected together.
    """
    test_rows = np.arange(len(errors))
    if are_mostly_single(units):
        test_rows = np.sort(np.unique(units, return_index=True)[1])
    segments, p_values = [], []
    for membership in memberships:
        test_codes = membership.codes[test_rows]
        test_membership = GroupMembership(membership.name, test_codes, membership.groups, membership.ordered)
        codes = np.unique(units[test_rows], return_inverse=True)[1]
        groups = comparable_groups(test_membership, largest_groups(test_membership), codes)
        rows = test_membership.has_value
        masks = [test_membership.rows_of(group)[rows] for group in groups]
        p_values += group_p_values(errors[test_rows][rows], masks, codes[rows])
        segments += [(membership, group) for group in groups]
    results = [
        _segment(errors, membership, group, p) for (membership, group), p in zip(segments, holm(p_values), strict=True)
    ]
    return sorted(results, key=lambda segment: (not segment.is_weak, segment.p_holm, -segment.mean_error))


def _segment(errors: Floats, membership: GroupMembership, group: int, p: float) -> Segment:
    in_group = membership.rows_of(group)
    in_others = membership.has_value & ~in_group
    means = float(errors[in_group].mean()), float(errors[in_others].mean())
    return Segment(membership.name, membership.groups[group], np.flatnonzero(in_group), *means, p)


@single_threaded()
def cluster_rows(coordinates: NDArray[np.float32], seed: int = 0) -> NDArray[np.intp]:
    """Return the (n,) clusters of vectors by k-means, about `ROWS_PER_CLUSTER` rows each."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    n_clusters = int(np.clip(len(coordinates) // ROWS_PER_CLUSTER, 1, MAX_CLUSTERS))
    method = KMeans if len(coordinates) <= MAX_ROWS_FOR_KMEANS else MiniBatchKMeans
    return np.asarray(method(n_clusters, n_init=3, random_state=seed).fit_predict(coordinates), dtype=np.intp)
