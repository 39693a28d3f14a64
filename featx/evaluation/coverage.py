"""Scores of uncertainty: coverage and size of prediction sets, and accuracy with abstention."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.conformal import ConformityScores, in_prediction_sets
from featx.metrics.row_scores import compute_correctness, predict_classes
from featx.metrics.scores import align
from featx.tables.ids import Ids
from featx.tables.predictions import AnyPredictions
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth

Floats = NDArray[np.float64]
# Returns the groups that the split keeps whole, for the rows of some ids.
Groups = Callable[[Ids], NDArray[Any] | None]


@dataclass(frozen=True)
class CoverageCheck:
    """Scores of uncertainty to add to an evaluation.

    Attributes
    ----------
    coverage
        Requested coverage in (0, 1) of prediction sets or intervals. None adds nothing; neither do labels.
    abstain_below
        Probability in (0, 1) below which no prediction is made. None adds nothing.
    """

    coverage: float | None
    abstain_below: float | None

    def __post_init__(self) -> None:
        for name, value in (("coverage", self.coverage), ("abstain_below", self.abstain_below)):
            if value is not None and not 0 < value < 1:
                raise DataError(f"{name} is {value:g}, expected a number between 0 and 1")

    def score_selection(self, table: AnyPredictions, truth: AnyTruth, groups: Groups) -> dict[str, float]:
        """Return the scores on the selection rows; each half's sets are calibrated on the other half."""
        targets, outputs = align(truth, table)
        if self.coverage is None or targets.kind == "labels":
            return self._score_abstention(targets, outputs)
        scores = ConformityScores.of(targets, outputs, groups(table.ids))
        limits = scores.cross_fitted(self.coverage)
        return _score_sets(scores, limits, targets, outputs) | self._score_abstention(targets, outputs)

    def score_test(
        self, calibration: tuple[AnyPredictions, AnyTruth], test: tuple[AnyPredictions, AnyTruth], groups: Groups
    ) -> dict[str, float]:
        """Return the scores on the test rows; their sets are calibrated on the selection rows."""
        (calibration_table, calibration_truth), (table, truth) = calibration, test
        targets, outputs = align(truth, table)
        if self.coverage is None or targets.kind == "labels":
            return self._score_abstention(targets, outputs)
        calibration_rows = align(calibration_truth, calibration_table)
        limits = ConformityScores.of(*calibration_rows, groups(calibration_table.ids)).thresholds(self.coverage)
        scores = ConformityScores.of(targets, outputs, groups(table.ids))
        return _score_sets(scores, limits[None], targets, outputs) | self._score_abstention(targets, outputs)

    def _score_abstention(self, targets: TargetValues, outputs: Floats) -> dict[str, float]:
        if self.abstain_below is None:
            return {}
        if targets.kind != "classes":
            raise DataError(f"abstain_below is for classes only, this target has {targets.kind}")
        is_answered = outputs[np.arange(len(targets)), predict_classes(targets, outputs)] >= self.abstain_below
        is_right = compute_correctness(targets, outputs)
        accuracy = float(is_right[is_answered].mean()) if is_answered.any() else np.nan
        return {"answered": float(is_answered.mean()), "answered_accuracy": accuracy}


def _score_sets(scores: ConformityScores, limits: Floats, targets: TargetValues, outputs: Floats) -> dict[str, float]:
    """Return the coverage and the mean size of prediction sets or intervals."""
    covered = scores.covered(limits)
    if targets.kind == "numbers":
        return {"covered": covered, "interval_width": float(2 * limits.mean())}
    return {"covered": covered, "set_size": float(in_prediction_sets(outputs, limits).sum(1).mean())}
