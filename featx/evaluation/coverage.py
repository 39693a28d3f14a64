"""What runs' probabilities are good for: sets that hold the truth, and knowing when to say nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.metrics.conformal import ConformityScores, in_sets
from featx.metrics.row_scores import guessed, right
from featx.metrics.scores import aligned
from featx.tables.ids import Ids
from featx.tables.predictions import Answered
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known

Floats = NDArray[np.float64]
Groups = Callable[[Ids], NDArray[Any] | None]  # what a split keeps whole, of the rows of some ids


@dataclass(frozen=True)
class CoverageCheck:
    """What to add to the scores.

    Attributes
    ----------
    coverage
        Of prediction sets or intervals; none where it is None, and of labels.
    abstain_below
        Probability below which nothing is said.
    """

    coverage: float | None
    abstain_below: float | None

    def __post_init__(self) -> None:
        for name, value in (("coverage", self.coverage), ("abstain_below", self.abstain_below)):
            if value is not None and not 0 < value < 1:
                raise DataError(f"{name} is {value:g}, expected a number between 0 and 1")

    def of(self, table: Answered, known: Known, groups: Groups) -> dict[str, float]:
        """Return what to add where the rows that choose are scored: each half's sets are made by the other half."""
        facts, outputs = aligned(known, table)
        if self.coverage is None or facts.kind == "labels":
            return self._abstaining(facts, outputs)
        scores = ConformityScores.of(facts, outputs, groups(table.ids))
        limits = scores.cross_fitted(self.coverage)
        return self._covering(scores, limits, facts, outputs) | self._abstaining(facts, outputs)

    def on_test(
        self, of_choosers: tuple[Answered, Known], of_test: tuple[Answered, Known], groups: Groups
    ) -> dict[str, float]:
        """Return what to add where test rows are scored: their sets are made by the rows that choose."""
        (chooser, known), (table, test) = of_choosers, of_test
        facts, outputs = aligned(test, table)
        if self.coverage is None or facts.kind == "labels":
            return self._abstaining(facts, outputs)
        limits = ConformityScores.of(*aligned(known, chooser), groups(chooser.ids)).thresholds(self.coverage)
        scores = ConformityScores.of(facts, outputs, groups(table.ids))
        return self._covering(scores, limits[None], facts, outputs) | self._abstaining(facts, outputs)

    def _covering(
        self, scores: ConformityScores, limits: Floats, facts: TargetValues, outputs: Floats
    ) -> dict[str, float]:
        covered = scores.covered(limits)
        if facts.kind == "numbers":
            return {"covered": covered, "interval_width": float(2 * limits.mean())}
        return {"covered": covered, "set_size": float(in_sets(outputs, limits).sum(1).mean())}

    def _abstaining(self, facts: TargetValues, outputs: Floats) -> dict[str, float]:
        if self.abstain_below is None:
            return {}
        if facts.kind != "classes":
            raise DataError(f"only answers of classes can be abstained from, these are {facts.kind}")
        said = outputs[np.arange(len(facts)), guessed(facts, outputs)] >= self.abstain_below
        is_right = right(facts, outputs)
        accuracy = float(is_right[said].mean()) if said.any() else np.nan
        return {"answered": float(said.mean()), "answered_accuracy": accuracy}
