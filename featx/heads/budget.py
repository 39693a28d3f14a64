"""A time budget that divides itself over several heads: cheap heads come first, each gets its share of the rest."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from featx.errors import DataError
from featx.heads.job import HeadJob

# Heads from the cheapest to the most expensive (docs/adr/0040), heads of other packages after these. The time of `svm`
# grows with the square of the rows.
HEADS_BY_COST = ("knn", "ridge", "logreg", "lda", "svm", "mlp", "rf", "xgboost")
SECONDS = {"s": 1, "m": 60, "h": 3600}
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")
# Share of a head's time that its search may take; the final fit in all folds takes the rest.
SEARCH_SHARE = 0.6


@dataclass(frozen=True)
class SkippedHead:
    """A head that a budget left no time for.

    Attributes
    ----------
    head, target
        Name of the head, and name of the target.
    reason
        Why there is no run.
    """

    head: str
    target: str
    reason: str


@dataclass
class Budget:
    """Time for the searches and fits of several heads.

    Attributes
    ----------
    seconds
        The whole time in seconds.
    skipped
        Heads that were left out, after the call.
    """

    seconds: float
    skipped: list[SkippedHead] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = time.perf_counter()

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Return a budget from a duration such as ``90s``, ``10m`` or ``1.5h``.

        Raises
        ------
        DataError
            The text is no duration greater than 0.
        """
        match = DURATION.fullmatch(text.strip())
        seconds = float(match[1]) * SECONDS[match[2]] if match else 0.0
        if seconds <= 0:
            raise DataError(f"budget: found {text!r}, expected a duration such as '90s', '10m' or '1.5h'")
        return cls(seconds)

    @property
    def remaining_s(self) -> float:
        """Number of seconds that are left; negative if the budget is exceeded."""
        return self.seconds - (time.perf_counter() - self._start)

    def deadline(self, n_left: int) -> float:
        """Return the time on `time.perf_counter` at which the search of the next of so many heads ends.

        A head whose run exists needs no time, so that the deadline may have passed.
        """
        return time.perf_counter() + SEARCH_SHARE * self.remaining_s / n_left

    def skip(self, job: HeadJob, reason: str) -> None:
        """Record that a job is left out."""
        self.skipped.append(SkippedHead(job.spec.name, job.target, reason))


def ordered_by_cost(jobs: Sequence[HeadJob]) -> list[HeadJob]:
    """Return jobs from the cheapest head to the most expensive."""
    ranks = {name: rank for rank, name in enumerate(HEADS_BY_COST)}
    return sorted(jobs, key=lambda job: ranks.get(job.spec.name, len(ranks)))
