"""What runs' probabilities are good for: sets that hold the truth, and knowing when to say nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.conformal import cross_fitted, in_sets, strangeness, thresholds
from featx.errors import DataError
from featx.facts import Facts
from featx.metrics import aligned
from featx.tables import Answered, Known

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Beliefs:
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

    def of(self, table: Answered, known: Known) -> dict[str, float]:
        """Return what to add where the rows that choose are scored: each half's sets are made by the other half."""
        facts, outputs = aligned(known, table)
        if self.coverage is None or facts.kind == "labels":
            return self._abstaining(facts, outputs)
        limits = cross_fitted(strangeness(facts, outputs), self.coverage)
        return self._covering(facts, outputs, limits) | self._abstaining(facts, outputs)

    def on_test(self, chooser: Answered, known: Known, table: Answered, test: Known) -> dict[str, float]:
        """Return what to add where test rows are scored: their sets are made by the rows that choose."""
        facts, outputs = aligned(test, table)
        if self.coverage is None or facts.kind == "labels":
            return self._abstaining(facts, outputs)
        limits = thresholds(strangeness(*aligned(known, chooser)), self.coverage)
        return self._covering(facts, outputs, limits[None]) | self._abstaining(facts, outputs)

    def _covering(self, facts: Facts, outputs: Floats, limits: Floats) -> dict[str, float]:
        covered = float((strangeness(facts, outputs) <= limits).mean())
        if facts.kind == "numbers":
            return {"covered": covered, "interval_width": float(2 * limits.mean())}
        return {"covered": covered, "set_size": float(in_sets(outputs, limits).sum(1).mean())}

    def _abstaining(self, facts: Facts, outputs: Floats) -> dict[str, float]:
        if self.abstain_below is None:
            return {}
        if facts.kind != "classes":
            raise DataError(f"only answers of classes can be abstained from, these are {facts.kind}")
        said = outputs.max(1) >= self.abstain_below
        right = outputs.argmax(1) == facts.y
        return {"answered": float(said.mean()), "answered_accuracy": float(right[said].mean()) if any(said) else np.nan}
