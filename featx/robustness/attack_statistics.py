"""Intervals of robust accuracies, and paired tests between runs under the same attack."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.intervals import Resamples, is_constant, percentile_interval
from featx.evaluation.paired_tests import bootstrap_p, holm, mcnemar_midp
from featx.metrics.share_intervals import Interval, wilson_interval
from featx.tables.ids import Floats


@dataclass(frozen=True, eq=False)
class AttackedUnits:
    """The units that the attacked images belong to: rows of one group and copies of one image are one unit.

    Attributes
    ----------
    n_images
        Number of images, n.
    groups
        (n,) names of their units; None if each image is one.
    """

    n_images: int
    groups: NDArray[Any] | None = None

    @cached_property
    def _resamples(self) -> Resamples:
        return Resamples.of(self.n_images, self.groups)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.n_images if self.groups is None else self._resamples.n_units

    def mean_draws(self, values: Floats) -> Floats:
        """Return the mean of (n,) values in each draw of the Bayesian bootstrap over units."""
        return np.concatenate([values @ weights / weights.sum(axis=0) for weights in self._resamples.weights()])

    def share_interval(self, is_right: NDArray[np.bool_]) -> Interval:
        """Return the 95 % interval of a share: Wilson's for independent images, otherwise the bootstrap's over units.

        Where all units agree, it is Wilson's with the number of units.
        """
        share = float(is_right.mean())
        if self.groups is None:
            return wilson_interval(share, self.n_images)
        draws = self.mean_draws(is_right.astype(np.float64))
        return wilson_interval(share, self.n_units) if is_constant(draws) else percentile_interval(draws)

    def mean_interval(self, values: Floats) -> Interval:
        """Return the 95 % interval of a mean."""
        return percentile_interval(self.mean_draws(values))

    def p(self, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
        """Return the p-value of two equal shares of right predictions for the same images.

        It is McNemar's mid-p for independent images, otherwise that of the paired bootstrap over units.
        """
        if self.groups is None:
            return float(mcnemar_midp((first & ~second).sum(), (second & ~first).sum()))
        difference = first.astype(np.float64) - second
        if not difference.any():
            return 1.0
        n_differing = len(np.unique(self._resamples.units[difference != 0]))
        return bootstrap_p(self.mean_draws(difference), float(difference.mean()), n_differing)

    def compare(self, rows: Sequence[NDArray[np.bool_]]) -> list[tuple[float, float]]:
        """Return p of the difference of each run to the first one, before and after Holm's correction.

        Parameters
        ----------
        rows
            (n,) right predictions of each run; nan is returned for the first.
        """
        p = [self.p(run, rows[0]) for run in rows[1:]]
        return [(float("nan"), float("nan")), *zip(p, holm(p), strict=True)]
