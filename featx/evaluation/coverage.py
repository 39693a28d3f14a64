"""Scores of uncertainty: coverage and size of prediction sets, and accuracy with abstention."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.conformal import ConformityScores, has_conformity_scores, in_prediction_sets
from featx.metrics.scores import align
from featx.tables.ids import Floats, Ids, Kind
from featx.tables.predictions import AnyPredictions
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth

# Returns the groups that the split keeps whole, for the rows of some ids.
Groups = Callable[[Ids], NDArray[Any] | None]
Rows = tuple[AnyPredictions, AnyTruth]

# Names of the scores: of prediction sets, of intervals, and of abstention.
UNCERTAINTY_SCORES = ("covered", "set_size", "interval_width", "predicted_share", "selective_accuracy")


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
    abstain_below: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("coverage", self.coverage), ("abstain_below", self.abstain_below)):
            if value is not None and not 0 < value < 1:
                raise DataError(f"{name} is {value:g}, expected a number between 0 and 1")

    def check_kind(self, target: str, kind: Kind) -> None:
        """Check that the scores are defined for a target.

        Raises
        ------
        DataError
            Predictions below a probability are asked for, and the target has no classes.
        """
        if self.abstain_below is not None and kind != "classes":
            raise DataError(f"abstain_below is for classes only, target {target!r} has {kind}")

    def score(self, rows: Rows, groups: Groups, calibration: Rows | None = None) -> dict[str, float]:
        """Return the scores on some rows.

        Parameters
        ----------
        rows
            Predictions and true values.
        groups
            Function from ids to the groups that the split keeps whole.
        calibration
            Rows that prediction sets are calibrated on; by default each half of `rows` is calibrated on the other half.
        """
        table, truth = rows
        targets, outputs = align(truth, table)
        abstention_scores = self._score_abstention(targets, outputs)
        if self.coverage is None or not has_conformity_scores(targets):
            return abstention_scores
        scores = ConformityScores.of(targets, outputs, groups(table.ids))
        if calibration is None:
            limits = scores.cross_fitted(self.coverage)
        else:
            table, truth = calibration
            limits = ConformityScores.of(*align(truth, table), groups(table.ids)).thresholds(self.coverage)[None]
        return _score_sets(scores, limits, targets, outputs) | abstention_scores

    def _score_abstention(self, targets: TargetValues, outputs: Floats) -> dict[str, float]:
        if self.abstain_below is None:
            return {}
        is_predicted = outputs[np.arange(len(targets)), targets.decisions(outputs)] >= self.abstain_below
        is_right = targets.correctness(outputs)
        accuracy = float(is_right[is_predicted].mean()) if is_predicted.any() else np.nan
        return {"predicted_share": float(is_predicted.mean()), "selective_accuracy": accuracy}


def _score_sets(scores: ConformityScores, limits: Floats, targets: TargetValues, outputs: Floats) -> dict[str, float]:
    """Return the coverage and the mean size of prediction sets or intervals."""
    is_covered = scores.covered(limits)
    if targets.kind == "numbers":
        return {"covered": is_covered, "interval_width": float(2 * limits.mean())}
    return {"covered": is_covered, "set_size": float(in_prediction_sets(outputs, limits).sum(1).mean())}
